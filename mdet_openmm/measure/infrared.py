"""Infrared spectrum of a free molecule from the dipoles along its trajectory."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.measure.vibrations import (
    FEWEST_SAMPLES,
    PER_CM_PER_INVERSE_FS,
    highest_peaks,
    nyquist_per_cm,
    superpose,
    window_length,
)


@dataclass(frozen=True)
class InfraredSpectrum:
    """The shape of an infrared spectrum.

    Attributes
    ----------
    wavenumber
        (k,) in 1/cm.
    intensity
        (k,) in cm: its integral over the wavenumber is 1.
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
    intensity: NDArray[np.float64]
    resolution: float
    nyquist: float
    windows: int
    peaks: tuple[float, ...]


def infrared_spectrum(
    positions: NDArray[np.float64],
    dipoles: NDArray[np.float64],
    masses: NDArray[np.float64],
    interval_fs: float,
    charge: int = 0,
) -> InfraredSpectrum | None:
    """Power spectrum of the time derivative of the dipole in the axes of the molecule.

    The absorption of classical nuclei goes as the Fourier transform of <dμ/dt(0) · dμ/dt(t)>: an autocorrelation of
    vectors, that is the sum of the power spectra of the three components. Nothing is multiplied in: no quantum
    correction, also not the harmonic one (whose factor would turn the quantum ω(1 − exp(−ħω/kT)) into the same ω²), no
    scaling of wavenumbers, and no absolute intensity.

    The dipole is turned with the superposition of each frame on the mean structure that
    `mdet_openmm.measure.vibrations` uses. In the laboratory's axes the turning of the permanent dipole, which
    vibrations change by a few percent, would be a band of its own at low wavenumbers and split every line
    into branches; both depend on the rotation of the run, which a Langevin thermostat damps and NVE keeps at
    whatever it was. Derivatives are differences of neighbouring frames, whose power is divided by sinc², and windows
    are averaged (Welch), as for the vibrational density of states, so that the two can be laid over each other.

    Parameters
    ----------
    positions
        (f, n, 3) in Å at equal intervals.
    dipoles
        (f, 3) in any unit, in the same axes as the positions; of a charged molecule, in e Å about their
        origin.
    masses
        (n,) in g/mol.
    interval_fs
        Time between frames.
    charge
        Of the molecule, e. A charged molecule's dipole is taken about its centre of mass, so that its flight does
        not count.

    Returns
    -------
    InfraredSpectrum or None
        None for fewer than 33 frames, a single atom, or a dipole that never changes.
    """
    from scipy.signal import welch  # type: ignore[import-untyped, unused-ignore]

    if positions.shape[1] < 2 or len(positions) < FEWEST_SAMPLES + 1:
        return None
    rotations, _ = superpose(positions, masses)
    centre = np.einsum("n,fnx->fx", masses / masses.sum(), positions)
    body = np.einsum("fab,fb->fa", rotations, dipoles - charge * centre)
    if np.ptp(body, axis=0).max() <= 1e-9 * np.abs(body).max():
        return None
    rates = np.diff(body, axis=0) / interval_fs
    length = window_length(len(rates), interval_fs)
    frequency, power = welch(rates, fs=1 / interval_fs, nperseg=length, axis=0, detrend="constant")
    intensity = power.sum(axis=1) / np.sinc(frequency * interval_fs) ** 2
    wavenumber = frequency * PER_CM_PER_INVERSE_FS
    intensity = intensity / np.trapezoid(intensity, wavenumber)
    return InfraredSpectrum(
        wavenumber,
        intensity,
        1.5 * PER_CM_PER_INVERSE_FS / (length * interval_fs),
        nyquist_per_cm(interval_fs),
        1 + 2 * (len(rates) - length) // length,
        highest_peaks(wavenumber, intensity),
    )
