"""Observables of model dynamics against the teacher's: ``python benchmarks/observables.py`` (docs/observables.md).

ethanol: vibrational density of states and infrared spectrum; butane: torsion scan and the dihedral's distribution at
500 K; drift: the same in NVE runs that drift at different rates. Everything lies in ``runs/observables`` and
nothing that is there is computed again; results go to ``benchmarks/results/observables.json``, figures to ``docs``.
"""

import argparse
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from ase.data import atomic_masses
from numpy.typing import NDArray
from observables_drift import measure_drift, run_conditions, shape_error, windows_of
from observables_figures import butane_figure, drift_figure, ethanol_figure
from observables_runs import model_run, teacher_run, write_start
from observables_scan import Scan, central_torsion, dihedral, relaxed_scan, rigid_scan, turned

from mdet_openmm.analysis.style import drawing
from mdet_openmm.export.dipoles import dipoles
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.measure.infrared import infrared_spectrum
from mdet_openmm.measure.pair_distances import density_error, pair_density
from mdet_openmm.measure.vibrations import superpose, vibrational_spectrum
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.molecules.smiles import molecule_from_smiles
from mdet_openmm.units import BOLTZMANN_EV_PER_K, DEBYE_PER_E_ANGSTROM, KCAL_PER_MOL_PER_EV

ROOT = Path("runs/observables")
MODEL = ROOT / "mdet-gfn2-mini-dipole"
RESULTS = Path("benchmarks/results/observables.json")
ETHANOL = Path("simulations/systems/ethanol.pdb")
DOCS = Path("docs")
GRID = np.arange(0.0, 4100.0, 5.0)


def record(part: str, found: dict[str, Any]) -> None:
    """Put one part's numbers into the results and print them."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**results, part: found}, indent=1) + "\n")
    print(json.dumps({part: found}, indent=1))


def shape_of(spectrum: Any, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A spectrum on a common grid, its sum 1."""
    shape: NDArray[np.float64] = np.interp(GRID, spectrum.wavenumber, values)
    return shape / shape.sum()


def ethanol(options: argparse.Namespace) -> None:
    """Density of states and infrared spectrum of ethanol at 300 K."""
    molecule = read_molecule(ETHANOL)
    masses = atomic_masses[molecule.atomic_numbers]
    common = {"temperature": 300.0, "timestep": 0.5, "interval_fs": 4.0}
    teacher = teacher_run(ROOT / "ethanol-teacher", molecule, time_ps=options.teacher_ps, seed=7, **common)
    own = model_run(ROOT / "ethanol-model", ETHANOL, MODEL, time_ps=options.model_ps, seed=11, **common)
    model = load_model(MODEL)

    def by_model(positions: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        _, superposed = superpose(positions, masses)
        return superposed, dipoles(model, molecule.atomic_numbers, superposed, charge=0, multiplicity=1)

    vibrations = [vibrational_spectrum(x, masses, 4.0, 300.0) for x in (teacher.positions, own)]
    infrared = [
        infrared_spectrum(teacher.positions, teacher.dipoles, masses, 4.0),
        infrared_spectrum(*by_model(teacher.positions), masses, 4.0),
        infrared_spectrum(*by_model(own), masses, 4.0),
    ]
    # what one finds between two halves of the teacher's own run: the noise of these numbers
    half = len(teacher.positions) // 2
    halves = [slice(0, half), slice(half, 2 * half)]
    noise_v = [vibrational_spectrum(teacher.positions[h], masses, 4.0, 300.0) for h in halves]
    noise_i = [infrared_spectrum(teacher.positions[h], teacher.dipoles[h], masses, 4.0) for h in halves]
    few = slice(None, None, 10)
    straight = dipoles(model, molecule.atomic_numbers, teacher.positions[few], charge=0, multiplicity=1)
    v = [shape_of(s, s.density) for s in (*vibrations, *noise_v)]
    i = [shape_of(s, s.intensity) for s in (*infrared, *noise_i)]
    found = {
        "teacher_ps": 4e-3 * len(teacher.positions),
        "model_ps": 4e-3 * len(own),
        "modes": [s.modes for s in vibrations],
        "vdos_error": shape_error(v[0], v[1]),
        "vdos_error_between_halves_of_the_teacher": shape_error(v[2], v[3]),
        "ir_error_model_dipoles_on_teacher_dynamics": shape_error(i[0], i[1]),
        "ir_error_model_dynamics": shape_error(i[0], i[2]),
        "ir_error_between_halves_of_the_teacher": shape_error(i[3], i[4]),
        "h_r_error": density_error(pair_density(own), pair_density(teacher.positions)),
        "h_r_error_between_halves_of_the_teacher": density_error(*(pair_density(teacher.positions[h]) for h in halves)),
        "dipole_mae_D": DEBYE_PER_E_ANGSTROM * float(np.abs(straight - teacher.dipoles[few]).mean()),
        "dipole_rms_D": DEBYE_PER_E_ANGSTROM * float((teacher.dipoles**2).mean() ** 0.5),
        "peaks_teacher": vibrations[0].peaks,
        "peaks_model": vibrations[1].peaks,
        "infrared_peaks": [s.peaks for s in infrared],
        "resolution_per_cm": vibrations[0].resolution,
    }
    with drawing():
        figure = ethanol_figure((vibrations[0], vibrations[1]), (infrared[0], infrared[1], infrared[2]))
        figure.savefig(DOCS / "observables-ethanol.png", dpi=130)
    record("ethanol", found)


def butane(options: argparse.Namespace) -> None:
    """Torsion scans of butane, and the distribution of its dihedral at 500 K."""
    molecule = molecule_from_smiles("CCCC", name="butane", seed=1)
    four, side = central_torsion(molecule)
    scans = {"rigid": rigid_scan(molecule, MODEL, 12), "relaxed": relaxed_scan(molecule, MODEL, 12)}
    angle = float(dihedral(molecule.positions, four))
    common = {"temperature": 500.0, "timestep": 1.0, "interval_fs": 10.0}
    edges = np.linspace(0.0, 180.0, 19)
    fractions: dict[str, list[NDArray[np.float64]]] = {"teacher": [], "model": []}
    trans: dict[str, list[float]] = {"teacher": [], "model": []}
    crossings = {"teacher": 0, "model": 0}
    for replica in range(max(options.teacher_runs, options.model_runs)):
        at = (180.0, 65.0, -65.0)[replica % 3]  # starts in turn in every well
        x = _at_dihedral(molecule, four, side, at - angle)
        start = write_start(ROOT / "butane" / f"start-{replica}.xyz", x)
        runs = {}
        if replica < options.teacher_runs:
            runs["teacher"] = teacher_run(
                ROOT / "butane" / f"teacher-{replica}", x, time_ps=options.butane_teacher_ps, seed=replica, **common
            ).positions
        if replica < options.model_runs:
            runs["model"] = model_run(
                ROOT / "butane" / f"model-{replica}", start, MODEL, time_ps=options.butane_ps, seed=replica, **common
            )
        for kind, positions in runs.items():
            seen = dihedral(positions, four)
            fractions[kind].append(np.histogram(np.abs(seen), edges)[0] / len(seen))
            trans[kind].append(float((np.abs(seen) > 120).mean()))
            crossings[kind] += _crossings(seen)
    found: dict[str, Any] = {
        name: {
            "highest_teacher": float(scan.teacher.max()),
            "highest_by_teacher_work": float(scan.teacher_work.max()),
            "highest_by_model_work": float(scan.model_work.max()),
            "largest_difference": float(np.abs(scan.model_work - scan.teacher).max()),
            "end_teacher": float(scan.teacher[-1]),
            "end_by_teacher_work": float(scan.teacher_work[-1]),
            "end_by_model_work": float(scan.model_work[-1]),
            **{f"at_{a}": _at(scan, a) for a in (120, 65, 0)},
        }
        for name, scan in scans.items()
    }
    for kind in ("teacher", "model"):
        spread = float(np.std(trans[kind], ddof=1)) / len(trans[kind]) ** 0.5
        found[kind] = {
            "runs": len(trans[kind]),
            "anti_fraction": float(np.mean(trans[kind])),
            "anti_fraction_error": spread,
            "crossings": crossings[kind],
        }
    # what the relaxed profile says about the wells alone, for comparison: anti against gauche by E at 65° and 500 K
    scan = scans["relaxed"]
    for name, curve in (("teacher", scan.teacher), ("model", scan.model_work)):
        weight = np.exp(-curve / (KCAL_PER_MOL_PER_EV * BOLTZMANN_EV_PER_K * 500.0))
        found[name]["anti_fraction_by_profile"] = float(weight[scan.angles > 120].sum() / weight.sum())
    with drawing():
        figure = butane_figure(
            scans["rigid"], scans["relaxed"], edges, np.array(fractions["teacher"]), np.array(fractions["model"])
        )
        figure.savefig(DOCS / "observables-butane.png", dpi=130)
    record("butane", found)


def _at_dihedral(molecule: Molecule, four: list[int], side: list[int], degrees: float) -> Molecule:
    return dataclasses.replace(molecule, positions=turned(molecule.positions, four, side, degrees))


def _at(scan: Scan, angle: float) -> list[float]:
    """Teacher's energy and model's work at a dihedral, the first time the path comes there."""
    where = int(np.argmin(np.abs(np.abs((scan.angles + 180.0) % 360.0 - 180.0) - angle)))
    return [float(scan.teacher[where]), float(scan.model_work[where])]


def _crossings(angles: NDArray[np.float64]) -> int:
    """How often the dihedral comes from the middle of one well to the middle of another."""
    wells = np.where(np.abs(angles) > 150, 1, np.where(np.abs(np.abs(angles) - 65) < 30, 2 * np.sign(angles), 0))
    visited = wells[wells != 0]
    return int((np.diff(visited) != 0).sum())


def drift(options: argparse.Namespace) -> None:
    """Errors of observables in NVE runs of ethanol against how far their energy has drifted."""
    masses = atomic_masses[read_molecule(ETHANOL).atomic_numbers]
    common = {"temperature": 300.0, "timestep": 0.5, "interval_fs": 4.0}
    teacher = teacher_run(
        ROOT / "ethanol-teacher", read_molecule(ETHANOL), time_ps=options.teacher_ps, seed=7, **common
    )
    run_conditions(ROOT / "nve", ETHANOL, options.nve_ps, options.most_frames)
    folders = sorted((ROOT / "nve").glob("*")) + sorted(Path("runs/pairs/nve").glob("*"))
    runs = measure_drift(folders, masses, teacher.positions, 4.0)
    # of the teacher's windows against all of its run, of which they are a part: a little less than that of others
    own = windows_of(teacher.positions, masses, 4.0, teacher.positions)
    floor = {key: float(np.mean([w[key] for w in own])) for key in ("vdos", "h_r")}
    with drawing():
        drift_figure(runs, floor).savefig(DOCS / "observables-drift.png", dpi=130)
    record("drift", {"floor": floor, "runs": runs})


PARTS = {"ethanol": ethanol, "butane": butane, "drift": drift}


def main() -> None:
    """Parse the flags and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} [all]")
    parser.add_argument("--teacher-ps", type=float, default=60.0, help="of ethanol on GFN2-xTB")
    parser.add_argument("--model-ps", type=float, default=30.0, help="of ethanol on the model")
    parser.add_argument("--teacher-runs", type=int, default=6, help="runs of butane on GFN2-xTB")
    parser.add_argument("--butane-teacher-ps", type=float, default=10.0, help="of each")
    parser.add_argument("--model-runs", type=int, default=6, help="runs of butane on the model")
    parser.add_argument("--butane-ps", type=float, default=10.0, help="of each")
    parser.add_argument("--nve-ps", type=float, default=10.0, help="of each NVE run")
    parser.add_argument("--most-frames", type=int, default=12, help="NVE runs with more frames are left out")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown parts {', '.join(sorted(unknown))}; known are {', '.join(PARTS)}")
    torch.set_num_threads(1)
    for part in options.parts or PARTS:
        PARTS[part](options)


if __name__ == "__main__":
    main()
