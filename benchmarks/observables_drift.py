"""NVE runs of ethanol that drift at different rates, and how far off their observables are."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.measure.pair_distances import density_error, pair_density
from mdet_openmm.measure.vibrations import vibrational_spectrum
from mdet_openmm.units import KJ_PER_MOL_PER_EV

WINDOW_PS = 2.0
"""Observables of a drifting run are those of a stretch in which it has not drifted far."""
FEWEST_FRAMES = 200
MEV_PER_KJ_MOL = 1e3 / KJ_PER_MOL_PER_EV


@dataclass(frozen=True)
class Condition:
    """One way to run NVE."""

    model: str
    frames: int
    offset: str


CONDITIONS = (
    Condition("mdet-gfn2-mini", 1, "none"),
    Condition("mdet-gfn2-mini", 1, "hashed"),
    Condition("mdet-gfn2-mini", 1, "random"),
    Condition("mdet-gfn2-mini", 12, "hashed"),
    Condition("mdet-gfn2-mini", 60, "hashed"),
)


def run_conditions(root: Path, system: Path, time_ps: float, most_frames: int) -> None:
    """NVE runs of the shipped model from 300 K, judged by GFN2-xTB's energy; those that are there are kept."""
    from mdet_openmm.errors import RunStopped
    from mdet_openmm.simulation.nve import run_nve
    from mdet_openmm.simulation.settings import NveSettings

    for condition in CONDITIONS:
        folder = root / f"{condition.model}-{condition.frames}-{condition.offset}"
        if (folder / "summary.json").exists() or condition.frames > most_frames:
            continue
        with contextlib.suppress(RunStopped):
            run_nve(
                NveSettings(
                    system=system,
                    model=condition.model,
                    time=time_ps,
                    frames=condition.frames,
                    offset=condition.offset,
                    precision="mixed",
                    seed=7,
                    threads=1,
                    reference="gfn2",
                    watch_equivariance=0,
                    output=folder,
                    restart=(folder / "checkpoint.chk").exists(),
                    quiet=True,
                )
            )


def spectrum_shape(
    positions: NDArray[np.float64], masses: NDArray[np.float64], interval_fs: float, grid: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The vibrational density of states on a grid of wavenumbers, its sum 1."""
    spectrum = vibrational_spectrum(positions, masses, interval_fs, 300.0)
    assert spectrum is not None
    values = np.interp(grid, spectrum.wavenumber, spectrum.density)
    shape: NDArray[np.float64] = values / values.sum()
    return shape


def shape_error(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Σ |a − b| of two shapes of sum 1: 0 if they are equal, 2 if they do not overlap, as for h(r)."""
    return float(np.abs(a - b).sum())


def windows_of(
    positions: NDArray[np.float64], masses: NDArray[np.float64], interval_fs: float, reference: NDArray[np.float64]
) -> list[dict[str, float]]:
    """Errors of the vibrational density of states and of h(r) against a reference, window by window.

    Parameters
    ----------
    positions
        (f, n, 3) in Å.
    masses
        (n,) in g/mol.
    interval_fs
        Between frames, of both.
    reference
        (g, n, 3) in Å; its spectrum is that of windows of the same length, averaged.
    """
    grid = np.arange(0.0, 4200.0, 10.0)
    length = min(len(positions), round(1000 * WINDOW_PS / interval_fs))
    parts = [reference[i : i + length] for i in range(0, len(reference) - length + 1, length)]
    shape = np.mean([spectrum_shape(part, masses, interval_fs, grid) for part in parts], axis=0)
    density = pair_density(reference)
    return [
        {
            "middle_ps": 1e-3 * interval_fs * (start + length / 2),
            "vdos": shape_error(spectrum_shape(positions[start : start + length], masses, interval_fs, grid), shape),
            "h_r": density_error(pair_density(positions[start : start + length]), density),
        }
        for start in range(0, len(positions) - length + 1, length)
    ]


def measure_drift(
    folders: list[Path], masses: NDArray[np.float64], reference: NDArray[np.float64], interval_fs: float
) -> dict[str, Any]:
    """Drift and errors of every NVE run that has enough frames at the reference's interval."""
    from mdet_openmm.simulation.conservation import EnergySource
    from mdet_openmm.simulation.ended_run import read_run
    from mdet_openmm.simulation.reference_energy import total_energy

    found: dict[str, Any] = {}
    for folder in folders:
        if not (folder / "summary.json").exists():
            continue
        summary = json.loads((folder / "summary.json").read_text())
        run = read_run(folder)
        if run.interval_fs != interval_fs or len(run.positions) < FEWEST_FRAMES:
            continue
        windows = windows_of(run.positions, masses, interval_fs, reference)
        times, temperature = run.log["time_ps"], run.log["temperature_K"]
        energies = total_energy(folder, run.log, EnergySource.GFN2)
        assert energies is not None
        at, energy = energies
        energy = MEV_PER_KJ_MOL / len(masses) * (energy - energy[: max(1, len(energy) // 100)].mean())
        for window in windows:
            near = np.abs(times - window["middle_ps"]) <= WINDOW_PS / 2
            window["temperature_K"] = float(temperature[near].mean())
            window["gained_meV_per_atom"] = float(energy[np.abs(at - window["middle_ps"]) <= WINDOW_PS / 2].mean())
        keys = ("time_ps", "exit_reason", "energy_drift_meV_per_atom_ps", "energy_drift_error_meV_per_atom_ps")
        found[folder.name] = {key: summary.get(key) for key in keys} | {
            "temperature_mean_K": float(temperature.mean()),
            "temperature_drift_K_per_ps": summary.get("temperature_drift_K_per_ps"),
            "vdos": float(np.mean([w["vdos"] for w in windows])),
            "h_r": float(np.mean([w["h_r"] for w in windows])),
            "windows": windows,
        }
    return found
