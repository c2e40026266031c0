"""The folder that keeps the finished tasks of a run until its data set is complete."""

import contextlib
import dataclasses
import errno
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mdet_openmm.data.config import same_inputs
from mdet_openmm.data.layout import FrameBlock, MoleculeRow, hdf5, write_dataset
from mdet_openmm.errors import InputError
from mdet_openmm.files import locked, unfinished, write_file

STAMP = "run.json"


def block_path(folder: Path, index: int) -> Path:
    """Where the frames of a task are kept."""
    return folder / f"task-{index:07d}.npz"


def save_block(path: Path, block: FrameBlock) -> None:
    """Keep the frames of a task; a file of this name is always complete, whenever the process is killed."""
    content = io.BytesIO()
    np.savez(content, **dataclasses.asdict(block))
    write_file(path, content.getvalue())


def load_block(path: Path) -> FrameBlock:
    """The frames of a task that was kept."""
    with np.load(path) as stored:
        values: dict[str, Any] = {name: stored[name] for name in stored.files}
    for name in ("molecule", "task", "split"):
        values[name] = int(values[name])
    values["message"] = str(values["message"])
    return FrameBlock(**values)


def whole_block(path: Path) -> FrameBlock | None:
    """The frames of a task that was kept, or None; a file that a power cut left damaged does not count as kept.

    Its checksums tell.
    """
    if not path.is_file():
        return None
    try:
        return load_block(path)
    except Exception:  # whatever a damaged file raises
        return None


def save_molecules(folder: Path, molecules: list[MoleculeRow]) -> None:
    """Keep the molecule table of a run beside its tasks."""
    write_file(folder / "molecules.json", json.dumps([dataclasses.asdict(row) for row in molecules]))


def collect(folder: Path, output: Path) -> dict[str, Any]:
    """Write a data set of the tasks that a running or interrupted run has done so far.

    Parameters
    ----------
    folder
        ``<output>.partial`` of the run, which is read only.
    output
        HDF5 file to make. Its attribute ``tasks_done`` says how many tasks it holds.

    Returns
    -------
    dict
        output, tasks, frames, splits, skipped, first_failure.

    Raises
    ------
    InputError
        If there is no such run, nothing is done yet, or the output exists.
    """
    if output.exists():
        raise InputError(f"{output} exists; remove it or choose another output")
    try:
        provenance = json.loads((folder / STAMP).read_text(encoding="utf-8"))
        rows = [MoleculeRow(**row) for row in json.loads((folder / "molecules.json").read_text(encoding="utf-8"))]
        compact = bool(provenance["config"]["compact"])
        if None in provenance.values() or not all(name.isidentifier() for name in provenance):
            raise ValueError("it is damaged")
    except (OSError, ValueError, TypeError, KeyError):
        raise InputError(f"{folder} holds no run of mdet label; name the folder <output>.partial of one") from None
    done = 0

    def blocks() -> Iterator[FrameBlock]:
        nonlocal done
        for path in sorted(folder.glob("task-*.npz")):
            block = whole_block(path)
            if block is not None:
                done += 1
                yield block

    with unfinished(output) as made:
        summary = write_dataset(made, rows, blocks(), provenance, compact=compact)
        if not done:
            raise InputError(f"{folder}: no task is done yet; wait a little")
        with hdf5().File(made, "r+") as file:
            file.attrs["tasks_done"] = done
    return {"output": str(output), "tasks": done, **summary}


@contextlib.contextmanager
def partial_run(folder: Path, provenance: dict[str, Any]) -> Iterator[None]:
    """Work in the folder of an interrupted or running run, alone.

    Parameters
    ----------
    folder
        Made if it does not exist.
    provenance
        What the data set will be made from; an existing folder must have been made from the same.

    Raises
    ------
    InputError
        If the folder comes from something else, or another process is at work in it.
    """
    if not folder.exists():
        # Complete before it has its name: a folder without its stamp could never be gone on with.
        try:
            with unfinished(folder) as fresh:
                fresh.mkdir()
                (fresh / STAMP).write_text(json.dumps(provenance, sort_keys=True, indent=1), encoding="utf-8")
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:  # another process was first
                raise
    stamp = folder / STAMP
    try:
        same = stamp.is_file() and same_inputs(json.loads(stamp.read_text(encoding="utf-8")), provenance)
    except (ValueError, TypeError, KeyError):  # it is damaged, or somebody else's
        same = False
    if not same:
        raise InputError(
            f"label: {folder} comes from another configuration, input or teacher version; remove it to start anew"
        )
    with locked(folder):
        yield
