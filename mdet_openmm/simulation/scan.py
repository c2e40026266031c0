"""A relaxed scan of a dihedral, with the energy that the work of the forces gives.

From one angle to the next the path turns one side of the molecule rigidly about the bond, and then goes straight to
the structure that is relaxed at the new angle. The energy is minus the work of the model's forces along it, by Gauss'
quadrature. For forces that are a gradient that is the energy. For direct forces it depends on the path; once around,
where the start is met again, it should be zero, and what it is instead says what these energies are worth.
"""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.torsions import Torsion
from mdet_openmm.simulation.torsion_settings import ScanSettings
from mdet_openmm.units import KJ_PER_MOL_PER_EV, NM_PER_ANGSTROM

FMAX_EV_A = 0.01
MAX_STEPS = 300
NODES, WEIGHTS = np.polynomial.legendre.leggauss(4)
SAME_A = 0.05
"""Rms distance of the end from the start, in Å, up to which a turn has come back to it."""

ForceFunction = Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]


@dataclass(frozen=True)
class Scan:
    """A relaxed scan.

    Attributes
    ----------
    angles
        (k + 1,) in degrees, counted on from the first.
    positions
        (k + 1, n, 3) in Å, as the path has them.
    work
        (k + 1,) minus the work of the forces, kJ/mol, 0 at the start.
    energies
        (k + 1,) of the energy head in kJ/mol, 0 at the start; None without one.
    largest_force
        (k + 1,) that is left beside the one that turns the dihedral, eV/Å.
    """

    angles: NDArray[np.float64]
    positions: NDArray[np.float64]
    work: NDArray[np.float64]
    energies: NDArray[np.float64] | None
    largest_force: NDArray[np.float64]

    @property
    def distance(self) -> float:
        """Rms distance of the end from the start in Å, superposed."""
        from scipy.spatial.transform import Rotation  # type: ignore[import-untyped, unused-ignore]

        start, end = (x - x.mean(axis=0) for x in (self.positions[0], self.positions[-1]))
        moved = Rotation.align_vectors(start, end)[0].apply(end)
        return float(np.sqrt(np.mean(np.sum((moved - start) ** 2, axis=1))))


def relaxed_scan(
    molecule: Molecule,
    torsion: Torsion,
    force: ForceFunction,
    points: int,
    turn: float,
    has_energy: bool = False,
    tick: Callable[[], object] = lambda: None,
) -> Scan:
    """Scan from the molecule as it stands, which is relaxed first.

    Parameters
    ----------
    molecule
        Where it begins.
    torsion
        What is turned.
    force
        (n, 3) positions in nm to energy in kJ/mol and (n, 3) forces in kJ/mol/nm, without an offset.
    points, turn
        Steps, and how far they go together in degrees.
    has_energy
        Whether the energies are any.
    tick
        Called after each step.

    Raises
    ------
    RunStopped
        If forces are not finite.
    """
    x, left = _relaxed(molecule, molecule.positions, None, force)
    first, step = torsion.angle(x), turn / points
    path, work, residual = [x], [0.0], [left]
    for _ in range(points):
        turned = torsion.turned(x, step)
        relaxed, left = _relaxed(molecule, turned, torsion, force)
        work.append(work[-1] - _work_of_turn(torsion, x, step, force) - _work_straight(turned, relaxed, force))
        path.append(relaxed)
        residual.append(left)
        x = relaxed
        tick()
    energies = np.array([force(NM_PER_ANGSTROM * each)[0] for each in path]) if has_energy else None
    return Scan(
        angles=first + step * np.arange(points + 1, dtype=np.float64),
        positions=np.array(path),
        work=np.array(work),
        energies=None if energies is None else energies - energies[0],
        largest_force=np.array(residual),
    )


def _relaxed(
    molecule: Molecule, positions: NDArray[np.float64], torsion: Torsion | None, force: ForceFunction
) -> tuple[NDArray[np.float64], float]:
    """Relaxed positions, with the dihedral held if there is one, and the largest force that is left, eV/Å."""
    from ase import Atoms
    from ase.constraints import FixInternals
    from ase.optimize import BFGS

    from mdet_openmm.simulation.relax import BoundCalculator

    atoms = Atoms(numbers=molecule.atomic_numbers, positions=positions)
    atoms.calc = BoundCalculator(force)
    if torsion is not None:
        four = list(torsion.atoms)
        atoms.set_constraint(FixInternals(dihedrals_deg=[[atoms.get_dihedral(*four), four]], epsilon=1e-9))
    BFGS(atoms, logfile=None).run(fmax=FMAX_EV_A, steps=MAX_STEPS)
    return atoms.positions.copy(), float(np.linalg.norm(atoms.get_forces(), axis=1).max())


def _work_of_turn(torsion: Torsion, start: NDArray[np.float64], degrees: float, force: ForceFunction) -> float:
    """Work in kJ/mol of turning the side rigidly."""
    total = 0.0
    for node, weight in zip(NODES, WEIGHTS, strict=True):
        x = torsion.turned(start, 0.5 * (node + 1.0) * degrees)
        total += weight * float((force(NM_PER_ANGSTROM * x)[1] * torsion.tangent(x)).sum())
    return total * 0.5 * np.radians(degrees) * NM_PER_ANGSTROM


def _work_straight(start: NDArray[np.float64], end: NDArray[np.float64], force: ForceFunction) -> float:
    """Work in kJ/mol on the straight way from one structure to another."""
    total = 0.0
    for node, weight in zip(NODES, WEIGHTS, strict=True):
        x = start + 0.5 * (node + 1.0) * (end - start)
        total += 0.5 * weight * float((force(NM_PER_ANGSTROM * x)[1] * (end - start)).sum())
    return total * NM_PER_ANGSTROM


def teacher_energies(scan: Scan, teacher: Any) -> NDArray[np.float64]:
    """(k + 1,) energies of a teacher at the same structures in kJ/mol, 0 at the start; NaN where it has no answer."""
    from mdet_openmm.data.labels import TeacherFailure

    found = []
    for positions in scan.positions:
        try:
            found.append(KJ_PER_MOL_PER_EV * teacher(positions).energy)
        except TeacherFailure:
            found.append(float("nan"))
    return np.array(found) - found[0]


def run_scan(settings: ScanSettings) -> dict[str, Any]:
    """Scan, and write ``scan.csv``, ``scan.xyz``, ``scan.json`` and ``scan.png``.

    Returns
    -------
    dict
        What is in ``scan.json``.

    Raises
    ------
    InputError
        For anything that cannot work, before something is computed.
    RunStopped
        If forces are not finite.
    """
    from tqdm import tqdm

    from mdet_openmm.export.force_module import bind
    from mdet_openmm.export.memory import check_memory
    from mdet_openmm.export.model_folder import load_model
    from mdet_openmm.files import write_file, write_json
    from mdet_openmm.molecules.readers import read_molecule
    from mdet_openmm.molecules.torsions import read_torsion
    from mdet_openmm.simulation.relax import force_function
    from mdet_openmm.simulation.run_folder import check_new_folder
    from mdet_openmm.simulation.teacher_energy import teacher_for

    check_new_folder(settings.folder)
    molecule = read_molecule(settings.system, settings.charge, settings.multiplicity)
    torsion = read_torsion(settings.dihedral, molecule)
    model = load_model(settings.model)
    asked = ForceOptions(settings.precision, settings.orientations, "none", forces=settings.forces)
    options = asked.resolved(model)
    check_memory(model, molecule.n_atoms, options)
    kind, teacher = teacher_for(settings.teacher, model, molecule, print)
    force = force_function(bind(model, molecule, options))
    with tqdm(total=settings.points, unit="step", leave=False) as bar:
        scan = relaxed_scan(molecule, torsion, force, settings.points, settings.turn, model.has_energy, bar.update)
    columns = {"dihedral_deg": scan.angles, "minus_work_kJ_mol": scan.work}
    if scan.energies is not None:
        columns["energy_head_kJ_mol"] = scan.energies
    if teacher is not None:
        columns[f"{kind}_kJ_mol"] = teacher_energies(scan, teacher)
    columns["largest_force_eV_A"] = scan.largest_force
    closed = abs(settings.turn) == 360.0 and scan.distance < SAME_A
    result = {
        "dihedral": settings.dihedral,
        "model": {"name": model.name, "sha256": model.sha256},
        "forces": options.forces,
        "frames": options.orientations,
        "barrier_kJ_mol": {name: float(np.nanmax(c) - np.nanmin(c)) for name, c in columns.items() if "kJ" in name},
        "end_from_start_A": scan.distance,
        "work_around_kJ_mol": float(scan.work[-1]) if closed else None,
        "converged": bool((scan.largest_force <= FMAX_EV_A).all()),
    }
    settings.folder.mkdir(parents=True, exist_ok=True)
    write_file(settings.folder / "scan.csv", _table(columns))
    write_file(settings.folder / "scan.xyz", _frames(molecule, scan))
    write_file(settings.folder / "scan.png", _drawn(columns))
    write_json(settings.folder / "scan.json", result)
    for line in sentences(result):
        print(line)
    print(f"files in {settings.folder}")
    return result


def sentences(result: dict[str, Any]) -> list[str]:
    """What is said at the end of a scan."""
    barriers = ", ".join(f"{name.removesuffix('_kJ_mol')} {v:.2f}" for name, v in result["barrier_kJ_mol"].items())
    lines = [f"highest less lowest, kJ/mol: {barriers}"]
    around = result["work_around_kJ_mol"]
    if around is not None:
        lines.append(f"once around the forces do {around:+.2f} kJ/mol of work; energies by work are good to that")
    elif result["forces"] == "direct":
        lines.append(
            f"the end is {result['end_from_start_A']:.2f} Å from the start: no closed path, so that nothing says how "
            "good energies by work are"
        )
    if not result["converged"]:
        lines.append(f"warning: forces above {FMAX_EV_A} eV/Å are left; see scan.csv")
    return lines


def _table(columns: dict[str, NDArray[np.float64]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([f"{value:.6f}" for value in row] for row in zip(*columns.values(), strict=True))
    return text.getvalue()


def _frames(molecule: Molecule, scan: Scan) -> str:
    from ase.data import chemical_symbols

    lines = []
    for angle, work, positions in zip(scan.angles, scan.work, scan.positions, strict=True):
        lines += [str(molecule.n_atoms), f"dihedral={angle:.3f} minus_work_kJ_mol={work:.6f}"]
        lines += [
            f"{chemical_symbols[z]} {r[0]:.8f} {r[1]:.8f} {r[2]:.8f}"
            for z, r in zip(molecule.atomic_numbers, positions, strict=True)
        ]
    return "\n".join(lines) + "\n"


def _drawn(columns: dict[str, NDArray[np.float64]]) -> bytes:
    # the analysis stands above the simulation: a plain figure of matplotlib's
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, values in columns.items():
        if name.endswith("_kJ_mol"):
            axes.plot(columns["dihedral_deg"], values, label=name.removesuffix("_kJ_mol").replace("_", " "))
    axes.set(xlabel="dihedral / °", ylabel="energy / kJ/mol")
    axes.legend(frameon=False)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=130)
    return png.getvalue()
