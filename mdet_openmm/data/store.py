"""Reading a labelled data set lazily."""

import contextlib
import json
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mdet_openmm.data.layout import (
    ATOM_COLUMNS,
    FORMAT,
    FORMAT_VERSION,
    FRAME_COLUMNS,
    MoleculeRow,
    hdf5,
    molecules_digest,
)
from mdet_openmm.data.plain_rows import PlainRows, is_plain
from mdet_openmm.data.string_heaps import check_string_heaps
from mdet_openmm.errors import InputError
from mdet_openmm.files import check_version

_GAP, _PLAIN_GAP = 16384, 256
"""Rows of atoms that are cheaper to read and throw away than to begin another read, by HDF5 and without it."""
_RUN = 1 << 20
"""Rows of atoms read at once at most, to bound the memory."""


class LabelledFrames(NamedTuple):
    """Frames of b structures with n atoms each."""

    atomic_numbers: NDArray[np.int64]
    """(b, n)."""
    positions: NDArray[np.float64]
    """(b, n, 3) in Å."""
    forces: NDArray[np.float64]
    """(b, n, 3) in eV/Å."""
    energy: NDArray[np.float64]
    """(b,) in eV."""
    charge: NDArray[np.int64]
    """(b,) in e."""
    multiplicity: NDArray[np.int64]
    """(b,)."""
    molecule: NDArray[np.int64]
    """(b,) index into ``Store.molecules``."""
    dipole: NDArray[np.float64]
    """(b, 3) in e·Å about the origin of the positions; NaN where unknown."""

    def taken(self, rows: ArrayLike) -> "LabelledFrames":
        """Some of them, in the order of ``rows``, which may repeat."""
        chosen = np.asarray(rows, dtype=np.int64).reshape(-1)
        return LabelledFrames._make(each[chosen] for each in self)


class Store:
    """A labelled data set, opened for reading; frames are read when they are asked for.

    Only the columns with one small number per frame are held in memory once they are used. A store can be pickled
    and used in other processes: each opens the file for itself.

    Parameters
    ----------
    path
        A file made by ``mdet label``.

    Raises
    ------
    InputError
        If the file is missing, is not HDF5, is truncated, or is not such a data set.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._open_file: Any = None
        self._open_atoms: dict[str, Any] = {}
        self._process = -1
        if not self.path.is_file():
            raise InputError(f"the data set {self.path} does not exist; make it with: mdet label CONFIG")
        with contextlib.suppress(OSError):  # HDF5 says why below
            check_string_heaps(self.path)
        file = self._file()
        with self._readable():
            form, version = (file.attrs.get(name) for name in ("format", "format_version"))
        if form != FORMAT:
            raise InputError(f"{self.path} is HDF5 but not a data set of mdet label (its format attribute is {form!r})")
        check_version(version, FORMAT_VERSION, self.path)
        with self._readable():
            self.split_names: tuple[str, ...] = tuple(file["frames"].attrs["splits"])
            self.kind_names: tuple[str, ...] = tuple(file["frames"].attrs["kinds"])
            self.molecules: tuple[MoleculeRow, ...] = _molecule_table(file["molecules"])
            lengths = {file[f"atoms/{name}"].shape[0] for name in ATOM_COLUMNS}
            counts = {file[f"frames/{name}"].shape[0] for name in FRAME_COLUMNS}
            counts.add(file["frames/offsets"].shape[0] - 1)
            told = file["molecules"].attrs.get("sha256")  # older files have none
            if told is not None and told != molecules_digest(self.molecules, self.split_names, self.kind_names):
                raise ValueError("its table of molecules is not what was written")
            if len(counts) != 1 or lengths != {int(file["frames/offsets"][-1])}:
                raise ValueError("its tables do not have the same number of frames")

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """What HDF5 and what stands in a damaged file lead to is an InputError."""
        try:
            yield
        except (LookupError, OSError, OverflowError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{self.path} is damaged: {' '.join(str(error).split())[:200]}") from None

    def _file(self) -> Any:
        """The open file; opened anew in each process, because HDF5 handles do not survive a fork."""
        if self._open_file is None or self._process != os.getpid():
            try:
                self._open_file = hdf5().File(self.path, "r")
            except OSError as error:
                raise InputError(f"{self.path} is not an HDF5 file, or is truncated: {error}") from None
            self._open_atoms = {}
            self._process = os.getpid()
        return self._open_file

    def _atoms(self, name: str) -> Any:
        """A table of atoms, kept open: what was unpacked last of a compressed one is forgotten when it is closed."""
        file = self._file()
        if name not in self._open_atoms:
            table = file[f"atoms/{name}"]
            self._open_atoms[name] = PlainRows(self.path, table) if is_plain(table) else table
        return self._open_atoms[name]

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        if self._open_file is not None and self._process == os.getpid():
            self._open_file.close()
        self._open_file, self._open_atoms = None, {}

    def __enter__(self) -> "Store":
        """For use in a with statement."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind."""
        return {**self.__dict__, "_open_file": None, "_open_atoms": {}}

    def _column(self, name: str) -> NDArray[Any]:
        with self._readable():
            values: NDArray[Any] = self._file()[f"frames/{name}"][:]
        return values

    def _indices(self, name: str, count: int) -> NDArray[Any]:
        """A column of indices into something of that length."""
        values = self._column(name)
        with self._readable():
            if len(values) and not 0 <= values.min() <= values.max() < count:
                raise ValueError(f"a frame has no {name} that there is")
        return values

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Provenance: teacher, versions, seed, configuration, what was skipped."""
        found: dict[str, Any] = {}
        with self._readable():
            for name, value in self._file().attrs.items():
                value = value.item() if isinstance(value, np.generic) else value
                found[name] = json.loads(value) if name in ("config", "skipped") else value
        return found

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """(frames + 1,) first row of each frame in the tables of atoms."""
        offsets = self._column("offsets")
        n_atoms = np.array([m.n_atoms for m in self.molecules], dtype=np.int64)
        with self._readable():
            if offsets[0] != 0 or not np.array_equal(np.diff(offsets), n_atoms[self.molecule]):
                raise ValueError("a frame has not as many atoms as its molecule")
        return offsets

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """(frames,) atoms of each frame."""
        return np.diff(self.offsets)

    @cached_property
    def molecule(self) -> NDArray[np.int64]:
        """(frames,) index into ``molecules``."""
        return self._indices("molecule", len(self.molecules)).astype(np.int64)

    @cached_property
    def splits(self) -> NDArray[np.uint8]:
        """(frames,) index into ``split_names``."""
        return self._indices("split", len(self.split_names))

    @cached_property
    def kinds(self) -> NDArray[np.uint8]:
        """(frames,) index into ``kind_names``."""
        return self._indices("kind", len(self.kind_names))

    @cached_property
    def temperatures(self) -> NDArray[np.float32]:
        """(frames,) in K; NaN where unknown. A displaced frame has that of the dynamics that it comes from."""
        return self._column("temperature")

    @cached_property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur."""
        first = np.unique(self.molecule, return_index=True)[1]
        offsets = self.offsets
        with self._readable():
            rows = self._atoms("atomic_numbers")
            return tuple(sorted({int(z) for i in first for z in rows[offsets[i] : offsets[i + 1]]}))

    def __len__(self) -> int:
        """Number of frames."""
        return int(self._file()["frames/energy"].shape[0])

    def indices(self, split: str) -> NDArray[np.int64]:
        """Frames of a split ('train', 'val', 'test', or 'unseen' for held-out molecules)."""
        if split not in self.split_names:
            raise InputError(f"{self.path} has no split '{split}'; it has {', '.join(self.split_names)}")
        return np.flatnonzero(self.splits == self.split_names.index(split))

    def by_size(self, split: str) -> dict[int, NDArray[np.int64]]:
        """Frames of a split, grouped by their number of atoms."""
        chosen = self.indices(split)
        sizes = self.sizes[chosen]
        return {int(n): chosen[sizes == n] for n in np.unique(sizes)}

    def load(self, indices: ArrayLike) -> LabelledFrames:
        """Frames of one size, in the order of ``indices``, which may repeat.

        Raises
        ------
        InputError
            If the frames do not all have the same number of atoms.
        """
        wanted = np.asarray(indices, dtype=np.int64).reshape(-1)
        if len(wanted) and (wanted.min() < -len(self) or wanted.max() >= len(self)):
            raise IndexError(f"frame index out of range for {len(self)} frames")
        wanted = wanted % max(len(self), 1)
        sizes = np.unique(self.sizes[wanted])
        if len(sizes) > 1:
            raise InputError(f"these frames have {sizes.min()} to {sizes.max()} atoms; load one size at a time")
        n = int(sizes[0]) if len(sizes) else 0
        unique, back = np.unique(wanted, return_inverse=True)
        numbers = np.empty((len(unique), n), dtype=np.int64)
        positions = np.empty((len(unique), n, 3), dtype=np.float64)
        forces = np.empty((len(unique), n, 3), dtype=np.float64)
        for begin, end in self._runs(unique):
            first, last = self.offsets[unique[begin]], self.offsets[unique[end - 1]] + n
            rows = (self.offsets[unique[begin:end]] - first)[:, None] + np.arange(n)
            with self._readable():
                numbers[begin:end] = self._atoms("atomic_numbers")[first:last][rows]
                positions[begin:end] = self._atoms("positions")[first:last][rows]
                forces[begin:end] = self._atoms("forces")[first:last][rows]
        molecule = self.molecule[wanted]
        charges, multiplicities = self._charges_and_multiplicities
        return LabelledFrames(
            numbers[back],
            positions[back],
            forces[back],
            self.energies[wanted],
            charges[molecule],
            multiplicities[molecule],
            molecule,
            self.dipoles[wanted],
        )

    @cached_property
    def _charges_and_multiplicities(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(molecules,) of each."""
        rows = np.array([(m.charge, m.multiplicity) for m in self.molecules], dtype=np.int64).reshape(-1, 2)
        return rows[:, 0], rows[:, 1]

    @cached_property
    def dipoles(self) -> NDArray[np.float64]:
        """(frames, 3) in e·Å about the origin of the positions; NaN where unknown."""
        return self._column("dipole").astype(np.float64)

    @cached_property
    def energies(self) -> NDArray[np.float64]:
        """(frames,) in eV."""
        return self._column("energy")

    def _runs(self, frames: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Cut sorted frames into runs that are read at once: few reads, little read in vain, bounded memory."""
        with self._readable():
            most = _PLAIN_GAP if isinstance(self._atoms("positions"), PlainRows) else _GAP
        begin = 0
        for end in range(1, len(frames) + 1):
            if end < len(frames):
                gap = self.offsets[frames[end]] - self.offsets[frames[end - 1] + 1]
                length = self.offsets[frames[end] + 1] - self.offsets[frames[begin]]
                if gap <= most and length <= _RUN:
                    continue
            yield begin, end
            begin = end


def _molecule_table(group: Any) -> tuple[MoleculeRow, ...]:
    text = {name: group[name].asstr()[:] for name in ("name", "smiles", "source", "split")}
    number = {name: group[name][:] for name in ("charge", "multiplicity", "n_atoms")}
    return tuple(
        MoleculeRow(
            name=str(text["name"][i]),
            smiles=str(text["smiles"][i]),
            source=str(text["source"][i]),
            charge=int(number["charge"][i]),
            multiplicity=int(number["multiplicity"][i]),
            split=str(text["split"][i]),
            n_atoms=int(number["n_atoms"][i]),
        )
        for i in range(len(text["name"]))
    )
