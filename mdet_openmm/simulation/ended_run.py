"""Reading what run_nvt.py and run_nve.py wrote."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.trajectories import elements_of, one_line, read_dcd
from mdet_openmm.units import ANGSTROM_PER_NM

if TYPE_CHECKING:
    import mdtraj

FILES = ("summary.json", "log.csv", "topology.pdb", "trajectory.dcd")
SUMMARY_KEYS = ("temperature_K", "report_interval_fs", "atomic_numbers")


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes
    ----------
    folder
        Where it was read from.
    trajectory
        mdtraj's, in nm, with finite positions only.
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
    velocities
        (f, n, 3) in nm/ps from velocities.npz, or None.
    notes
        What the reader of the report should know about the input.
    """

    folder: Path
    trajectory: "mdtraj.Trajectory"
    atomic_numbers: NDArray[np.int64]
    times: NDArray[np.float64]
    interval_fs: float
    log: dict[str, NDArray[np.float64]]
    summary: dict[str, Any]
    velocities: NDArray[np.float64] | None
    notes: tuple[str, ...]

    @property
    def positions(self) -> NDArray[np.float64]:
        """(f, n, 3) in Å."""
        return self.trajectory.xyz.astype(np.float64) * ANGSTROM_PER_NM

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
        Holds trajectory.dcd, topology.pdb, log.csv and summary.json, and perhaps velocities.npz (array
        ``velocities`` (frames, atoms, 3) in nm/ps, at the times of the frames).

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
    if missing == ["summary.json"]:
        raise InputError(f"{folder} has no summary.json: the run has not ended; let it end, or go on with --restart")
    if missing:
        raise InputError(f"{folder} is not a run folder: {', '.join(missing)} missing; give the output of run_nvt.py")
    summary = _read_summary(folder / "summary.json")
    numbers = np.asarray(summary["atomic_numbers"], dtype=np.int64)
    log = _read_log(folder / "log.csv")
    trajectory = _load_dcd(folder / "trajectory.dcd", folder / "topology.pdb")
    _check_atoms(trajectory, numbers, folder / "topology.pdb")
    velocities = _read_velocities(folder / "velocities.npz", trajectory.xyz.shape)

    notes = []
    interval = float(summary["report_interval_fs"])
    n = trajectory.n_frames
    time = log.get("time_ps")
    if time is not None and len(time) == n:
        times = time
    else:
        times = interval * 1e-3 * np.arange(1, n + 1)
        notes.append(
            f"log.csv has {len(next(iter(log.values())))} rows for {n} frames; frame times are counted instead."
        )
    finite = np.isfinite(trajectory.xyz).all(axis=(1, 2))
    if not finite.all():
        keep = int(np.argmin(finite))
        if keep == 0:
            raise InputError(f"{folder / 'trajectory.dcd'}: the first frame is not finite; nothing to analyse")
        notes.append(f"Frame {keep} is the first with positions that are not finite; only the frames before are used.")
        trajectory, times = trajectory[:keep], times[:keep]
        velocities = None if velocities is None else velocities[:keep]
    return Run(folder, trajectory, numbers, times, interval, log, summary, velocities, tuple(notes))


def _read_summary(path: Path) -> dict[str, Any]:
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not readable JSON: {one_line(error)}") from None
    if not isinstance(summary, dict):
        raise InputError(f"{path} does not hold the summary of a run")
    for key in SUMMARY_KEYS:
        if key not in summary:
            raise InputError(f"{path} has no '{key}'; was it written by run_nvt.py?")
    for key in SUMMARY_KEYS[:2]:
        value = summary[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise InputError(f"{path}: {key} must be a positive number, not {value!r}")
    numbers = summary["atomic_numbers"]
    if not isinstance(numbers, list) or not numbers or not all(isinstance(z, int) and 0 < z < 119 for z in numbers):
        raise InputError(f"{path}: atomic_numbers must be a list of atomic numbers")
    return summary


def _read_log(path: Path) -> dict[str, NDArray[np.float64]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {one_line(error)}") from None
    if not rows or "temperature_K" not in rows[0]:
        raise InputError(f"{path} has no column temperature_K; was it written by run_nvt.py?")
    header = rows[0]
    table = np.empty((len(rows) - 1, len(header)))
    for i, row in enumerate(rows[1:]):
        try:
            table[i] = [float(cell) for cell in row]
        except ValueError:
            raise InputError(f"{path}: line {i + 2} is damaged: {','.join(row)[:80]!r}") from None
    return {name: table[:, column] for column, name in enumerate(header)}


def _load_dcd(path: Path, topology: Path) -> "mdtraj.Trajectory":
    import mdtraj

    positions = read_dcd(path)
    try:
        top = mdtraj.load_topology(str(topology))
    except Exception as error:  # mdtraj raises whatever its readers and the file's contents lead to
        raise InputError(f"cannot read {topology}: {one_line(error)}") from None
    if top.n_atoms != positions.shape[1]:
        raise InputError(
            f"{path} has {positions.shape[1]} atoms, {topology.name} has {top.n_atoms}; they are not of one run"
        )
    return mdtraj.Trajectory(positions / ANGSTROM_PER_NM, top)


def _check_atoms(trajectory: "mdtraj.Trajectory", numbers: NDArray[np.int64], topology: Path) -> None:
    if trajectory.n_atoms != len(numbers):
        raise InputError(
            f"{topology} has {trajectory.n_atoms} atoms, summary.json has {len(numbers)}; they are not of one run"
        )
    if not np.array_equal(elements_of(trajectory.topology), numbers):
        raise InputError(f"{topology} and summary.json disagree on the elements; they are not of one run")


def _read_velocities(path: Path, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    if not path.exists():
        return None
    try:
        with np.load(path) as file:
            velocities = np.asarray(file["velocities"], dtype=np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: no array 'velocities' can be read: {one_line(error)}") from None
    if velocities.shape != shape:
        raise InputError(f"{path}: velocities have shape {velocities.shape}, the trajectory has {shape}")
    if not np.isfinite(velocities).all():
        raise InputError(f"{path}: velocities are not all finite")
    return velocities
