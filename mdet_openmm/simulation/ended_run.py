"""Reading what run_nvt.py and run_nve.py wrote."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.dcd import HEADER_BYTES, read_dcd
from mdet_openmm.molecules.trajectories import elements_of, one_line
from mdet_openmm.simulation.log_file import TEMPERATURE, TIME, Log, read_table
from mdet_openmm.simulation.run_folder import LOG, SUMMARY, TOPOLOGY, TRAJECTORY
from mdet_openmm.units import ANGSTROM_PER_NM

if TYPE_CHECKING:
    import mdtraj

FILES = (SUMMARY, LOG, TOPOLOGY, TRAJECTORY)
POSITIVE = ("temperature_K", "report_interval_fs")


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes
    ----------
    folder
        Where it was read from.
    topology
        mdtraj's.
    positions
        (f, n, 3) float64 in Å, as they are stored; finite.
    atomic_numbers
        (n,) int64.
    times
        (f,) of the frames in ps.
    interval_fs
        Time between frames.
    log
        Columns of log.csv by their header names, each (rows,) float64.
    summary
        summary.json as it stands.
    notes
        What the reader of the report should know about the input.
    """

    folder: Path
    topology: "mdtraj.Topology"
    positions: NDArray[np.float64]
    atomic_numbers: NDArray[np.int64]
    times: NDArray[np.float64]
    interval_fs: float
    log: Log
    summary: dict[str, Any]
    notes: tuple[str, ...]

    @cached_property
    def trajectory(self) -> "mdtraj.Trajectory":
        """mdtraj's, in nm and single precision."""
        import mdtraj

        return mdtraj.Trajectory(self.positions / ANGSTROM_PER_NM, self.topology)

    @property
    def spectral_temperature(self) -> float:
        """What turns kinetic energies into modes, in K: NVE goes on at whatever temperature its start had."""
        own = self.summary.get("temperature_mean_K") if self.summary.get("ensemble") == "nve" else None
        return float(own or self.summary["temperature_K"])


def read_run(folder: Path) -> Run:
    """Read an output folder of run_nvt.py or run_nve.py.

    Parameters
    ----------
    folder
        Holds trajectory.dcd, topology.pdb, log.csv and summary.json.

    Raises
    ------
    InputError
        If the folder or one of its files is missing, damaged, empty, or does not fit the others.
    """
    folder = Path(folder)
    if not folder.exists():
        raise InputError(f"{folder} does not exist; give the output folder of run_nvt.py")
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; give the output folder of run_nvt.py")
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing == [SUMMARY]:
        raise InputError(f"{folder} has no {SUMMARY}: the run has not ended; let it end, or go on with --restart")
    if missing:
        raise InputError(f"{folder} is not a run folder: {', '.join(missing)} missing; give the output of run_nvt.py")
    summary = read_summary(folder, "temperature_K", "report_interval_fs", "atomic_numbers")
    numbers = np.asarray(summary["atomic_numbers"], dtype=np.int64)
    log = read_table(folder / LOG, TEMPERATURE)
    positions = read_dcd(folder / TRAJECTORY)
    topology = _read_topology(folder / TOPOLOGY, positions.shape[1], numbers)
    interval = float(summary["report_interval_fs"])
    times = interval * 1e-3 * np.arange(1, len(positions) + 1, dtype=np.float64)
    notes = []
    rows = len(log[TEMPERATURE])
    if TIME in log and rows == len(times) and np.allclose(log[TIME], times, rtol=1e-6, atol=1e-9):
        times = log[TIME]
    else:
        unlike = f"{rows} rows" if rows != len(times) else "rows of other times"
        notes.append(f"{LOG} has {unlike} for {len(times)} frames; frame times are counted instead.")
    finite = np.isfinite(positions).all(axis=(1, 2))
    if not finite.all():
        keep = int(np.argmin(finite))
        if keep == 0:
            raise InputError(f"{folder / TRAJECTORY}: the first frame is not finite; nothing to analyse")
        notes.append(f"Frame {keep} is the first with positions that are not finite; only the frames before are used.")
        positions, times = positions[:keep], times[:keep]
    return Run(folder, topology, positions, numbers, times, interval, log, summary, tuple(notes))


def read_summary(folder: Path, *needed: str) -> dict[str, Any]:
    """Read summary.json.

    Parameters
    ----------
    folder
        Of the run.
    needed
        Entries that must be there.

    Raises
    ------
    InputError
        If it cannot be read, lacks an entry, or has one that makes no sense.
    """
    path = folder / SUMMARY
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not readable JSON: {one_line(error)}") from None
    if not isinstance(summary, dict):
        raise InputError(f"{path} does not hold the summary of a run")
    for key in needed:
        if key not in summary:
            raise InputError(f"{path} has no '{key}'; was it written by run_nvt.py?")
    for key in (key for key in POSITIVE if key in needed):
        value = summary[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise InputError(f"{path}: {key} must be a positive number, not {value!r}")
    numbers = summary.get("atomic_numbers", [1])
    if not isinstance(numbers, list) or not numbers or not all(isinstance(z, int) and 0 < z < 119 for z in numbers):
        raise InputError(f"{path}: atomic_numbers must be a list of atomic numbers")
    return summary


def read_positions(folder: Path, n_atoms: int) -> NDArray[np.float64]:
    """All frames of a run, (f, n, 3) in Å; none if it ended before the first.

    Raises
    ------
    InputError
        If the trajectory is damaged or has other atoms.
    """
    path = folder / TRAJECTORY
    if not path.is_file() or path.stat().st_size <= HEADER_BYTES:
        return np.zeros((0, n_atoms, 3))
    positions = read_dcd(path)
    if positions.shape[1] != n_atoms:
        raise InputError(f"{path} has {positions.shape[1]} atoms, its run {n_atoms}; they are not of one run")
    return positions


def _read_topology(path: Path, n_atoms: int, numbers: NDArray[np.int64]) -> "mdtraj.Topology":
    import mdtraj

    try:
        topology = mdtraj.load_topology(str(path))
    except Exception as error:  # mdtraj raises whatever its readers and the file's contents lead to
        raise InputError(f"cannot read {path}: {one_line(error)}") from None
    if not n_atoms == topology.n_atoms == len(numbers):
        raise InputError(
            f"{path} has {topology.n_atoms} atoms, {TRAJECTORY} {n_atoms} and {SUMMARY} {len(numbers)}; "
            "they are not of one run"
        )
    if not np.array_equal(elements_of(topology), numbers):
        raise InputError(f"{path} and {SUMMARY} disagree on the elements; they are not of one run")
    return topology
