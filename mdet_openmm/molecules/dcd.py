"""A DCD trajectory that can be cut back to a given number of frames and continued.

OpenMM's own writer puts the date into the header and cannot shorten a file. This one writes the same CHARMM layout
(little-endian, single precision, Å, no box) and nothing that depends on when it was written, so that a restarted run
leaves the same bytes as an unbroken one.
"""

import os
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.errors import InputError
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
            self._file = _open_existing(path, n_atoms, HEADER_BYTES + frames * self._frame_bytes)
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
        self._file.seek(8)
        self._file.write(struct.pack("<i", self.frames))
        self._file.seek(20)
        self._file.write(struct.pack("<i", min(self.frames * self._interval, 2**31 - 1)))
        self._file.flush()


def read_frame(path: Path, n_atoms: int, index: int) -> NDArray[np.float32]:
    """One frame of a trajectory that `DcdFile` wrote: (n, 3) in Å, as they are stored."""
    size = 3 * (4 * n_atoms + 8)
    with path.open("rb") as file:
        file.seek(HEADER_BYTES + index * size)
        columns = np.frombuffer(file.read(size), dtype="<f4").reshape(3, n_atoms + 2)
    return columns[:, 1:-1].T.copy()


def _header(n_atoms: int, timestep: float, interval: int) -> bytes:
    control = struct.pack("<i4s9if", 84, b"CORD", 0, interval, interval, 0, 0, 0, 0, 0, 0, timestep / AKMA_PS)
    control += struct.pack("<10i", 0, 0, 0, 0, 0, 0, 0, 0, 0, 24) + struct.pack("<i", 84)
    titles = struct.pack("<2i80s80si", 164, 2, *TITLE, 164)
    return control + titles + struct.pack("<3i", 4, n_atoms, 4)


def _open_existing(path: Path, n_atoms: int, size: int) -> BinaryIO:
    try:
        file = path.open("r+b")
    except OSError as error:
        raise InputError(f"cannot go on with {path}: {error.strerror}") from None
    header = file.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES or header[4:8] != b"CORD" or header[268:272] != struct.pack("<i", n_atoms):
        file.close()
        raise InputError(f"{path} is not the trajectory of this run; remove the folder and start anew")
    if path.stat().st_size < size:
        file.close()
        raise InputError(f"{path} holds fewer frames than the checkpoint knows of; remove the folder and start anew")
    file.truncate(size)
    return file
