"""Vibrational density of states and infrared spectrum of a run against the teacher's own (docs/observables.md).

``python experiments/spectra.py TEACHER RUN --model MODEL``: TEACHER is a folder of teacher_dynamics.py, RUN one of
simulations/run_nvt.py with the same time between frames, MODEL the run's model, with a dipole head. Prints errors
beside those between the two halves of the teacher's run, as JSON; ``--figure`` draws both spectra.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from ase.data import atomic_masses
from numpy.typing import NDArray
from teacher_dynamics import read_teacher_run

from mdet_openmm.analysis.style import BLUE, GREEN, ORANGE, drawing, new_figure
from mdet_openmm.errors import InputError, exit_status
from mdet_openmm.export.dipoles import dipoles
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.measure.infrared import InfraredSpectrum, infrared_spectrum
from mdet_openmm.measure.pair_distances import density_error, pair_density
from mdet_openmm.measure.vibrations import Spectrum, superpose, vibrational_spectrum
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.simulation.ended_run import read_run
from mdet_openmm.units import DEBYE_PER_E_ANGSTROM

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
S = TypeVar("S", Spectrum, InfraredSpectrum)

GRID: Array = np.arange(0.0, 4100.0, 5.0)
RIGHT = 4170.0


def shape_of(wavenumber: Array, values: Array, grid: Array = GRID) -> Array:
    """A spectrum on a common grid, its sum 1."""
    shape: Array = np.interp(grid, wavenumber, values)
    return shape / shape.sum()


def shape_error(a: Array, b: Array) -> float:
    """Σ |a − b| of two shapes of sum 1: 0 if they are equal, 2 if they do not overlap, as for h(r)."""
    return float(np.abs(a - b).sum())


def enough(spectrum: S | None) -> S:
    """The spectrum, or an error where there were too few frames for one."""
    if spectrum is None:
        raise InputError("a run has too few frames for a spectrum; make it longer")
    return spectrum


def compare(teacher_folder: Path, run_folder: Path, model_name: str, figure: Path | None) -> dict[str, Any]:
    """All errors, and the picture."""
    teacher, run, model = read_teacher_run(teacher_folder), read_run(run_folder), load_model(model_name)
    if run.interval_fs != teacher.interval_fs or not np.array_equal(run.atomic_numbers, teacher.atomic_numbers):
        raise InputError(f"{run_folder} has another molecule or time between frames than {teacher_folder}")
    masses, interval, temperature = atomic_masses[run.atomic_numbers], run.interval_fs, run.spectral_temperature
    theirs, ours = teacher.positions, run.positions

    def by_model(positions: Array) -> tuple[Array, Array]:
        _, superposed = superpose(positions, masses)
        return superposed, dipoles(model, Species(run.atomic_numbers), superposed)

    half = len(theirs) // 2
    halves = [slice(0, half), slice(half, 2 * half)]  # what one finds between them is the noise of these numbers
    vibrations = [enough(vibrational_spectrum(x, masses, interval, temperature)) for x in (theirs, ours)]
    noise_v = [enough(vibrational_spectrum(theirs[h], masses, interval, temperature)) for h in halves]
    lines = [enough(infrared_spectrum(theirs, teacher.dipoles, masses, interval))]
    lines += [enough(infrared_spectrum(*by_model(x), masses, interval)) for x in (theirs, ours)]
    noise_i = [enough(infrared_spectrum(theirs[h], teacher.dipoles[h], masses, interval)) for h in halves]
    v = [shape_of(s.wavenumber, s.density) for s in (*vibrations, *noise_v)]
    i = [shape_of(s.wavenumber, s.intensity) for s in (*lines, *noise_i)]
    few = slice(None, None, 10)
    straight = dipoles(model, Species(run.atomic_numbers), theirs[few])
    if figure is not None:
        with drawing():
            draw(vibrations, lines).savefig(figure, dpi=130)
    return {
        "teacher_ps": 1e-3 * interval * len(theirs),
        "model_ps": 1e-3 * interval * len(ours),
        "modes": [s.modes for s in vibrations],
        "vdos_error": shape_error(v[0], v[1]),
        "vdos_error_between_halves_of_the_teacher": shape_error(v[2], v[3]),
        "ir_error_model_dipoles_on_teacher_dynamics": shape_error(i[0], i[1]),
        "ir_error_model_dynamics": shape_error(i[0], i[2]),
        "ir_error_between_halves_of_the_teacher": shape_error(i[3], i[4]),
        "h_r_error": density_error(pair_density(ours), pair_density(theirs)),
        "h_r_error_between_halves_of_the_teacher": density_error(*(pair_density(theirs[h]) for h in halves)),
        "dipole_mae_D": DEBYE_PER_E_ANGSTROM * float(np.abs(straight - teacher.dipoles[few]).mean()),
        "dipole_rms_D": DEBYE_PER_E_ANGSTROM * float((teacher.dipoles**2).mean() ** 0.5),
        "peaks_teacher": vibrations[0].peaks,
        "peaks_model": vibrations[1].peaks,
        "infrared_peaks": [s.peaks for s in lines],
        "resolution_per_cm": vibrations[0].resolution,
    }


def draw(vibrations: list[Spectrum], lines: list[InfraredSpectrum]) -> "Figure":
    """Density of states of teacher and model above; below infrared of both, and of the model's dipoles in between."""
    figure = new_figure(11.0, 6.2)
    top, bottom = figure.subplots(2, 1, sharex=True)
    labels = ("GFN2-xTB, its own dipoles", "model's dipoles, GFN2-xTB's dynamics", "model, its own dynamics")
    curves = [(top, s.wavenumber, s.density) for s in vibrations] + [(bottom, s.wavenumber, s.intensity) for s in lines]
    named = zip(curves, ("GFN2-xTB", "model", *labels), (ORANGE, BLUE, ORANGE, GREEN, BLUE), strict=True)
    for (axes, wavenumber, values), label, colour in named:
        if colour == ORANGE:
            axes.fill_between(wavenumber, 1e3 * values, color=colour, alpha=0.25, lw=0)
        axes.plot(wavenumber, 1e3 * values, color=colour, lw=1.2, label=label)
    top.set(ylabel="modes per 1000 cm⁻¹", ylim=(0, None), xlim=(0, RIGHT))
    bottom.set(xlabel="wavenumber / cm⁻¹", ylabel="infrared intensity / 10⁻³ cm", ylim=(0, None))
    for axes in (top, bottom):
        axes.legend(frameon=False, fontsize=9)
    return figure


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description="spectra of a run against the teacher's")
    parser.add_argument("teacher", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--model", required=True, help="the run's, with a dipole head")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(compare(options.teacher, options.run, options.model, options.figure), indent=1))


if __name__ == "__main__":
    sys.exit(exit_status(main))
