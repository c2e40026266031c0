"""From which drift on observables are wrong: NVE runs against the teacher's own dynamics (docs/observables.md).

``python experiments/drifting_observables.py TEACHER RUN...``: TEACHER is a folder of teacher_dynamics.py, each RUN one
of NVE with ``--teacher gfn2`` and the same time between frames. Runs are cut into windows of 2 ps, in which they have
not drifted far. Prints the errors of each window, and those of the teacher's own windows, as JSON; ``--figure`` draws
them against the energy that the run has gained by then. Runs that are too short are left out.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import atomic_masses
from numpy.typing import NDArray
from spectra import enough, shape_error, shape_of
from teacher_dynamics import TeacherRun, read_teacher_run

from mdet_openmm.analysis.style import BLUE, GRID, MUTED, drawing, new_figure
from mdet_openmm.errors import exit_status
from mdet_openmm.measure.pair_distances import density_error, pair_density
from mdet_openmm.measure.vibrations import vibrational_spectrum
from mdet_openmm.simulation.conservation import EnergySource
from mdet_openmm.simulation.ended_run import read_run
from mdet_openmm.simulation.teacher_energy import total_energy
from mdet_openmm.units import KJ_PER_MOL_PER_EV

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

WINDOW_PS = 2.0
FEWEST_FRAMES = 200
MEV_PER_KJ_MOL = 1e3 / KJ_PER_MOL_PER_EV
WAVENUMBERS: Array = np.arange(0.0, 4200.0, 10.0)


def windows_of(positions: Array, masses: Array, interval_fs: float, reference: Array) -> list[dict[str, float]]:
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
    length = min(len(positions), round(1000 * WINDOW_PS / interval_fs))

    def shape(part: Array) -> Array:
        spectrum = enough(vibrational_spectrum(part, masses, interval_fs, 300.0))
        return shape_of(spectrum.wavenumber, spectrum.density, WAVENUMBERS)

    def cut(frames: Array) -> list[Array]:
        return [frames[i : i + length] for i in range(0, len(frames) - length + 1, length)]

    expected: Array = np.mean([shape(part) for part in cut(reference)], axis=0)
    density = pair_density(reference)
    return [
        {
            "middle_ps": 1e-3 * interval_fs * length * (k + 0.5),
            "vdos": shape_error(shape(part), expected),
            "h_r": density_error(pair_density(part), density),
        }
        for k, part in enumerate(cut(positions))
    ]


def measure(folder: Path, teacher: TeacherRun) -> dict[str, Any] | None:
    """Drift and errors of a run; None if it has too few frames, or another time between them than the teacher."""
    run = read_run(folder)
    if run.interval_fs != teacher.interval_fs or len(run.positions) < FEWEST_FRAMES:
        return None
    masses = atomic_masses[run.atomic_numbers]
    windows = windows_of(run.positions, masses, run.interval_fs, teacher.positions)
    times, temperature = run.log["time_ps"], run.log["temperature_K"]
    total = total_energy(folder, run.log, EnergySource.GFN2)
    assert total is not None  # a source was given
    at, energy = total
    energy = MEV_PER_KJ_MOL / len(masses) * (energy - energy[: max(1, len(energy) // 100)].mean())
    for window in windows:
        near, judged = (np.abs(t - window["middle_ps"]) <= WINDOW_PS / 2 for t in (times, at))
        window["temperature_K"] = float(temperature[near].mean())
        window["gained_meV_per_atom"] = float(energy[judged].mean())
    keys = ("time_ps", "exit_reason", "energy_drift_meV_per_atom_ps", "energy_drift_error_meV_per_atom_ps")
    means = {key: float(np.mean([w[key] for w in windows])) for key in ("vdos", "h_r")}
    return {
        **{key: run.summary.get(key) for key in (*keys, "temperature_drift_K_per_ps")},
        **{"model": run.summary["model"]["name"], "temperature_mean_K": float(temperature.mean()), **means},
        "windows": windows,
    }


def draw(runs: dict[str, Any], floor: dict[str, float]) -> "Figure":
    """Error of each observable in each window, against the energy that the run has gained by then."""
    figure = new_figure(11.0, 3.8)
    panels = figure.subplots(1, 3)
    names = (("vdos", "error of the density of states"), ("h_r", "error of h(r)"), ("temperature_K", "temperature / K"))
    for axes, (key, label) in zip(panels, names, strict=True):
        for run in runs.values():
            shipped = run["model"].startswith("mdet")
            gained, errors = zip(*((w["gained_meV_per_atom"], w[key]) for w in run["windows"]), strict=True)
            name, colour = (run["model"], BLUE) if shipped else ("small networks", MUTED)
            axes.plot(gained, errors, "o-", ms=3, lw=0.8, color=colour, label=name)
        if key in floor:
            axes.axhspan(0, floor[key], color=GRID, lw=0)
        axes.set(xlabel="gained energy / meV per atom", ylabel=label)
    handles, labels = panels[0].get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    panels[0].legend(unique.values(), unique.keys(), frameon=False, fontsize=9)
    return figure


def run(options: argparse.Namespace) -> None:
    """Measure, draw, print."""
    teacher = read_teacher_run(options.teacher)
    found = {str(folder): measure(folder, teacher) for folder in options.runs}
    runs = {name: row for name, row in found.items() if row is not None}
    # of the teacher's windows against all of its run, of which they are a part: a little less than that of others
    own = windows_of(teacher.positions, atomic_masses[teacher.atomic_numbers], teacher.interval_fs, teacher.positions)
    floor = {key: float(np.mean([w[key] for w in own])) for key in ("vdos", "h_r")}
    if options.figure is not None:
        with drawing():
            draw(runs, floor).savefig(options.figure, dpi=130)
    print(json.dumps({"floor": floor, "runs": runs}, indent=1))


def main() -> None:
    """The flags."""
    parser = argparse.ArgumentParser(description="errors of observables in NVE runs that drift")
    parser.add_argument("teacher", type=Path)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--figure", type=Path)
    run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(exit_status(main))
