"""DCD trajectories: one that can be cut back to a given number of frames and continued, and a reader of any.

OpenMM's own writer puts the date into the header and cannot shorten a file. This one writes the same CHARMM layout
(little-endian, single precision, Å, no box) and nothing that depends on when it was written, so that a restarted run
leaves the same bytes as an unbroken one. mdtraj's reader prints to standard output and reads on over missing frames.
"""

import os
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.structure import refuse_cell
from mdet_openmm.units import ANGSTROM_PER_NM

AKMA_PS = 0.04888821
"""CHARMM's unit of time in ps, as OpenMM's writer has it."""
HEADER_BYTES = 276
TITLE = (b"Created by mdet-openmm", b"positions in Angstrom, free molecule, not wrapped")


class DcdFile:
    """An open trajectory.

    Parameters
    ----------
    path
        Made anew, or continued where it exists.
    n_atoms
        Atoms of a frame.
    timestep
        ps.
    interval
        Steps between frames; the first frame is at that step.
    frames
        How many frames to keep of an existing file; the rest is cut off.

    Raises
    ------
    InputError
        If the existing file is not such a trajectory or holds fewer frames.
    """

    def __init__(self, path: Path, n_atoms: int, timestep: float, interval: int, frames: int = 0) -> None:
        self._n_atoms, self._interval, self.frames = n_atoms, interval, frames
        self._frame_bytes = 3 * (4 * n_atoms + 8)
        if frames == 0:
            self._file: BinaryIO = path.open("w+b")
            self._file.write(_header(n_atoms, timestep, interval))
        else:
            check_frames(path, n_atoms, frames)
            self._file = path.open("r+b")
            self._file.truncate(HEADER_BYTES + frames * self._frame_bytes)
        self._update_header()

    def write(self, positions: NDArray[np.float64]) -> None:
        """Append one frame of (n, 3) positions in nm."""
        mark = struct.pack("<i", 4 * self._n_atoms)
        columns = (ANGSTROM_PER_NM * positions).astype("<f4").T
        self._file.seek(HEADER_BYTES + self.frames * self._frame_bytes)
        self._file.write(b"".join(mark + np.ascontiguousarray(column).tobytes() + mark for column in columns))
        self.frames += 1
        self._update_header()

    def sync(self) -> None:
        """Bring everything onto the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _update_header(self) -> None:
        last = min(self.frames * self._interval, 2**31 - 1)
        self._file.seek(8)
        self._file.write(struct.pack("<4i", self.frames, self._interval, self._interval, last))
        self._file.flush()


def check_frames(path: Path, n_atoms: int, frames: int) -> None:
    """Refuse to go on with a trajectory that `DcdFile` did not write, or that has fewer frames than a checkpoint says.

    Raises
    ------
    InputError
        Then, before the file is touched.
    """
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"cannot go on with {path}: {error.strerror}") from None
    if len(header) < HEADER_BYTES or header[4:8] != b"CORD" or header[268:272] != struct.pack("<i", n_atoms):
        raise InputError(f"{path} is not the trajectory of this run; remove the folder and start anew")
    if size < HEADER_BYTES + frames * 3 * (4 * n_atoms + 8):
        raise InputError(f"{path} holds fewer frames than the checkpoint knows of; remove the folder and start anew")


def read_frame(path: Path, n_atoms: int, index: int) -> NDArray[np.float32]:
    """One frame of a trajectory that `DcdFile` wrote: (n, 3) in Å, as they are stored."""
    size = 3 * (4 * n_atoms + 8)
    with path.open("rb") as file:
        file.seek(HEADER_BYTES + index * size)
        columns = np.frombuffer(file.read(size), dtype="<f4").reshape(3, n_atoms + 2)
    return columns[:, 1:-1].T.copy()


def read_dcd(path: Path) -> NDArray[np.float64]:
    """Read a DCD trajectory that is whole to the last byte.

    The layout is simple enough to check every record: a header that counts frames and atoms, then for each frame x, y
    and z (before them the box, if the header says so), each array between its length in bytes.

    Parameters
    ----------
    path
        Little-endian, as every program of today writes it.

    Returns
    -------
    ndarray
        (f, n, 3) in Å, the stored numbers.

    Raises
    ------
    InputError
        If the file is empty, no DCD, without frames, shorter or longer than its header promises, damaged in a frame, or
        of a periodic box.
    """
    try:
        size = path.stat().st_size
        if size == 0:
            raise InputError(f"{path} is empty")
        with path.open("rb") as file:
            head = file.read(92)
            if len(head) < 92 or head[:8] != struct.pack("<i4s", 84, b"CORD"):
                raise InputError(f"{path} is not a DCD trajectory")
            control = struct.unpack_from("<20i", head, 8)
            (title,) = struct.unpack("<i", file.read(4))
            file.seek(title + 4, 1)
            mark, atoms, _ = struct.unpack("<3i", file.read(12))
            start = file.tell()
    except (OSError, struct.error):
        raise InputError(f"{path} ends within its header, or cannot be read") from None
    frames, fixed, has_box, dimensions, charmm = (control[k] for k in (0, 8, 10, 11, 19))
    if mark != 4 or atoms < 1 or frames < 0:
        raise InputError(f"{path} is damaged in its header")
    if frames == 0 or size == start:
        raise InputError(f"{path} has no frames; run longer than one report interval")
    if fixed or (charmm and dimensions):
        raise InputError(f"{path} has fixed atoms or a fourth dimension, which no run of ours has")
    box = 14 if charmm and has_box else 0  # X-PLOR, of version 0, keeps half of its time step there
    words = 3 * (atoms + 2) + box
    if size != start + frames * words * 4:
        whole = max(0, size - start) // (words * 4)
        raise InputError(
            f"{path} is damaged: its header promises {frames} frames, {whole} are whole; copy it anew, or go on with "
            "its run (--restart)"
        )
    records = np.fromfile(path, dtype="<i4", offset=start).reshape(frames, words)
    columns = records[:, box:].reshape(frames, 3, atoms + 2)
    broken = np.any(columns[:, :, [0, -1]] != 4 * atoms, axis=(1, 2))
    if box:
        broken |= np.any(records[:, [0, 13]] != 48, axis=1)
    if broken.any():
        raise InputError(
            f"{path} is damaged in frame {1 + int(np.argmax(broken))}: its arrays are not where they belong"
        )
    if box:
        a, gamma, b, beta, alpha, c = np.ascontiguousarray(records[0, 1:13]).view("<f8")
        refuse_cell([float(x) for x in (a, b, c)], [float(x) for x in (alpha, beta, gamma)], str(path))
    return np.ascontiguousarray(columns[:, :, 1:-1]).view("<f4").transpose(0, 2, 1).astype(np.float64, order="C")


def _header(n_atoms: int, timestep: float, interval: int) -> bytes:
    control = struct.pack("<i4s9if", 84, b"CORD", 0, interval, interval, 0, 0, 0, 0, 0, 0, timestep / AKMA_PS)
    control += struct.pack("<10i", 0, 0, 0, 0, 0, 0, 0, 0, 0, 24) + struct.pack("<i", 84)
    titles = struct.pack("<2i80s80si", 164, 2, *TITLE, 164)
    return control + titles + struct.pack("<3i", 4, n_atoms, 4)
