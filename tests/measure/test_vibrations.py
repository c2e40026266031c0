"""Spectra of motions with known wavenumbers, under rotation and translation that must not show."""

import numpy as np
import pytest
from ase.data import atomic_masses
from fake_run import ETHANOL, ETHANOL_NUMBERS
from scipy.spatial.transform import Rotation

from mdet_openmm.measure.vibrations import (
    folded_stretches,
    nyquist_per_cm,
    superpose,
    vibrational_spectrum,
)

C = 2.99792458e-5  # cm/fs
KB = 8.31446261815324e-3


def tumbling(positions: np.ndarray, interval: float, period_fs: float = 4000.0) -> np.ndarray:
    """The frames turned about a fixed axis once per period, and carried away."""
    times = np.arange(len(positions)) * interval
    turns = Rotation.from_rotvec(2 * np.pi * times[:, None] / period_fs * np.array([0.6, 0.0, 0.8])).as_matrix()
    return np.einsum("fab,fnb->fna", turns, positions) + times[:, None, None] * np.array([1e-3, -2e-3, 5e-4])


def water(wavenumber: float, frames: int, interval: float, amplitude: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric stretch of water at one wavenumber; (f, 3, 3) in Å and masses."""
    masses = atomic_masses[[8, 1, 1]]
    half = np.radians(52.25)
    arms = np.array([[np.sin(half), np.cos(half), 0], [-np.sin(half), np.cos(half), 0]])
    stretch = 0.96 + amplitude * np.sin(2 * np.pi * wavenumber * C * np.arange(frames) * interval)
    positions = np.zeros((frames, 3, 3))
    positions[:, 1:] = stretch[:, None, None] * arms
    return positions, masses


@pytest.mark.parametrize(("wavenumber", "interval"), [(400.0, 4.0), (1650.0, 2.0), (3657.0, 1.0), (3657.0, 4.0)])
def test_peak_of_a_sine(wavenumber: float, interval: float):
    positions, masses = water(wavenumber, round(24_000 / interval), interval)
    spectrum = vibrational_spectrum(tumbling(positions, interval), masses, interval, 300.0)
    assert spectrum is not None
    peak = spectrum.wavenumber[np.argmax(spectrum.density)]
    assert peak == pytest.approx(wavenumber, abs=spectrum.resolution)
    assert spectrum.resolution < 15
    assert min(abs(p - wavenumber) for p in spectrum.peaks) < spectrum.resolution
    near = np.abs(spectrum.wavenumber - wavenumber) < 4 * spectrum.resolution
    assert spectrum.density[~near].max() < 0.01 * spectrum.density.max()  # neither rotation nor translation shows


@pytest.mark.parametrize("interval", [1.0, 2.0, 4.0])
def test_sinc_correction_restores_the_kinetic_energy(interval: float):
    """The integral is Σ m<v²>/(k_B T) of the vibration, at any interval; uncorrected it loses half at 4 fs."""
    wavenumber, amplitude = 3657.0, 0.02
    positions, masses = water(wavenumber, 8000, interval, amplitude)
    omega = 2 * np.pi * wavenumber * C
    reduced = positions - np.einsum("n,fnx->fx", masses / masses.sum(), positions)[:, None]
    mode = (reduced[1] - reduced[0]) / (np.sin(omega * interval))  # displacement per unit of the sine, in Å
    energy = (masses[:, None] * (mode * omega) ** 2).sum() / 2 * 1e4
    spectrum = vibrational_spectrum(positions, masses, interval, 300.0)
    assert spectrum is not None
    assert spectrum.modes == pytest.approx(energy / (KB * 300.0), rel=0.02)


def test_linear_molecule_bends_but_does_not_roll():
    """Carbon dioxide bending in a plane while it tumbles: one peak at the bend, though its roll is undefined."""
    interval, wavenumber, frames = 4.0, 667.0, 4000
    masses = atomic_masses[[6, 8, 8]]
    positions = np.zeros((frames, 3, 3))
    positions[:, 1, 0], positions[:, 2, 0] = 1.16, -1.16
    positions[:, 0, 1] = 0.05 * np.sin(2 * np.pi * wavenumber * C * np.arange(frames) * interval)
    moving = tumbling(positions, interval, period_fs=8000)
    spectrum = vibrational_spectrum(moving, masses, interval, 300.0)
    assert spectrum is not None
    assert spectrum.wavenumber[np.argmax(spectrum.density)] == pytest.approx(wavenumber, abs=25)
    near = np.abs(spectrum.wavenumber - wavenumber) < 60
    assert spectrum.density[~near].max() < 0.03 * spectrum.density.max()


def test_rigid_motion_has_no_vibration():
    masses = atomic_masses[list(ETHANOL_NUMBERS)]
    rigid = tumbling(np.repeat(ETHANOL[None], 200, axis=0), 1.0)
    rotations, superposed = superpose(rigid, masses)
    assert np.ptp(superposed, axis=0).max() < 1e-9
    assert np.einsum("fab,fcb->fac", rotations, rotations) == pytest.approx(np.broadcast_to(np.eye(3), (200, 3, 3)))
    assert np.linalg.det(rotations) == pytest.approx(1.0)


def test_limits():
    assert nyquist_per_cm(1.0) == pytest.approx(16678.2, abs=0.1)
    assert folded_stretches(["C–H", "C–O", "O–H"], 2.0) == []
    assert folded_stretches(["C–H", "C–O", "O–H"], 5.0) == ["O–H"]
    assert folded_stretches(["C–H", "C–O", "O–H"], 10.0) == ["C–H", "C–O", "O–H"]
    assert vibrational_spectrum(np.zeros((20, 2, 3)), np.ones(2), 1.0, 300.0) is None
    assert vibrational_spectrum(np.zeros((200, 1, 3)), np.ones(1), 1.0, 300.0) is None
