"""Reading trajectory files so that damage is named and never guessed at."""

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.errors import InputError

if TYPE_CHECKING:
    import mdtraj


def read_dcd(path: Path) -> NDArray[np.float32]:
    """Read a DCD trajectory that is whole to the last byte.

    mdtraj's reader prints to standard output and reads on over missing frames; the layout is simple enough to check
    every record: a header that counts frames and atoms, then for each frame x, y and z (before them the box, if the
    header says so), each array between its length in bytes.

    Parameters
    ----------
    path
        Little-endian, as every program of today writes it.

    Returns
    -------
    ndarray
        (f, n, 3) in Å.

    Raises
    ------
    InputError
        If the file is empty, no DCD, without frames, or shorter or longer than its header promises.
    """
    try:
        size = path.stat().st_size
        if size == 0:
            raise InputError(f"{path} is empty")
        with path.open("rb") as file:
            head = file.read(92)
            if len(head) < 92 or head[:8] != struct.pack("<i4s", 84, b"CORD"):
                raise InputError(f"{path} is not a DCD trajectory")
            frames, fixed, has_box = (struct.unpack_from("<i", head, at)[0] for at in (8, 40, 48))
            (title,) = struct.unpack("<i", file.read(4))
            file.seek(title + 4, 1)
            _, atoms, _ = struct.unpack("<3i", file.read(12))
            start = file.tell()
    except (OSError, struct.error):
        raise InputError(f"{path} ends within its header; there is nothing to analyse") from None
    if frames == 0 or size == start:
        raise InputError(f"{path} has no frames; run longer than one report interval")
    if fixed:
        raise InputError(f"{path} has fixed atoms, which no run of ours has")
    words = 3 * (atoms + 2) + (14 if has_box else 0)
    if size != start + frames * words * 4:
        whole = max(0, size - start) // (words * 4)
        raise InputError(
            f"{path} is damaged: its header promises {frames} frames, {whole} are whole; --restart mends it"
        )
    records = np.fromfile(path, dtype="<i4", offset=start).reshape(frames, words)[:, words - 3 * (atoms + 2) :]
    records = records.reshape(frames, 3, atoms + 2)
    if np.any(records[:, :, [0, -1]] != 4 * atoms):
        raise InputError(f"{path} is damaged: the frames are not where its header says")
    return np.ascontiguousarray(records[:, :, 1:-1].view("<f4").transpose(0, 2, 1))


def elements_of(topology: "mdtraj.Topology") -> NDArray[np.int64]:
    """(n,) atomic numbers, 0 where the file does not tell."""
    return np.array([0 if a.element is None else a.element.atomic_number for a in topology.atoms], dtype=np.int64)


def one_line(error: Exception) -> str:
    """What another library said, short enough for one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
