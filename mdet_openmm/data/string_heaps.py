"""The heaps in which HDF5 keeps strings, looked through before HDF5 reads them.

They are the one part of a file without a checksum that HDF5 (2.0) does not get out of when it is damaged: behind what
has no size, or more than all there is, it looks for the next string for ever, and nothing in the process can stop it.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

from mdet_openmm.errors import InputError

_SIGNATURE = b"GCOL\x01\0\0\0"
_OBJECT = struct.Struct("<HH4xQ")
_REACH = 64 * 2**20
"""Bytes at both ends of a file in which strings are looked for: they are written before and after all tables."""


def check_string_heaps(path: Path) -> None:
    """Refuse a file in which a heap of strings leads nowhere.

    Layout: "Global Heap" in the HDF5 File Format Specification, III.E, with lengths of eight bytes.

    Raises
    ------
    InputError
        If something in a heap is smaller or larger than can be.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if not size:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for at in _heaps(content, size):
                if _leads_nowhere(content, at, size):
                    raise InputError(f"{path} is damaged: the heap of strings at byte {at} leads nowhere")


def _heaps(content: mmap.mmap, size: int) -> Iterator[int]:
    """Where heaps begin."""
    for begin, end in ((0, size),) if size <= 2 * _REACH else ((0, _REACH), (size - _REACH, size)):
        at = begin - 1
        while (at := content.find(_SIGNATURE, at + 1, end)) >= 0:
            yield at


def _leads_nowhere(content: mmap.mmap, heap: int, size: int) -> bool:
    if heap + 16 > size:
        return False
    (length,) = struct.unpack_from("<Q", content, heap + 8)
    at, end = heap + 16, heap + length
    while at + _OBJECT.size <= min(end, size):
        index, _, taken = _OBJECT.unpack_from(content, at)
        # the size of free space is that of all of it, that of a string without its head and what fills it up
        step = _OBJECT.size + -(-taken // 8) * 8 if index else taken
        if step < _OBJECT.size or at + step > end:
            return True
        at += step
    return False
