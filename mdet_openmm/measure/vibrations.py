"""Vibrational density of states of a free molecule from its trajectory."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.constants import speed_of_light  # type: ignore[import-untyped, unused-ignore]

from mdet_openmm.units import BOLTZMANN_KJ_PER_MOL_K

PER_CM_PER_INVERSE_FS = 1e15 / (100 * speed_of_light)
"""Wavenumber in 1/cm of a frequency of 1/fs."""

FINEST_PER_CM, COARSEST_PER_CM = 8.0, 30.0
"""Welch windows are as many as possible within this range of bin widths."""

FEWEST_SAMPLES = 32

STRETCH_PER_CM = {"H–H": 4400, "F–H": 4000, "O–H": 3800, "N–H": 3550, "C–H": 3200, "S–H": 2700}
"""About the highest stretching wavenumber of the bonds with hydrogen."""

OTHER_STRETCH_PER_CM = 2350
"""About the highest of all others (C≡N, C≡C, N≡N, C=C=O)."""


@dataclass(frozen=True)
class Spectrum:
    """A vibrational density of states.

    Attributes
    ----------
    wavenumber
        (k,) in 1/cm.
    density
        (k,) modes per 1/cm, such that the integral is the kinetic energy in units of k_B T/2 per mode: the number of
        vibrational modes if equipartition holds.
    resolution
        Noise-equivalent bandwidth of the window in 1/cm.
    nyquist
        Largest wavenumber that the interval between frames resolves, in 1/cm.
    windows
        Number of half-overlapping windows that were averaged.
    peaks
        Wavenumbers of the highest peaks in 1/cm, ascending.
    """

    wavenumber: NDArray[np.float64]
    density: NDArray[np.float64]
    resolution: float
    nyquist: float
    windows: int
    peaks: tuple[float, ...]

    @property
    def modes(self) -> float:
        """Integral of the density."""
        return float(np.trapezoid(self.density, self.wavenumber))


def nyquist_per_cm(interval_fs: float) -> float:
    """Largest wavenumber that frames at this interval resolve."""
    return PER_CM_PER_INVERSE_FS / (2 * interval_fs)


def folded_stretches(bond_types: Iterable[str], interval_fs: float) -> list[str]:
    """The bond types whose stretches lie above what the interval resolves and appear folded to lower wavenumbers."""
    limit = nyquist_per_cm(interval_fs)
    return sorted({t for t in bond_types if STRETCH_PER_CM.get(t, OTHER_STRETCH_PER_CM) > limit})


def vibrational_spectrum(
    positions: NDArray[np.float64],
    masses: NDArray[np.float64],
    interval_fs: float,
    temperature: float,
) -> Spectrum | None:
    """Mass-weighted power spectrum of the atomic velocities, without translation and rotation.

    Each frame is superposed (mass-weighted) on the mean structure, then v(t + Δ/2) = (x(t + Δ) − x(t))/Δ. This
    difference scales the amplitude at frequency f by sinc(fΔ) = sin(πfΔ)/(πfΔ), so the power is divided by sinc²(fΔ),
    at most 2.47 (at the Nyquist frequency). It is averaged over half-overlapping Hann windows (Welch).

    Parameters
    ----------
    positions
        (f, n, 3) in Å at equal intervals.
    masses
        (n,) in g/mol.
    interval_fs
        Time between frames.
    temperature
        In K; scales the density to modes.

    Returns
    -------
    Spectrum or None
        None for fewer than 32 frames or a single atom.
    """
    from scipy.signal import welch  # type: ignore[import-untyped, unused-ignore]

    if positions.shape[1] < 2 or len(positions) < FEWEST_SAMPLES + 1:
        return None
    _, superposed = superpose(positions, masses)
    rates = np.diff(superposed, axis=0) / interval_fs  # Å/fs
    nyquist = nyquist_per_cm(interval_fs)
    length = window_length(len(rates), interval_fs)
    frequency, power = welch(rates, fs=1 / interval_fs, nperseg=length, axis=0, detrend="constant")
    power = power / np.sinc(frequency * interval_fs)[:, None, None] ** 2
    # Å/fs is 100 nm/ps, and g/mol (nm/ps)² is kJ/mol
    energy = np.einsum("n,fnx->f", masses, power) * 100.0**2
    density = energy / (BOLTZMANN_KJ_PER_MOL_K * temperature) / PER_CM_PER_INVERSE_FS
    wavenumber = frequency * PER_CM_PER_INVERSE_FS
    return Spectrum(
        wavenumber,
        density,
        1.5 * PER_CM_PER_INVERSE_FS / (length * interval_fs),
        nyquist,
        1 + 2 * (len(rates) - length) // length,
        highest_peaks(wavenumber, density),
    )


def highest_peaks(wavenumber: NDArray[np.float64], density: NDArray[np.float64]) -> tuple[float, ...]:
    """Wavenumbers of the eight most prominent peaks, ascending."""
    from scipy.signal import find_peaks

    found, properties = find_peaks(density, prominence=0.03 * density.max())
    highest = found[np.argsort(properties["prominences"])[::-1][:8]]
    return tuple(float(w) for w in sorted(wavenumber[highest]))


def window_length(samples: int, interval_fs: float) -> int:
    """Samples of a Welch window: as short as the coarsest bin width allows, for at least four windows if it can."""
    finest = PER_CM_PER_INVERSE_FS / (FINEST_PER_CM * interval_fs)
    coarsest = PER_CM_PER_INVERSE_FS / (COARSEST_PER_CM * interval_fs)
    return int(min(samples, max(FEWEST_SAMPLES, min(finest, max(coarsest, samples / 4)))))


def superpose(
    positions: NDArray[np.float64], masses: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Turn every frame onto the mean structure (mass-weighted Kabsch).

    The roll of a linear molecule about its axis is not defined by its positions, so there each frame is turned by the
    shortest rotation that takes its axis to that of the frame before.

    Parameters
    ----------
    positions
        (f, n, 3)
    masses
        (n,)

    Returns
    -------
    rotations
        (f, 3, 3), to be applied as R x.
    superposed
        (f, n, 3), centred on the centre of mass.
    """
    weights = masses / masses.sum()
    centred = positions - np.einsum("n,fnx->fx", weights, positions)[:, None]
    axes, linear = _axes(centred, weights)
    if linear:
        rotations = _follow_axis(axes)
    else:
        target = centred[0]
        for _ in range(3):  # onto the first frame, then twice onto the mean of the superposed
            rotations = _kabsch(centred, target, weights)
            target = np.einsum("fab,fnb->na", rotations, centred) / len(centred)
        rotations = _kabsch(centred, target, weights)
    return rotations, np.einsum("fab,fnb->fna", rotations, centred)


def _kabsch(centred: NDArray[np.float64], target: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray:
    u, _, vt = np.linalg.svd(np.einsum("n,fna,nb->fab", weights, centred, target))
    sign = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    u[:, :, 2] *= sign[:, None]
    return np.einsum("fab,fbc->fca", u, vt)


def _axes(centred: NDArray[np.float64], weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], bool]:
    """Longest principal axis of each frame, with continuous sign, and whether the molecule is linear."""
    gyration = np.einsum("n,fna,fnb->fab", weights, centred, centred)
    values, vectors = np.linalg.eigh(gyration)
    axes = vectors[:, :, 2]
    flips = np.sign(np.einsum("fx,fx->f", axes[1:], axes[:-1]))
    axes[1:] *= np.cumprod(np.where(flips == 0, 1.0, flips))[:, None]
    # bending moves the centre-weighted masses by some 0.05 Å; water, the slimmest bent molecule, has 0.18 Å, and a
    # long chain is slim for its length only
    slim = np.median(values[:, 1]) < 0.15**2 and np.median(values[:, 1] / values[:, 2]) < 0.02
    return axes, bool(slim)


def _follow_axis(axes: NDArray[np.float64]) -> NDArray[np.float64]:
    rotations = np.empty((len(axes), 3, 3))
    rotations[0] = np.eye(3)
    for i in range(1, len(axes)):
        cross = np.cross(axes[i], axes[i - 1])
        cosine = float(axes[i] @ axes[i - 1])
        k = np.array([[0, -cross[2], cross[1]], [cross[2], 0, -cross[0]], [-cross[1], cross[0], 0]])
        rotations[i] = rotations[i - 1] @ (np.eye(3) + k + k @ k / (1 + cosine))
    return rotations
