"""Several data sets as one, with the training frames of the added ones repeated so that they are seen often enough.

The frames of the first stand first and in their order, so that what is held out there is the same set of frames in
the merged file: errors before and after a training on it can be compared.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mdet_openmm.data.layout import FAILURES, KINDS, SPLITS, FrameBlock, MoleculeRow, hdf5, write_dataset
from mdet_openmm.data.store import Store
from mdet_openmm.errors import InputError
from mdet_openmm.files import unfinished


@dataclass(frozen=True)
class Part:
    """One data set to merge.

    Attributes
    ----------
    store
        The data set.
    molecules
        Row in the merged table of each of its molecules.
    first_task
        Number that its first trajectory gets.
    repeats
        How often each of its training frames is written.
    """

    store: Store
    molecules: tuple[int, ...]
    first_task: int
    repeats: int


def merge_data(data: Path, additions: Sequence[Path], output: Path, share: float | None = None) -> dict[str, Any]:
    """Merge data sets of one teacher into one file; the same input gives the same bytes.

    Parameters
    ----------
    data
        The first data set.
    additions
        Further ones. A molecule of the same name as one before must be the same, and shares its row.
    output
        The HDF5 file to make; it appears under its name only when it is complete.
    share
        Part of the training frames, and so of every epoch, that those of the additions are to have. They are repeated
        a whole number of times, at least once, so that the share is not met exactly. None: each is there once.

    Returns
    -------
    dict
        output, frames, splits (frames of each), repeats, share (as it came out).

    Raises
    ------
    InputError
        For a share that is none, files that cannot be read, exist already or have different teachers, or molecules
        that only share a name.
    """
    output = Path(output)
    if share is not None and not 0.0 < share < 1.0:
        raise InputError(f"--share must be between 0 and 1, not {share}")
    if not additions:
        raise InputError("merging needs at least two data sets")
    if output.exists():
        raise InputError(f"{output} exists; remove it or choose another output")
    stores = [Store(path) for path in (data, *additions)]
    for store in stores[1:]:
        here, first = store.attributes.get("teacher"), stores[0].attributes.get("teacher")
        if here != first:
            raise InputError(
                f"{store.path} is labelled with {here}, {stores[0].path} with {first}; a model cannot learn both"
            )
    rows, places = _merged_molecules(stores)
    old = len(stores[0].indices("train"))
    new = sum(len(store.indices("train")) for store in stores[1:])
    repeats = 1 if share is None or not new else max(1, round(share / (1.0 - share) * old / new))
    parts, first_task = [], 0
    for number, (store, molecules) in enumerate(zip(stores, places, strict=True)):
        parts.append(Part(store, molecules, first_task, repeats if number else 1))
        first_task += 1 + int(_column(store, "task").max(initial=-1))
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        total = sum(len(store) for store in stores) + (repeats - 1) * new
        bar = tqdm(total=total, desc="merge", unit="frame", leave=False, mininterval=0.5)
        with bar, unfinished(output) as made:
            summary = write_dataset(made, rows, _shown(parts, bar), _provenance(parts, share))
    except OSError as error:
        raise InputError(f"cannot write {output}: {error}") from None
    return {
        "output": str(output),
        "frames": summary["frames"],
        "splits": summary["splits"],
        "repeats": repeats,
        "share": repeats * new / max(1, old + repeats * new),
    }


def _merged_molecules(stores: Sequence[Store]) -> tuple[list[MoleculeRow], list[tuple[int, ...]]]:
    """The molecule table of the merged set, and where the rows of each part stand in it."""
    rows: dict[str, MoleculeRow] = {}
    for store in stores:
        for row in store.molecules:
            known = rows.setdefault(row.name, row)
            for what in ("split", "charge", "multiplicity", "n_atoms"):
                if getattr(known, what) != getattr(row, what):
                    raise InputError(
                        f"molecule '{row.name}' has {what} {getattr(row, what)} in {store.path} and "
                        f"{getattr(known, what)} in a data set before it; rename one"
                    )
    order = list(rows)
    return list(rows.values()), [tuple(order.index(row.name) for row in store.molecules) for store in stores]


def _provenance(parts: Sequence[Part], share: float | None) -> dict[str, Any]:
    try:
        package = version("mdet-openmm")
    except PackageNotFoundError:  # run from a checkout that was never installed
        package = "unknown"
    first = parts[0].store.attributes
    merged = [
        {
            "file": part.store.path.name,
            "sha256": file_digest(part.store.path),
            "frames": len(part.store),
            "training_frames": len(part.store.indices("train")),
            "repeats": part.repeats,
        }
        for part in parts
    ]

    def each(name: str) -> list[str]:
        return [str(part.store.attributes.get(name, "unknown")) for part in parts]

    return {
        "teacher": first.get("teacher", "unknown"),
        "teacher_version": ", ".join(dict.fromkeys(each("teacher_version"))),
        "package_version": package,
        "seed": first.get("seed", 0),
        # The teacher stands where `mdet label` has it, so that a merged set can be added to as well.
        "config": {"teacher": first.get("config", {}).get("teacher"), "share": share, "merged": merged},
        "start_structures_sha256": hashlib.sha256("".join(each("start_structures_sha256")).encode()).hexdigest(),
    }


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shown(parts: Sequence[Part], bar: Any) -> Iterator[FrameBlock]:
    for part in parts:
        for block in blocks_of(part):
            yield block
            bar.update(len(block))


def blocks_of(part: Part) -> Iterator[FrameBlock]:
    """The frames of a part as they stand in its file, a trajectory at a time, and before them what it skipped."""
    store = part.store
    columns = {name: _column(store, name) for name in ("energy", "dipole", "temperature", "molecule", "task", "split")}
    kinds = np.array([KINDS.index(name) for name in store.kind_names], dtype=np.uint8)[store.kinds]
    splits = np.array([SPLITS.index(name) for name in store.split_names])
    with hdf5().File(store.path, "r") as file:
        atoms, skipped = file["atoms"], _skipped(file, len(store.molecules))
        for molecule, failures in enumerate(skipped):
            message = str(store.attributes["first_failure"]) if failures.any() else ""
            yield _empty(part.molecules[molecule], failures, message)
        same = np.ones(max(0, len(store) - 1), dtype=bool)
        for name in ("molecule", "task", "split"):
            same &= columns[name][1:] == columns[name][:-1]
        bounds = [0, *(1 + np.flatnonzero(~same)), len(store)] if len(store) else []
        for begin, end in pairwise(bounds):
            first, last = int(store.offsets[begin]), int(store.offsets[end])
            n = int(store.sizes[begin])
            repeats = part.repeats if store.split_names[columns["split"][begin]] == "train" else 1
            block = FrameBlock(
                molecule=part.molecules[int(columns["molecule"][begin])],
                task=part.first_task + int(columns["task"][begin]),
                split=int(splits[columns["split"][begin]]),
                atomic_numbers=atoms["atomic_numbers"][first : first + n].astype(np.int64),
                positions=_repeated(atoms["positions"][first:last].reshape(-1, n, 3), repeats),
                forces=_repeated(atoms["forces"][first:last].reshape(-1, n, 3), repeats),
                energy=_repeated(columns["energy"][begin:end], repeats),
                dipole=_repeated(columns["dipole"][begin:end], repeats),
                temperature=_repeated(columns["temperature"][begin:end], repeats),
                kind=_repeated(kinds[begin:end], repeats),
                failures=np.zeros(len(FAILURES), dtype=np.int64),
                message="",
            )
            yield block


def _repeated(rows: NDArray[Any], repeats: int) -> NDArray[Any]:
    return np.tile(rows, (repeats, *[1] * (rows.ndim - 1)))


def _skipped(file: Any, n_molecules: int) -> NDArray[np.int64]:
    """(molecules, reasons) frames that were skipped; 0 for a reason that the file does not know."""
    group = file["molecules"]
    zero = np.zeros(n_molecules, dtype=np.int64)
    return np.stack([group.get(f"skipped_{reason}", zero)[:] for reason in FAILURES], axis=1)


def _empty(molecule: int, failures: NDArray[np.int64], message: str) -> FrameBlock:
    """No frames, but the count of those that are missing."""
    nothing = np.zeros((0, 0, 3), dtype=np.float32)
    none = np.zeros(0)
    return FrameBlock(
        molecule=molecule,
        task=0,
        split=0,
        atomic_numbers=np.zeros(0, dtype=np.int64),
        positions=nothing,
        forces=nothing,
        energy=none,
        dipole=np.zeros((0, 3), dtype=np.float32),
        temperature=none.astype(np.float32),
        kind=none.astype(np.uint8),
        failures=failures,
        message=message,
    )


def _column(store: Store, name: str) -> NDArray[Any]:
    with hdf5().File(store.path, "r") as file:
        values: NDArray[Any] = file[f"frames/{name}"][:]
    return values
