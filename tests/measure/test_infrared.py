"""Infrared spectra of dipoles with known oscillations, on molecules that tumble and fly."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.data import atomic_masses
from fake_run import ETHANOL, ETHANOL_NUMBERS, write_run
from scipy.spatial.transform import Rotation

from mdet_openmm.analysis.report import analyze
from mdet_openmm.export.model_folder import load_model, save_model
from mdet_openmm.measure.infrared import InfraredSpectrum, infrared_spectrum
from mdet_openmm.measure.vibrations import vibrational_spectrum
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer

C = 2.99792458e-5  # cm/fs
MASSES = atomic_masses[list(ETHANOL_NUMBERS)]
WATER_MASSES = atomic_masses[[8, 1, 1]]
WATER_CHARGES = np.array([-0.8, 0.4, 0.4])


def turns(frames: int, interval: float, period_fs: float = 4000.0) -> np.ndarray:
    """(f, 3, 3): once about a fixed axis per period."""
    times = np.arange(frames) * interval
    return Rotation.from_rotvec(2 * np.pi * times[:, None] / period_fs * np.array([0.6, 0.0, 0.8])).as_matrix()


def area(spectrum: InfraredSpectrum, around: float) -> float:
    """Integral near one line."""
    near = np.abs(spectrum.wavenumber - around) < 100
    return float(np.trapezoid(spectrum.intensity[near], spectrum.wavenumber[near]))


@pytest.mark.parametrize("interval", [1.0, 4.0])
def test_lines_of_a_tumbling_dipole_and_their_intensities(interval: float) -> None:
    """Line k of amplitude a_k has the intensity (a_k ω_k)², whatever its direction and the permanent dipole."""
    frames = round(30_000 / interval)
    phases = 2 * np.pi * C * np.arange(frames) * interval
    lines = {900.0: (0.03, [1.0, 0.0, 0.0]), 1700.0: (0.01, [0.0, 0.6, 0.8]), 3600.0: (0.01, [0.0, 0.8, -0.6])}
    body = np.array([0.3, 0.2, 0.1]) + sum(
        a * np.cos(w * phases)[:, None] * np.array(axis) for w, (a, axis) in lines.items()
    )
    rotations = turns(frames, interval)
    positions = np.einsum("fab,nb->fna", rotations, ETHANOL) + np.arange(frames)[:, None, None] * 1e-3
    dipoles = np.einsum("fab,fb->fa", rotations, body)
    spectrum = infrared_spectrum(positions, dipoles, MASSES, interval)
    assert spectrum is not None
    assert np.trapezoid(spectrum.intensity, spectrum.wavenumber) == pytest.approx(1.0)
    total = sum((a * w) ** 2 for w, (a, _) in lines.items())
    for wavenumber, (amplitude, _) in lines.items():
        assert area(spectrum, wavenumber) == pytest.approx((amplitude * wavenumber) ** 2 / total, abs=0.01)
        assert min(abs(p - wavenumber) for p in spectrum.peaks) < spectrum.resolution
    assert spectrum.intensity[spectrum.wavenumber < 500].max() < 1e-3 * spectrum.intensity.max()


def stretching_water(wavenumber: float, frames: int, interval: float, opposed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Point charges on a tumbling water whose bonds stretch together or against each other, and their dipoles."""
    half = np.radians(52.25)
    arms = np.array([[np.sin(half), np.cos(half), 0], [-np.sin(half), np.cos(half), 0]])
    change = 0.02 * np.sin(2 * np.pi * wavenumber * C * np.arange(frames) * interval)
    positions = np.zeros((frames, 3, 3))
    positions[:, 1] = (0.96 + change)[:, None] * arms[0]
    positions[:, 2] = (0.96 + (-change if opposed else change))[:, None] * arms[1]
    positions = np.einsum("fab,fnb->fna", turns(frames, interval), positions)
    return positions, np.einsum("n,fnx->fx", WATER_CHARGES, positions)


@pytest.mark.parametrize("opposed", [False, True], ids=["symmetric", "asymmetric"])
def test_moving_charges(opposed: bool) -> None:
    """One line at the stretch. The asymmetric one turns the dipole: its length alone has twice the wavenumber."""
    wavenumber, interval, frames = 1800.0, 2.0, 12_000
    positions, dipoles = stretching_water(wavenumber, frames, interval, opposed)
    spectrum = infrared_spectrum(positions, dipoles, WATER_MASSES, interval)
    assert spectrum is not None
    assert spectrum.wavenumber[np.argmax(spectrum.intensity)] == pytest.approx(wavenumber, abs=spectrum.resolution)
    assert area(spectrum, wavenumber) > 0.98
    vibrations = vibrational_spectrum(positions, WATER_MASSES, interval, 300.0)
    assert vibrations is not None
    np.testing.assert_allclose(spectrum.wavenumber, vibrations.wavenumber)
    if opposed:
        length = np.linalg.norm(dipoles, axis=1)
        power = np.abs(np.fft.rfft((length - length.mean()) * np.hanning(frames))) ** 2
        assert np.fft.rfftfreq(frames, interval)[np.argmax(power)] / C == pytest.approx(2 * wavenumber, abs=20)


def test_an_ion_that_is_shaken_does_not_absorb() -> None:
    """Its dipole about the origin follows its centre of mass; about that, only the vibration counts."""
    interval, frames = 2.0, 12_000
    positions, dipoles = stretching_water(1800.0, frames, interval, opposed=False)
    shaken = 3.0 * np.cos(2 * np.pi * 400.0 * C * np.arange(frames) * interval)[:, None] * np.array([1.0, 0.0, 0.0])
    positions, dipoles = positions + shaken[:, None], dipoles + 1.0 * shaken
    centre = np.einsum("n,fnx->fx", WATER_MASSES / WATER_MASSES.sum(), positions)
    about_centre = dipoles - centre
    got = infrared_spectrum(positions, dipoles, WATER_MASSES, interval, charge=1)
    expected = infrared_spectrum(positions - centre[:, None], about_centre, WATER_MASSES, interval)
    assert got is not None and expected is not None
    np.testing.assert_allclose(got.intensity, expected.intensity, atol=1e-9 * expected.intensity.max())
    assert area(got, 400.0) < 1e-3
    neutral = infrared_spectrum(positions, dipoles, WATER_MASSES, interval)
    assert neutral is not None and area(neutral, 400.0) > 0.5


def test_nothing_to_show() -> None:
    rotations = turns(200, 1.0)
    rigid = np.einsum("fab,nb->fna", rotations, ETHANOL)
    fixed = np.einsum("fab,b->fa", rotations, np.array([0.3, 0.1, 0.2]))
    assert infrared_spectrum(rigid, fixed, MASSES, 1.0) is None
    assert infrared_spectrum(rigid, np.zeros((200, 3)), MASSES, 1.0) is None
    assert infrared_spectrum(rigid[:20], fixed[:20], MASSES, 1.0) is None
    assert infrared_spectrum(rigid[:, :1], fixed, MASSES[:1], 1.0) is None


def test_the_report_shows_it_where_the_model_has_dipoles(tmp_path: Path, draw_only: Callable[..., None]) -> None:
    draw_only("infrared")
    torch.manual_seed(0)
    network = EdgeTransformer(NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=8, l_max=2, dipole_head=True))
    save_model(tmp_path / "polar", network, elements=(1, 8), training={}, metrics={}, card="")
    model = load_model(tmp_path / "polar")
    positions, _ = stretching_water(1800.0, 2000, 2.0, opposed=False)
    identity = {"name": "polar", "sha256": model.sha256}
    run = write_run(tmp_path / "run", [8, 1, 1], positions, interval_fs=2.0, model=identity)
    settings = run / "settings.json"
    settings.write_text(json.dumps({"settings": {"model": str(model.path)}, "model": identity}))
    page = analyze(run)
    found = json.loads((run / "analysis/analysis.json").read_text())["infrared"]
    # the random network's dipole is no physics, but it moves with the one vibration there is
    assert found["wavenumber"][int(np.argmax(found["intensity"]))] == pytest.approx(1800.0, abs=found["resolution"])
    assert "Infrared spectrum" in page.read_text() and (run / "analysis/infrared.png").is_file()

    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "model": {**identity, "sha256": "0" * 64}}))
    assert "Infrared spectrum" not in analyze(run).read_text()
    assert not (run / "analysis/infrared.png").exists()
    (run / "summary.json").write_text(json.dumps(summary))
    settings.unlink()
    assert "Infrared spectrum" not in analyze(run).read_text()
