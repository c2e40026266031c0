"""Butane's torsion: energies and work of forces along it, and the dihedral's distribution (docs/observables.md).

``python experiments/torsion.py MODEL`` turns the molecule about its central bond, rigidly and relaxed by the teacher,
and prints the teacher's energy beside minus the work of the teacher's and the model's forces along the path, as JSON.
``--starts FOLDER`` writes structures of all three wells instead, for runs of the teacher (teacher_dynamics.py) and the
model (simulations/run_nvt.py); with ``--teacher-runs DIR... --model-runs DIR...`` their dihedrals are compared, and
``--figure`` draws everything.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from teacher_dynamics import read_teacher_run

from mdet_openmm.analysis.style import BLUE, ORANGE, drawing, new_figure
from mdet_openmm.data.config import TeacherConfig
from mdet_openmm.data.labels import Teacher
from mdet_openmm.data.teacher import make_teacher
from mdet_openmm.errors import exit_status
from mdet_openmm.export.force_module import bind, forces
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.bonds import find_bonds, neighbours
from mdet_openmm.molecules.molecule import Molecule, Species
from mdet_openmm.molecules.smiles import molecule_from_smiles
from mdet_openmm.simulation.ended_run import read_run
from mdet_openmm.simulation.run_folder import write_start
from mdet_openmm.units import BOLTZMANN_EV_PER_K, KCAL_PER_MOL_PER_EV

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

ORIENTATIONS = 12
TEMPERATURE = 500.0
WELLS = (180.0, 65.0, -65.0)
BINS: Array = np.linspace(0.0, 180.0, 19)


@dataclass(frozen=True)
class Scan:
    """Energies in kcal/mol along a path of geometries, 0 at its start.

    Attributes
    ----------
    angles
        (k,) dihedral in degrees.
    teacher
        (k,) the teacher's energy.
    teacher_work, model_work
        (k,) minus the work of the forces along the path: of the teacher's it is the energy but for the steps' width.
    """

    angles: Array
    teacher: Array
    teacher_work: Array
    model_work: Array


def central_torsion(molecule: Molecule) -> tuple[list[int], list[int]]:
    """The four carbons of butane along the chain, as they stand in its SMILES, and the atoms beyond the middle bond."""
    linked = neighbours(find_bonds(molecule.atomic_numbers, molecule.positions), molecule.n_atoms)
    return [0, 1, 2, 3], sorted({2, 3, *linked[2], *linked[3]} - {1})


def dihedral(x: Array, atoms: list[int]) -> Array:
    """Dihedral in degrees, -180 to 180, of positions (..., n, 3)."""
    a, b, c = (x[..., atoms[i + 1], :] - x[..., atoms[i], :] for i in range(3))
    first, second = np.cross(a, b), np.cross(b, c)
    sine = np.einsum("...x,...x->...", a, second) * np.linalg.norm(b, axis=-1)
    return np.degrees(np.arctan2(sine, np.einsum("...x,...x->...", first, second)))


def turned(x: Array, atoms: list[int], side: list[int], degrees: float) -> Array:
    """The atoms of one side turned about the central bond, everything else in its place (Rodrigues)."""
    from scipy.spatial.transform import Rotation  # type: ignore[import-untyped, unused-ignore]

    axis = x[atoms[2]] - x[atoms[1]]
    turn = Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis)).as_matrix()
    y = x.copy()
    y[side] = (x[side] - x[atoms[1]]) @ turn.T + x[atoms[1]]
    return y


def work_of(path: Array, force: Array) -> Array:
    """(k,) minus the work along the path (k, n, 3) by the trapezoidal rule, kcal/mol from eV/Å."""
    steps = -0.5 * ((force[1:] + force[:-1]) * np.diff(path, axis=0)).sum(axis=(1, 2))
    return KCAL_PER_MOL_PER_EV * np.concatenate([[0.0], np.cumsum(steps)])


def scan_along(path: Array, angles: Array, molecule: Molecule, teacher: Teacher, model: str) -> Scan:
    """All curves of a path of geometries (k, n, 3)."""
    labels = [teacher(x) for x in path]
    energy = KCAL_PER_MOL_PER_EV * np.array([label.energy for label in labels])
    module = bind(
        load_model(model), Species(molecule.atomic_numbers), ForceOptions(orientations=ORIENTATIONS, offset="none")
    )
    own = np.array([forces(module, x)[1] for x in path])
    taught = np.array([label.forces for label in labels])
    return Scan(angles, energy - energy[0], work_of(path, taught), work_of(path, own))


def rigid_scan(molecule: Molecule, model: str, step: float = 3.0) -> Scan:
    """Once around the central bond from the anti conformer; bond lengths and angles stay as they are."""
    teacher = make_teacher(TeacherConfig(), Species(molecule.atomic_numbers))
    atoms, side = central_torsion(molecule)
    start = turned(molecule.positions, atoms, side, 180.0 - float(dihedral(molecule.positions, atoms)))
    angles = np.arange(0.0, 360.0 + step / 2, step)
    path = np.array([turned(start, atoms, side, a) for a in angles])
    return scan_along(path, 180.0 + angles, molecule, teacher, model)


def relaxed_scan(molecule: Molecule, model: str, step: float = 3.0) -> Scan:
    """From anti to syn with everything but the dihedral relaxed on the teacher's forces at each angle."""
    from ase import Atoms
    from ase.calculators.calculator import Calculator, all_changes
    from ase.constraints import FixInternals
    from ase.optimize import BFGS

    teacher = make_teacher(TeacherConfig(), Species(molecule.atomic_numbers))

    class Taught(Calculator):
        implemented_properties = ("energy", "forces")

        def calculate(self, atoms: Atoms, properties: list[str], changes: list[str] = all_changes) -> None:
            super().calculate(atoms, properties, changes)
            label = teacher(atoms.positions)
            self.results = {"energy": label.energy, "forces": label.forces}

    four, side = central_torsion(molecule)
    atoms = Atoms(molecule.atomic_numbers, molecule.positions, calculator=Taught())
    BFGS(atoms, logfile=None).run(fmax=0.002, steps=300)
    x = turned(atoms.positions, four, side, 180.0 - float(dihedral(atoms.positions, four)))
    path, angles = [], np.arange(180.0, -step / 2, -step)
    for angle in angles:
        x = turned(x, four, side, angle - float(dihedral(x, four)))
        atoms.set_constraint()
        atoms.positions = x
        atoms.set_constraint(FixInternals(dihedrals_deg=[[atoms.get_dihedral(*four), four]]))
        BFGS(atoms, logfile=None).run(fmax=0.005, steps=200)
        x = atoms.positions.copy()
        path.append(x)
    return scan_along(np.array(path), angles, molecule, teacher, model)


@dataclass(frozen=True)
class Wells:
    """What runs say: fraction of the dihedral in each bin (runs, b), fraction anti (runs,), changes of the well."""

    fractions: Array
    anti: Array
    crossings: int


def wells_of(runs: list[Array], four: list[int]) -> Wells:
    """Of runs (f, n, 3) in Å each."""
    seen = [dihedral(x, four) for x in runs]
    fractions = np.array([np.histogram(np.abs(angles), BINS)[0] / len(angles) for angles in seen])
    anti = np.array([(np.abs(angles) > 120).mean() for angles in seen])
    return Wells(fractions, anti, sum(_crossings(angles) for angles in seen))


def _crossings(angles: Array) -> int:
    """How often the dihedral comes from the middle of one well to the middle of another."""
    wells = np.where(np.abs(angles) > 150, 1, np.where(np.abs(np.abs(angles) - 65) < 30, 2 * np.sign(angles), 0))
    visited = wells[wells != 0]
    return int((np.diff(visited) != 0).sum())


def _at(scan: Scan, angle: float) -> list[float]:
    """Teacher's energy and model's work at a dihedral, the first time the path comes there."""
    where = int(np.argmin(np.abs(np.abs((scan.angles + 180.0) % 360.0 - 180.0) - angle)))
    return [float(scan.teacher[where]), float(scan.model_work[where])]


def _numbers(scan: Scan) -> dict[str, Any]:
    return {
        "highest_teacher": float(scan.teacher.max()),
        "highest_by_teacher_work": float(scan.teacher_work.max()),
        "highest_by_model_work": float(scan.model_work.max()),
        "largest_difference": float(np.abs(scan.model_work - scan.teacher).max()),
        "end_teacher": float(scan.teacher[-1]),
        "end_by_teacher_work": float(scan.teacher_work[-1]),
        "end_by_model_work": float(scan.model_work[-1]),
        **{f"at_{a}": _at(scan, a) for a in (120, 65, 0)},
    }


def _anti_by_profile(scan: Scan, energy: Array) -> float:
    """What the relaxed profile says about the wells alone, for comparison."""
    weight = np.exp(-energy / (KCAL_PER_MOL_PER_EV * BOLTZMANN_EV_PER_K * TEMPERATURE))
    return float(weight[scan.angles > 120].sum() / weight.sum())


def draw(rigid: Scan, relaxed: Scan, wells: dict[str, Wells]) -> "Figure":
    """Torsion scans, and the distribution of the dihedral with its error bars."""
    figure = new_figure(11.0, 3.8)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.15, 1, 1.15))
    for axes, scan, title in ((left, rigid, "rigid, once around"), (middle, relaxed, "relaxed by GFN2-xTB")):
        axes.plot(scan.angles, scan.teacher, color=ORANGE, lw=4, alpha=0.4, label="GFN2-xTB, energy")
        axes.plot(scan.angles, scan.teacher_work, color=ORANGE, lw=1, ls=(0, (4, 2)), label="GFN2-xTB, −work")
        axes.plot(scan.angles, scan.model_work, color=BLUE, lw=1.6, label="model, −work")
        axes.set_title(title, fontsize=10, loc="left")
        axes.set(xlabel="C–C–C–C dihedral / °", ylabel="kcal/mol")
    left.set_xticks([180, 240, 300, 360, 420, 480, 540], ["180", "−120", "−60", "0", "60", "120", "180"])
    left.legend(frameon=False, fontsize=8)
    for (name, seen), colour, shift in zip(wells.items(), (ORANGE, BLUE), (-1.2, 1.2), strict=False):
        mean, error = seen.fractions.mean(axis=0), seen.fractions.std(axis=0, ddof=1) / len(seen.fractions) ** 0.5
        right.stairs(mean, BINS, color=colour, lw=1.0, alpha=0.6)
        middles = (BINS[1:] + BINS[:-1]) / 2 + shift
        right.errorbar(middles, mean, error, fmt="o", ms=3, color=colour, lw=1.0, label=name)
    right.set(xlabel=f"|dihedral| / °, {TEMPERATURE:g} K", ylabel="fraction", ylim=(0, None))
    right.legend(frameon=False, fontsize=9)
    return figure


def run(options: argparse.Namespace) -> None:
    """Starts, or scans and what runs say."""
    molecule = molecule_from_smiles("CCCC", name="butane", seed=1)
    four, side = central_torsion(molecule)
    if options.starts is not None:
        options.starts.mkdir(parents=True, exist_ok=True)
        for k in range(options.count):
            x = turned(molecule.positions, four, side, WELLS[k % 3] - float(dihedral(molecule.positions, four)))
            write_start(options.starts / f"start-{k:02d}.xyz", molecule.atomic_numbers, x)
        return
    rigid, relaxed = rigid_scan(molecule, options.model), relaxed_scan(molecule, options.model)
    found: dict[str, Any] = {"rigid": _numbers(rigid), "relaxed": _numbers(relaxed)}
    wells = {}
    if options.teacher_runs and options.model_runs:
        wells["GFN2-xTB"] = wells_of([read_teacher_run(folder).positions for folder in options.teacher_runs], four)
        wells["model"] = wells_of([read_run(folder).positions for folder in options.model_runs], four)
    for (name, seen), energy in zip(wells.items(), (relaxed.teacher, relaxed.model_work), strict=False):
        found[name] = {
            "runs": len(seen.anti),
            "anti_fraction": float(seen.anti.mean()),
            "anti_fraction_error": float(seen.anti.std(ddof=1)) / len(seen.anti) ** 0.5,
            "crossings": seen.crossings,
            "anti_fraction_by_profile": _anti_by_profile(relaxed, energy),
        }
    if options.figure is not None:
        with drawing():
            draw(rigid, relaxed, wells).savefig(options.figure, dpi=130)
    print(json.dumps(found, indent=1))


def main() -> None:
    """The flags."""
    parser = argparse.ArgumentParser(description="butane's torsion on a model and on its teacher")
    parser.add_argument("model")
    parser.add_argument("--starts", type=Path, help="write structures of all wells into this folder, and nothing else")
    parser.add_argument("--count", type=int, default=12, help="of them")
    parser.add_argument("--teacher-runs", nargs="+", type=Path, help="folders of teacher_dynamics.py")
    parser.add_argument("--model-runs", nargs="+", type=Path, help="folders of run_nvt.py")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    run(options)


if __name__ == "__main__":
    sys.exit(exit_status(main))
