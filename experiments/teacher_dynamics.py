"""A molecule's dynamics on the teacher itself, as a run folder that other runs are compared with.

``python experiments/teacher_dynamics.py simulations/systems/ethanol.pdb --time 60 --output runs/teacher-300K`` writes
runs/teacher-300K/ethanol: Langevin dynamics with a friction of 1/ps, after 1 ps that is not kept. `mdet analyze
--reference` and `simulations/benchmark_nvt.py` take it as a reference. Several molecules run side by side; one that is
there already is kept. The two halves of a run tell how much of an error is its length: their h(r) error is printed.
"""

import argparse
import functools
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.errors import InputError, exit_status
from mdet_openmm.measure.pair_distances import density_error, pair_density
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.side_by_side import run_side_by_side

NOTE = "written by experiments/teacher_dynamics.py; the log has no rows: velocities were not kept"
NAMES = {"gfn2": "GFN2-xTB", "so3lr": "SO3LR"}
FRAMES = "frames.npz"


@dataclass(frozen=True)
class Conditions:
    """How the dynamics is done: ps, K, fs, fs between frames, and the teacher's kind."""

    time: float
    temperature: float = 300.0
    timestep: float = 0.5
    interval: float = 4.0
    teacher: str = "gfn2"


@dataclass(frozen=True)
class TeacherRun:
    """Positions (f, n, 3) in Å, the teacher's dipoles (f, 3) in e Å, the time between frames, and the elements (n,)."""

    positions: NDArray[np.float64]
    dipoles: NDArray[np.float64]
    interval_fs: float
    atomic_numbers: NDArray[np.int64]


def read_teacher_run(folder: Path) -> TeacherRun:
    """What `teacher_run` has written.

    Raises
    ------
    InputError
        If the folder is none of its.
    """
    try:
        summary = json.loads((folder / "summary.json").read_text())
        with np.load(folder / FRAMES) as file:
            frames = (file["positions"], file["dipoles"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder} was not written by experiments/teacher_dynamics.py: {error}") from None
    return TeacherRun(*frames, summary["report_interval_fs"], np.array(summary["atomic_numbers"]))


def teacher_run(folder: Path, molecule: Molecule, how: Conditions, seed: int) -> TeacherRun:
    """Run, or read what an earlier call has run."""
    if (folder / FRAMES).exists():
        return read_teacher_run(folder)
    import mdtraj
    from ase.data import atomic_masses, chemical_symbols
    from tqdm import tqdm

    from mdet_openmm.data.config import TeacherConfig
    from mdet_openmm.data.dynamics import langevin
    from mdet_openmm.data.teacher import make_teacher

    teacher = TeacherConfig(kind=how.teacher)
    frames = langevin(
        make_teacher(teacher, molecule),
        molecule.positions,
        atomic_masses[molecule.atomic_numbers],
        temperature=how.temperature,
        timestep=how.timestep,
        friction=1.0,
        equilibrate=round(1000.0 / how.timestep),
        interval=round(how.interval / how.timestep),
        rng=np.random.default_rng(seed),
    )
    count = range(round(1000 * how.time / how.interval))
    found = [next(frames) for _ in tqdm(count, desc=str(folder), leave=False, disable=None)]
    x, dipoles = np.array([x for x, _ in found]), np.array([label.dipole for _, label in found])
    topology = mdtraj.Topology()
    residue = topology.add_residue("MOL", topology.add_chain())
    for i, z in enumerate(molecule.atomic_numbers):
        symbol = chemical_symbols[z]
        topology.add_atom(f"{symbol}{i + 1}", mdtraj.element.get_by_symbol(symbol), residue)
    trajectory = mdtraj.Trajectory(x.astype(np.float32) / 10, topology)
    folder.mkdir(parents=True, exist_ok=True)
    trajectory[:1].save_pdb(str(folder / "topology.pdb"))
    trajectory.save_dcd(str(folder / "trajectory.dcd"))
    (folder / "log.csv").write_text("step,time_ps,temperature_K\n")
    summary = {
        "ensemble": "nvt",
        "temperature_K": how.temperature,
        "timestep_fs": how.timestep,
        "report_interval_fs": how.interval,
        "friction_per_ps": 1.0,
        "atomic_numbers": molecule.atomic_numbers.tolist(),
        "model": {"name": NAMES[how.teacher]},
        "note": NOTE,
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=1))
    np.savez(folder / FRAMES, positions=x, dipoles=dipoles)  # last: it says that the others are there
    return TeacherRun(x, dipoles, how.interval, molecule.atomic_numbers)


def halves_error(positions: NDArray[np.float64]) -> float:
    """The h(r) error of the later half of the frames against the earlier."""
    half = len(positions) // 2
    return density_error(pair_density(positions[half:]), pair_density(positions[:half]))


def do(task: tuple[Path, int], how: Conditions, output: Path) -> float:
    """One molecule; the h(r) error between its halves."""
    system, seed = task
    return halves_error(teacher_run(output / system.stem, read_molecule(system), how, seed).positions)


def main() -> None:
    """Run what is missing, and print."""
    parser = argparse.ArgumentParser(description="dynamics on the teacher")
    parser.add_argument("systems", nargs="+", type=Path, help="PDB, mmCIF, XYZ or SDF")
    parser.add_argument("--output", type=Path, required=True, help="folder; each molecule gets one of its name there")
    parser.add_argument("--time", type=float, required=True, help="ps of each")
    parser.add_argument("--temperature", type=float, default=300.0, help="K")
    parser.add_argument("--timestep", type=float, default=0.5, help="fs")
    parser.add_argument("--interval", type=float, default=4.0, help="fs between frames")
    parser.add_argument("--teacher", choices=tuple(NAMES), default="gfn2")
    parser.add_argument("--seed", type=int, default=1, help="of the first; the next ones count on")
    parser.add_argument("--workers", type=int, help="runs side by side [cores]")
    options = parser.parse_args()
    how = Conditions(options.time, options.temperature, options.timestep, options.interval, options.teacher)
    tasks = [(system, options.seed + i) for i, system in enumerate(options.systems)]
    job = functools.partial(do, how=how, output=options.output)
    for (system, _), error in zip(tasks, run_side_by_side(job, tasks, workers=options.workers), strict=True):
        print(f"{options.output / system.stem}: h(r) error of its second half against its first {error:.4f}")


if __name__ == "__main__":
    sys.exit(exit_status(main))
