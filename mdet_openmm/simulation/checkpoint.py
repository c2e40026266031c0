"""The state of a run on disk, from which it goes on bit for bit."""

import hashlib
from pathlib import Path
from typing import Any

from mdet_openmm.errors import InputError
from mdet_openmm.files import write_file
from mdet_openmm.molecules.dcd import check_frames
from mdet_openmm.simulation import run_folder, verlet
from mdet_openmm.simulation.log_file import check_rows
from mdet_openmm.simulation.schedule import Schedule

DIGEST_BYTES = 32


def save_checkpoint(context: Any, folder: Path) -> None:
    """Write ``checkpoint.chk`` (bit-exact, same machine and versions) and ``state.xml`` (portable)."""
    import openmm

    state = context.getState(getPositions=True, getVelocities=True, getParameters=True)
    write_file(folder / run_folder.STATE, openmm.XmlSerializer.serialize(state))
    # OpenMM reads half a checkpoint without a word; a digest behind it (which OpenMM does not read) makes that visible.
    checkpoint = context.createCheckpoint() + verlet.saved_state(context)
    write_file(folder / run_folder.CHECKPOINT, checkpoint + hashlib.sha256(checkpoint).digest())


def load_checkpoint(context: Any, folder: Path) -> int:
    """Load ``checkpoint.chk``, and return its step.

    Raises
    ------
    InputError
        If it cannot be read, is damaged, or was written on another platform or by another version of OpenMM.
    """
    import openmm

    path = folder / run_folder.CHECKPOINT
    try:
        content = path.read_bytes()
        checkpoint, digest = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
        if hashlib.sha256(checkpoint).digest() != digest:
            raise InputError(f"{path} is damaged (cut off or changed); remove {folder} and start the run anew")
        ours = len(checkpoint) - verlet.saved_bytes(context)
        context.loadCheckpoint(checkpoint[:ours])
        verlet.restore_state(context, checkpoint[ours:])
    except (OSError, openmm.OpenMMException) as error:
        text = " ".join(str(error).split())
        raise InputError(f"cannot use {path} ({text}); go on with the platform and OpenMM that wrote it") from None
    return int(context.getStepCount())


def check_counted(folder: Path, schedule: Schedule, step: int, n_atoms: int) -> None:
    """Refuse to go on from a checkpoint that counts more frames or rows than a folder holds.

    Parameters
    ----------
    folder
        Of the run or of one of its replicas; nothing in it is touched.
    schedule
        When frames and rows are due.
    step
        Of the checkpoint.
    n_atoms
        Atoms of a frame.

    Raises
    ------
    InputError
        Naming the file.
    """
    counted, frames = step - schedule.equilibrate, schedule.frames(step)
    if frames:
        check_frames(folder / run_folder.TRAJECTORY, n_atoms, frames)
        check_rows(folder / run_folder.LOG, counted, frames)
        if schedule.equivariance:
            check_rows(folder / run_folder.EQUIVARIANCE, counted, counted // schedule.equivariance)
