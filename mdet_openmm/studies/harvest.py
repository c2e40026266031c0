"""Which frames of a run are worth learning from: those before it failed, those flagged, a few healthy ones."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.files import write_file
from mdet_openmm.molecules.readers import read_structure
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.ended_run import read_positions, read_summary
from mdet_openmm.simulation.equivariance import ERROR
from mdet_openmm.simulation.log_file import TIME, read_table

BEFORE, WAY, LAST, FLAGGED, HEALTHY = "before the failure", "on the way", "last good", "equivariance", "healthy"
FAILURES = ("broken_bond", "runaway_temperature", "nan", "equivariance")
"""Exit reasons of runs that went wrong."""
PDB_DIGITS = 2e-3
"""Å; positions of a PDB that are closer than this to a frame are that frame."""


@dataclass(frozen=True)
class Frames:
    """Frames taken from one run.

    Attributes
    ----------
    positions
        (f, n, 3) in Å.
    times
        (f,) in ps after the equilibration.
    reasons
        Why each was taken.
    """

    positions: NDArray[np.float64]
    times: NDArray[np.float64]
    reasons: tuple[str, ...]


def flagged_times(folder: Path, limit: float | None) -> NDArray[np.float64]:
    """Times in ps at which the equivariance error of a run was above the limit in kcal/mol/Å."""
    if limit is None:
        return np.zeros(0)
    table = read_table(folder / run_folder.EQUIVARIANCE)
    if ERROR not in table:
        return np.zeros(0)
    times: NDArray[np.float64] = table[TIME][table[ERROR] > limit]
    return times


def take_frames(
    folder: Path, *, window: float, way_frames: int, healthy_frames: int, equivariance_limit: float | None = None
) -> Frames:
    """The frames of a run that has ended.

    Parameters
    ----------
    folder
        Its run folder.
    window
        fs; of this long before a failure every frame is taken, and of this long around each flagged measurement.
    way_frames
        Frames from the start to that window, evenly spread; the most flagged ones too.
    healthy_frames
        Frames of a run in which nothing went wrong.
    equivariance_limit
        kcal/mol/Å.

    Raises
    ------
    InputError
        If the summary or the trajectory is damaged.
    """
    summary = read_summary(folder, "exit_reason", "time_ps", "report_interval_fs", "atomic_numbers")
    positions = read_positions(folder, len(summary["atomic_numbers"]))
    times = 1e-3 * summary["report_interval_fs"] * np.arange(1, len(positions) + 1)
    failed = summary["exit_reason"] in FAILURES
    chosen = choose(
        times,
        failed_at=summary["time_ps"] if failed else None,
        flagged=flagged_times(folder, equivariance_limit),
        window=1e-3 * window,
        way_frames=way_frames,
        healthy_frames=healthy_frames,
    )
    found = positions[list(chosen)], times[list(chosen)], tuple(chosen.values())
    last = folder / run_folder.LAST_GOOD
    if failed and last.is_file():
        good = read_structure(last).positions
        shapes = [p - p.mean(axis=0) for p in (good, *positions[-1:])]
        if len(shapes) == 1 or np.abs(shapes[1] - shapes[0]).max() > PDB_DIGITS:
            end = np.append(found[1], summary["time_ps"])
            return Frames(np.concatenate([found[0], good[None]]), end, (*found[2], LAST))
    return Frames(*found)


def choose(
    times: NDArray[np.float64],
    *,
    failed_at: float | None,
    flagged: NDArray[np.float64],
    window: float,
    way_frames: int,
    healthy_frames: int,
) -> dict[int, str]:
    """Indices of the frames to take, ascending, and why; times and window in ps, the rest as `take_frames` has it."""
    reasons: dict[int, str] = {}
    near = np.zeros(len(times), dtype=bool)
    if failed_at is not None:
        near = times > failed_at - window
        reasons.update(dict.fromkeys(_spread(np.flatnonzero(~near), way_frames), WAY))
    around = np.abs(times[:, None] - flagged[None, :]).min(axis=1, initial=np.inf) <= 0.5 * window
    reasons.update(dict.fromkeys(_spread(np.flatnonzero(around & ~near), way_frames), FLAGGED))
    reasons.update(dict.fromkeys(np.flatnonzero(near).tolist(), BEFORE))
    if failed_at is None and not len(flagged):
        reasons.update(dict.fromkeys(_spread(np.arange(len(times)), healthy_frames), HEALTHY))
    return dict(sorted(reasons.items()))


def _spread(indices: NDArray[np.int64], count: int) -> list[int]:
    """At most so many of the indices, in the middle of as many equal parts."""
    if len(indices) <= count:
        return [int(i) for i in indices]
    return [int(indices[int((k + 0.5) * len(indices) / count)]) for k in range(count)]


def write_frames(path: Path, atomic_numbers: NDArray[np.int64], taken: dict[str, Frames]) -> None:
    """Write the frames of several runs of one molecule as extended XYZ, which ``mdet label`` reads, in one go.

    Parameters
    ----------
    path
        File to write; in each comment line stand the run, the time and why the frame was taken.
    atomic_numbers
        (n,).
    taken
        Name of a run to its frames.
    """
    import io

    from ase import Atoms
    from ase.io import write

    images = [
        Atoms(atomic_numbers, positions, info={"run": run, "time_ps": round(float(time), 6), "reason": reason})
        for run, frames in taken.items()
        for positions, time, reason in zip(frames.positions, frames.times, frames.reasons, strict=True)
    ]
    text = io.StringIO()
    write(text, images, format="extxyz")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, text.getvalue())
