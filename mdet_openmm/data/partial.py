"""The folder that keeps the finished tasks of a run until its data set is complete."""

import dataclasses
import json
import os
import zipfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from mdet_openmm.data.layout import FrameBlock, MoleculeRow, write_dataset
from mdet_openmm.errors import InputError


def block_path(folder: Path, index: int) -> Path:
    """Where the frames of a task are kept."""
    return folder / f"task-{index:07d}.npz"


def save_block(path: Path, block: FrameBlock) -> None:
    """Keep the frames of a task; a file of this name is always complete, whenever the process is killed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "wb") as file:
        np.savez(file, **dataclasses.asdict(block))
    os.replace(temporary, path)


def load_block(path: Path) -> FrameBlock:
    """The frames of a task that was kept."""
    with np.load(path) as stored:
        values: dict[str, Any] = {name: stored[name] for name in stored.files}
    for name in ("molecule", "task", "split"):
        values[name] = int(values[name])
    values["message"] = str(values["message"])
    return FrameBlock(**values)


def is_done(path: Path) -> bool:
    """Whether a task was kept; a file that a power cut left damaged does not count."""
    return path.is_file() and zipfile.is_zipfile(path)


def save_molecules(folder: Path, molecules: list[MoleculeRow]) -> None:
    """Keep the molecule table of a run beside its tasks."""
    temporary = folder / f".molecules.{os.getpid()}"
    temporary.write_text(json.dumps([dataclasses.asdict(row) for row in molecules]), encoding="utf-8")
    os.replace(temporary, folder / "molecules.json")


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
        provenance = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        rows = json.loads((folder / "molecules.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{folder} holds no run of mdet label; name the folder <output>.partial of one") from None
    paths = [path for path in sorted(folder.glob("task-*.npz")) if is_done(path)]
    if not paths:
        raise InputError(f"{folder}: no task is done yet; wait a little")
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        summary = write_dataset(
            temporary,
            [MoleculeRow(**row) for row in rows],
            (load_block(path) for path in paths),
            {**provenance, "tasks_done": len(paths)},
            compact=provenance["config"]["compact"],
        )
        os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)
    return {"output": str(output), "tasks": len(paths), **summary}


class PartialRun:
    """The folder of an interrupted or running run, held by one process at a time.

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

    def __init__(self, folder: Path, provenance: dict[str, Any]) -> None:
        self.folder = folder
        stamp = folder / "run.json"
        text = json.dumps(provenance, sort_keys=True, indent=1)
        if not folder.exists():
            # Complete before it has its name: a folder without its stamp could never be gone on with.
            fresh = folder.with_name(f".{folder.name}.{os.getpid()}")
            fresh.mkdir()
            (fresh / stamp.name).write_text(text, encoding="utf-8")
            os.replace(fresh, folder)
        elif not stamp.is_file() or stamp.read_text(encoding="utf-8") != text:
            raise InputError(
                f"label: {folder} comes from another configuration, input or teacher version; remove it to start anew"
            )
        self._lock = _locked(stamp)

    def __enter__(self) -> "PartialRun":
        """For use in a with statement."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let another process have the folder."""
        self._lock.close()


def _locked(stamp: Path) -> IO[str]:
    """Lock the run; the lock goes with the process, however it ends."""
    import fcntl

    file = open(stamp, encoding="utf-8")  # noqa: SIM115 (open as long as the run)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise InputError(f"label: another process is at work in {stamp.parent}; wait for it or stop it") from None
    return file
