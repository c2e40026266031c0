"""The headers of TRR and XTC files, checked before mdtraj reads them: its C code trusts them, and ends the process."""

import struct
from collections.abc import Callable
from pathlib import Path

from mdet_openmm.errors import InputError

TRR_MAGIC, XTC_MAGIC = 1993, 1995
TRR_NAME = (13, 12, b"GMX_trn_file")
"""Its lengths, with and without the end of a C string, and itself."""
TRR_HEADER = struct.Struct(">3i12s13i")
XTC_HEADER = struct.Struct(">3i10fi")
XTC_PACKED = struct.Struct(">f8i")
XTC_PLAIN_ATOMS = 9
"""Up to so many atoms an XTC has plain numbers."""
XTC_SIZES = range(9, 73)
"""Indices into XTC's table of sizes of small numbers."""


def check_frames(path: Path, n_atoms: int) -> None:
    """Walk over the frames of a TRR or an XTC file.

    Parameters
    ----------
    path
        Of the file; its name tells the format.
    n_atoms
        That each frame must have.

    Raises
    ------
    InputError
        If the file is cut or a header cannot be one, with the last frame before it; or if frames have other numbers
        of atoms.
    """
    length: Callable[[bytes, int], tuple[int, int]] = _trr_frame if path.suffix.lower() == ".trr" else _xtc_frame
    content = path.read_bytes()
    at = frames = 0
    while at < len(content):
        try:
            atoms, size = length(content, at)
        except struct.error:
            atoms, size = 0, 0
        if size <= 0 or at + size > len(content):
            raise InputError(f"{path} is damaged after frame {frames}" if frames else f"cannot read {path}: no header")
        if atoms != n_atoms:
            raise InputError(
                f"{path} has other atoms than its molecule or topology: {atoms} in frame {frames + 1}, not {n_atoms}"
            )
        at += size
        frames += 1


def _trr_frame(content: bytes, at: int) -> tuple[int, int]:
    """Atoms and bytes of the frame there; no bytes if it cannot be one."""
    magic, long, short, name, *sizes, n, _, _ = TRR_HEADER.unpack_from(content, at)
    unused, box, vectors = (*sizes[:2], *sizes[5:7]), sizes[2], sizes[7:]
    real = next((size // count for size, count in ((box, 9), *((v, 3 * n) for v in vectors)) if size > 0 < count), 0)
    tensors = all(size in (0, 9 * real) for size in sizes[2:5])
    if (
        magic != TRR_MAGIC or (long, short, name) != TRR_NAME or any(unused) or real not in (4, 8) or not tensors
        or vectors[0] != 3 * n * real or any(size not in (0, vectors[0]) for size in vectors)
    ):  # fmt: skip
        return n, 0
    return n, TRR_HEADER.size + 2 * real + sum(sizes)


def _xtc_frame(content: bytes, at: int) -> tuple[int, int]:
    """Atoms and bytes of the frame there; no bytes if it cannot be one."""
    magic, n, _, *_, again = XTC_HEADER.unpack_from(content, at)
    if magic != XTC_MAGIC or n != again or n < 1:
        return n, 0
    if n <= XTC_PLAIN_ATOMS:
        return n, XTC_HEADER.size + 12 * n
    precision, *bounds, small, packed = XTC_PACKED.unpack_from(content, at + XTC_HEADER.size)
    spans = [high - low + 1 for low, high in zip(bounds[:3], bounds[3:], strict=True)]
    room = 4 * (int(3 * n * 1.2) - 3)  # of the buffer that it is read into
    if not precision > 0.0 or min(spans) < 1 or max(spans) >= 2**31 or small not in XTC_SIZES or not 0 < packed <= room:
        return n, 0
    return n, XTC_HEADER.size + XTC_PACKED.size + 4 * -(-packed // 4)
