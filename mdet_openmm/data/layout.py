"""The layout of a data set in HDF5: names, units, and how one is written. See docs/data-format.md."""

import array
import atexit
import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.data.config import MOLECULE_SPLITS
from mdet_openmm.errors import InputError
from mdet_openmm.settings import one_of

FORMAT = "mdet-frames"
FORMAT_VERSION = 1

SPLITS = ("train", "val", "test", "unseen")
"""Frame splits; 'unseen' are the frames of held-out molecules. Stored as the index in this tuple."""

KINDS = ("dynamics", "gaussian", "scale", "stretch", "torsion", "contact", "trajectory")
"""How a frame was made. Stored as the index in this tuple."""

FAILURES = ("teacher", "max_force", "broken")
"""Why a frame is missing: no answer (SCF), a force above the cap, or its trajectory broke a bond before."""

_ATOM_CHUNK = 16384
_FRAME_CHUNK = 8192
_PACKED_CHUNK = 65536
"""Rows that are compressed together. More pack better, and so many of 12 bytes still fit HDF5's cache of 1 MiB, so that
whoever reads or appends one frame after the other does not unpack a chunk again and again."""

ATOM_COLUMNS: dict[str, tuple[str, tuple[int, ...], str]] = {
    "atomic_numbers": ("u1", (), "1"),
    "positions": ("f4", (3,), "Å"),
    "forces": ("f4", (3,), "eV/Å"),
}
FRAME_COLUMNS: dict[str, tuple[str, tuple[int, ...], str]] = {
    "energy": ("f8", (), "eV"),
    "dipole": ("f4", (3,), "e·Å"),
    "temperature": ("f4", (), "K"),
    "molecule": ("i4", (), "index into molecules"),
    "kind": ("u1", (), "index into the attribute 'kinds'"),
    "split": ("u1", (), "index into the attribute 'splits'"),
    "task": ("i4", (), "index of the trajectory that the frame comes from"),
}


def hdf5() -> Any:
    """The h5py module.

    Raises
    ------
    InputError
        If it is not installed; not everyone who runs a simulation needs it.
    """
    try:
        import h5py
    except ImportError:
        raise InputError("data sets need h5py; install it with: pip install 'mdet-openmm[label]'") from None
    return h5py


@dataclass(frozen=True)
class FrameBlock:
    """Labelled frames of one molecule, as one task makes them.

    Attributes
    ----------
    molecule, task, split
        Indices, the same for all frames.
    atomic_numbers
        (n,).
    positions, forces
        (f, n, 3) float32, Å and eV/Å.
    energy
        (f,) float64, eV.
    dipole
        (f, 3) float32, e·Å; NaN where unknown.
    temperature
        (f,) K; NaN where unknown.
    kind
        (f,) index into KINDS.
    failures
        Frames missing for each reason in FAILURES.
    message
        The first failure of the teacher, in its words; '' if none.

    Raises
    ------
    ValueError
        If an array has another shape, or is not of numbers.
    """

    molecule: int
    task: int
    split: int
    atomic_numbers: NDArray[np.int64]
    positions: NDArray[np.float32]
    forces: NDArray[np.float32]
    energy: NDArray[np.float64]
    dipole: NDArray[np.float32]
    temperature: NDArray[np.float32]
    kind: NDArray[np.uint8]
    failures: NDArray[np.int64]
    message: str

    def __post_init__(self) -> None:
        """Refuse what is no block, such as one that was read from a damaged file."""
        f, n = len(self.energy), len(self.atomic_numbers)
        shapes = {
            "atomic_numbers": (n,), "positions": (f, n, 3), "forces": (f, n, 3), "energy": (f,), "dipole": (f, 3),
            "temperature": (f,), "kind": (f,), "failures": (len(FAILURES),),
        }  # fmt: skip
        for name, shape in shapes.items():
            values = getattr(self, name)
            if values.shape != shape or values.dtype.kind not in "iuf":
                raise ValueError(f"{name} of {f} frames of {n} atoms is {values.dtype}, {values.shape}, not {shape}")

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.energy)


@dataclass(frozen=True)
class MoleculeRow:
    """One row of the molecule table."""

    name: str
    smiles: str
    source: str
    charge: int
    multiplicity: int
    split: str
    n_atoms: int

    def __post_init__(self) -> None:
        """Refuse a split that is none of ``MOLECULE_SPLITS``: the molecule would be neither trained on nor held out."""
        one_of("split", self.split, MOLECULE_SPLITS)


def write_dataset(
    path: Path,
    molecules: list[MoleculeRow],
    blocks: Iterable[FrameBlock],
    provenance: dict[str, Any],
    *,
    compact: bool = False,
) -> dict[str, Any]:
    """Write a data set block by block; the same input gives the same bytes.

    Parameters
    ----------
    path
        File to create.
    molecules
        The molecule table; read when all blocks are written, so that who makes the blocks may add to it.
    blocks
        In the order in which the frames shall stand.
    provenance
        Root attributes; mappings and lists are stored as JSON.
    compact
        Forces and dipoles keep 11 significant bits, and the columns are compressed.

    Returns
    -------
    dict
        Counts: frames, frames of each split, skipped frames for each reason, and the first message of the teacher.
    """
    none = np.zeros(len(FAILURES), dtype=np.int64)
    failed: dict[int, NDArray[np.int64]] = {}
    splits = np.zeros(len(SPLITS), dtype=np.int64)
    message = ""
    packed: dict[str, Any] = {"compression": "gzip", "compression_opts": 6, "shuffle": True} if compact else {}
    atom_chunk, frame_chunk = (_PACKED_CHUNK, _PACKED_CHUNK) if compact else (_ATOM_CHUNK, _FRAME_CHUNK)
    with _whole_or_abandoned(path) as file:
        file.attrs["format"] = FORMAT
        file.attrs["format_version"] = FORMAT_VERSION
        for key, value in provenance.items():
            file.attrs[key] = json.dumps(value, sort_keys=True) if isinstance(value, (dict, list)) else value
        frames = file.create_group("frames")
        frames.attrs["splits"] = list(SPLITS)
        frames.attrs["kinds"] = list(KINDS)
        atoms = file.create_group("atoms")
        columns: dict[str, _Column] = {}
        for group, table, chunk in ((atoms, ATOM_COLUMNS, atom_chunk), (frames, FRAME_COLUMNS, frame_chunk)):
            for name, (dtype, shape, unit) in table.items():
                made = group.create_dataset(
                    name, (0, *shape), dtype=dtype, maxshape=(None, *shape), chunks=(chunk, *shape), **packed
                )
                made.attrs["unit"] = unit
                columns[name] = _Column(made, chunk)
        sizes = array.array("q")
        for block in blocks:
            count, n = len(block), len(block.atomic_numbers)
            failed[block.molecule] = failed.get(block.molecule, none) + block.failures
            message = message or block.message
            if not count:
                continue
            splits[block.split] += count
            sizes.extend([n] * count)
            columns["atomic_numbers"].append(np.tile(block.atomic_numbers, count))
            columns["positions"].append(block.positions.reshape(-1, 3))
            forces, dipole = block.forces.reshape(-1, 3), block.dipole
            columns["forces"].append(_few_bits(forces) if compact else forces)
            columns["dipole"].append(_few_bits(dipole) if compact else dipole)
            for name in ("energy", "temperature", "kind"):
                columns[name].append(getattr(block, name))
            for name in ("molecule", "task", "split"):
                columns[name].append(np.full(count, getattr(block, name)))
        for column in columns.values():
            column.flush()
        total = int(splits.sum())
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.asarray(sizes, dtype=np.int64))])
        stored = frames.create_dataset(
            "offsets", data=offsets, dtype="i8", chunks=(frame_chunk,), maxshape=(None,), **packed
        )
        stored.attrs["unit"] = "rows of atoms; frame i is offsets[i]:offsets[i + 1]"
        failures = np.array([failed.get(i, none) for i in range(len(molecules))]).reshape(-1, len(FAILURES))
        _write_molecules(file.create_group("molecules"), molecules, failures)
        skipped = {name: int(n) for name, n in zip(FAILURES, failures.sum(axis=0), strict=True)}
        file.attrs["n_frames"] = total
        file.attrs["skipped"] = json.dumps(skipped, sort_keys=True)
        file.attrs["first_failure"] = message
    by_split = {name: int(n) for name, n in zip(SPLITS, splits, strict=True)}
    return {"frames": total, "splits": by_split, "skipped": skipped, "first_failure": message}


@contextlib.contextmanager
def _whole_or_abandoned(path: Path) -> Iterator[Any]:
    """A new HDF5 file. One that cannot be written is not closed: HDF5 could not, and would end the process by trying.

    It would do so again when the interpreter ends (a segmentation fault, HDF5 2.0), which therefore ends without it,
    with the exit status of a command that the disk has stopped.
    """
    file = hdf5().File(path, "w", libver=("v110", "v110"), track_order=False)
    try:
        yield file
        file.flush()
        file.close()
    except (OSError, RuntimeError):
        objects: list[Any] = [file]
        file.visititems(lambda name, each: objects.append(each))
        _ABANDONED.append(objects)
        atexit.register(_end_without_hdf5)
        raise
    except BaseException:
        file.close()
        raise


_ABANDONED: list[Any] = []


def _end_without_hdf5() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(3)


def _few_bits(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rounded to 11 significant bits, to within 2^-11 of each value: the rest is zeros, which pack to nothing."""
    mantissa, exponent = np.frexp(values)
    rounded: NDArray[np.float32] = np.ldexp(np.round(np.ldexp(mantissa, 11)), exponent - 11).astype(np.float32)
    return rounded


class _Column:
    """A table that grows: rows wait until they fill a chunk, because HDF5 takes as long for one as for thousands."""

    def __init__(self, table: Any, chunk: int) -> None:
        self._table, self._chunk = table, chunk
        self._waiting: list[NDArray[Any]] = []
        self._rows = 0

    def append(self, rows: NDArray[Any]) -> None:
        self._waiting.append(rows)
        self._rows += len(rows)
        if self._rows >= self._chunk:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            start = self._table.shape[0]
            self._table.resize(start + self._rows, axis=0)
            self._table[start:] = np.concatenate(self._waiting)
            self._waiting, self._rows = [], 0


def _write_molecules(group: Any, molecules: list[MoleculeRow], failures: NDArray[np.int64]) -> None:
    text = hdf5().string_dtype("utf-8")
    for name in ("name", "smiles", "source", "split"):
        group.create_dataset(name, data=[getattr(m, name) for m in molecules], dtype=text)
    for name, unit in (("charge", "e"), ("multiplicity", "2S + 1"), ("n_atoms", "1")):
        group.create_dataset(name, data=[getattr(m, name) for m in molecules], dtype="i4").attrs["unit"] = unit
    group.attrs["sha256"] = molecules_digest(molecules, SPLITS, KINDS)
    for column, name in enumerate(FAILURES):
        group.create_dataset(f"skipped_{name}", data=failures[:, column], dtype="i8").attrs["unit"] = "frames"


def molecules_digest(molecules: Sequence[MoleculeRow], splits: Sequence[str], kinds: Sequence[str]) -> str:
    """SHA-256 of the small tables that say what the frames are of, for HDF5 has no checksums of strings."""
    rows = [
        [m.name, m.smiles, m.source, int(m.charge), int(m.multiplicity), m.split, int(m.n_atoms)] for m in molecules
    ]
    return hashlib.sha256(json.dumps([rows, list(splits), list(kinds)]).encode()).hexdigest()
