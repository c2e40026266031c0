"""Rows of an uncompressed table of HDF5, read from where they lie in the file."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class PlainRows:
    """A table of which ``rows[first:last]`` can be taken, as of one of h5py, without HDF5.

    A training reads a structure here and a structure there, some ten rows each; HDF5 takes 100 µs to find them, the
    operating system two.

    Parameters
    ----------
    path
        The file.
    table
        One that `is_plain`.
    """

    def __init__(self, path: Path, table: Any) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115, closed with the table
        self._dtype, self._shape = table.dtype, table.shape[1:]
        self._row = int(self._dtype.itemsize * np.prod(self._shape, dtype=np.int64))
        self._chunk = table.chunks[0]
        self._starts = np.full(-(-table.shape[0] // self._chunk), -1, dtype=np.int64)

        def found(chunk: Any) -> None:
            self._starts[chunk.chunk_offset[0] // self._chunk] = chunk.byte_offset

        table.id.chunk_iter(found)
        if (self._starts < 0).any():
            raise ValueError(f"a part of {table.name} is missing")

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Rows from ``rows.start`` to ``rows.stop``."""
        parts, at = [], int(rows.start)
        while at < rows.stop:
            chunk, before = divmod(at, self._chunk)
            count = min(int(rows.stop) - at, self._chunk - before)
            wanted = count * self._row
            part = os.pread(self._file.fileno(), wanted, int(self._starts[chunk]) + before * self._row)
            if len(part) != wanted:
                raise OSError("it is cut short")
            parts.append(part)
            at += count
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        return np.frombuffer(data, dtype=self._dtype).reshape(-1, *self._shape)


def is_plain(table: Any) -> bool:
    """Whether a table lies in the file as it is: in chunks, neither compressed nor otherwise changed."""
    return table.chunks is not None and not table.id.get_create_plist().get_nfilters()
