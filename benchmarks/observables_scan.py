"""A torsion scan of butane by the teacher's energies, and by the work of teacher's and model's forces along it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.data.config import TeacherConfig
from mdet_openmm.data.teacher import Teacher, make_teacher
from mdet_openmm.export.force_module import bind, forces
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.molecules.bonds import find_bonds, neighbours
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.units import KCAL_PER_MOL_PER_EV

Array = NDArray[np.float64]


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
    """The four carbons of butane along the chain, and the atoms on the side of the last one."""
    bonds = find_bonds(molecule.atomic_numbers, molecule.positions)
    linked = neighbours(bonds, molecule.n_atoms)
    carbons = [i for i, z in enumerate(molecule.atomic_numbers) if z == 6]
    inner = [i for i in carbons if sum(j in carbons for j in linked[i]) == 2]
    ends = [next(j for j in linked[i] if j in carbons and j not in inner) for i in inner]
    side, to_visit = {inner[1]}, [inner[1]]
    while to_visit:
        for j in linked[to_visit.pop()]:
            if j != inner[0] and j not in side:
                side.add(j)
                to_visit.append(j)
    return [ends[0], *inner, ends[1]], sorted(side)


def dihedral(x: Array, atoms: list[int]) -> Array:
    """Dihedral in degrees, -180 to 180, of positions (..., n, 3)."""
    a, b, c = (x[..., atoms[i + 1], :] - x[..., atoms[i], :] for i in range(3))
    first, second = np.cross(a, b), np.cross(b, c)
    sine = np.einsum("...x,...x->...", a, second) * np.linalg.norm(b, axis=-1)
    return np.degrees(np.arctan2(sine, np.einsum("...x,...x->...", first, second)))


def turned(x: Array, atoms: list[int], side: list[int], degrees: float) -> Array:
    """The atoms of one side turned about the central bond, everything else in its place (Rodrigues)."""
    from scipy.spatial.transform import Rotation

    axis = x[atoms[2]] - x[atoms[1]]
    turn = Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis)).as_matrix()
    y = x.copy()
    y[side] = (x[side] - x[atoms[1]]) @ turn.T + x[atoms[1]]
    return y


def work_of(path: Array, force: Array) -> Array:
    """(k,) minus the work along the path (k, n, 3) by the trapezoidal rule, kcal/mol from eV/Å."""
    steps = -0.5 * ((force[1:] + force[:-1]) * np.diff(path, axis=0)).sum(axis=(1, 2))
    return KCAL_PER_MOL_PER_EV * np.concatenate([[0.0], np.cumsum(steps)])


def scan_along(path: Array, angles: Array, molecule: Molecule, teacher: Teacher, model: Path, frames: int) -> Scan:
    """All curves of a path of geometries (k, n, 3)."""
    labels = [teacher(x) for x in path]
    energy = KCAL_PER_MOL_PER_EV * np.array([label.energy for label in labels])
    module = bind(load_model(model), molecule.atomic_numbers, 0, 1, frames=frames)
    own = np.array([forces(module, x)[1] for x in path])
    taught = np.array([label.forces for label in labels])
    return Scan(angles, energy - energy[0], work_of(path, taught), work_of(path, own))


def rigid_scan(molecule: Molecule, model: Path, frames: int, step: float = 3.0) -> Scan:
    """Once around the central bond from the anti conformer; bond lengths and angles stay as they are."""
    teacher = make_teacher(TeacherConfig(), molecule.atomic_numbers, 0, 1)
    atoms, side = central_torsion(molecule)
    start = turned(molecule.positions, atoms, side, 180.0 - float(dihedral(molecule.positions, atoms)))
    angles = np.arange(0.0, 360.0 + step / 2, step)
    path = np.array([turned(start, atoms, side, a) for a in angles])
    return scan_along(path, 180.0 + angles, molecule, teacher, model, frames)


def relaxed_scan(molecule: Molecule, model: Path, frames: int, step: float = 3.0) -> Scan:
    """From anti to syn with everything but the dihedral relaxed on the teacher's forces at each angle."""
    from ase import Atoms
    from ase.calculators.calculator import Calculator, all_changes
    from ase.constraints import FixInternals
    from ase.optimize import BFGS

    teacher = make_teacher(TeacherConfig(), molecule.atomic_numbers, 0, 1)

    class Taught(Calculator):  # type: ignore[misc]
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
    return scan_along(np.array(path), angles, molecule, teacher, model, frames)
