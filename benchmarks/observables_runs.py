"""The trajectories of benchmarks/observables.py: the teacher's, and the model's through the package's own commands."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.molecules.molecule import Molecule

NOTE = "written by benchmarks/observables.py; the log has no rows: velocities were not kept"


@dataclass(frozen=True)
class TeacherRun:
    """Langevin dynamics on GFN2-xTB: positions (f, n, 3) in Å, its own dipoles (f, 3) in e Å, every `interval_fs`."""

    positions: NDArray[np.float64]
    dipoles: NDArray[np.float64]
    interval_fs: float


def teacher_run(
    folder: Path,
    molecule: Molecule,
    *,
    time_ps: float,
    temperature: float,
    timestep: float,
    interval_fs: float,
    seed: int,
) -> TeacherRun:
    """Run, or read what an earlier call has run; the folder is one that `mdet analyze --reference` takes."""
    import mdtraj
    from ase.data import atomic_masses, chemical_symbols
    from tqdm import tqdm

    from mdet_openmm.data.config import TeacherConfig
    from mdet_openmm.data.dynamics import langevin
    from mdet_openmm.data.teacher import make_teacher

    stored = folder / "frames.npz"
    if not stored.exists():
        folder.mkdir(parents=True, exist_ok=True)
        frames = langevin(
            make_teacher(TeacherConfig(), molecule.atomic_numbers, molecule.charge, molecule.multiplicity),
            molecule.positions,
            atomic_masses[molecule.atomic_numbers],
            temperature=temperature,
            timestep=timestep,
            friction=1.0,
            equilibrate=round(1000.0 / timestep),
            interval=round(interval_fs / timestep),
            rng=np.random.default_rng(seed),
        )
        x, dipoles = [], []
        for _ in tqdm(range(round(1000 * time_ps / interval_fs)), desc=str(folder), mininterval=5):
            position, label = next(frames)
            x.append(position)
            dipoles.append(label.dipole)
        topology = mdtraj.Topology()
        residue = topology.add_residue("MOL", topology.add_chain())
        for i, z in enumerate(molecule.atomic_numbers):
            symbol = chemical_symbols[z]
            topology.add_atom(f"{symbol}{i + 1}", mdtraj.element.get_by_symbol(symbol), residue)
        trajectory = mdtraj.Trajectory(np.array(x, dtype=np.float32) / 10, topology)
        trajectory[:1].save_pdb(str(folder / "topology.pdb"))
        trajectory.save_dcd(str(folder / "trajectory.dcd"))
        with (folder / "log.csv").open("w", newline="") as file:
            csv.writer(file).writerow(["step", "time_ps", "temperature_K"])
        summary = {
            "ensemble": "nvt",
            "temperature_K": temperature,
            "timestep_fs": timestep,
            "report_interval_fs": interval_fs,
            "friction_per_ps": 1.0,
            "atomic_numbers": molecule.atomic_numbers.tolist(),
            "model": {"name": "GFN2-xTB"},
            "note": NOTE,
        }
        (folder / "summary.json").write_text(json.dumps(summary, indent=1))
        np.savez(stored, positions=np.array(x), dipoles=np.array(dipoles))  # last: it says that the others are there
    with np.load(stored) as file:
        return TeacherRun(file["positions"], file["dipoles"], interval_fs)


def model_run(
    folder: Path,
    start: Path,
    model: Path,
    *,
    time_ps: float,
    temperature: float,
    timestep: float,
    interval_fs: float,
    seed: int,
) -> NDArray[np.float64]:
    """NVT by run_nvt with the model, or what there is of it already; positions (f, n, 3) in Å."""
    from mdet_openmm.simulation.ended_run import read_run
    from mdet_openmm.simulation.nvt import run_nvt
    from mdet_openmm.simulation.settings import NvtSettings

    if not (folder / "summary.json").exists():
        run_nvt(
            NvtSettings(
                system=start,
                model=str(model),
                time=time_ps,
                temperature=temperature,
                timestep=timestep,
                report_interval=interval_fs,
                seed=seed,
                threads=1,
                precision="mixed",
                watch_equivariance=0,
                output=folder,
                restart=(folder / "checkpoint.chk").exists(),
                quiet=True,
            )
        )
    return read_run(folder).positions


def write_start(path: Path, molecule: Molecule) -> Path:
    """The start of a run as XYZ."""
    from ase import Atoms
    from ase.io import write

    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, Atoms(molecule.atomic_numbers, molecule.positions), format="xyz")
    return path
