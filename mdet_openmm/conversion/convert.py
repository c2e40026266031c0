"""``mdet convert``: files of another format in, one checked data set out, a few thousand frames in memory at a time."""

import dataclasses
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import mdet_openmm
from mdet_openmm.conversion import archives, ase_files, hdf5_sets, qcml
from mdet_openmm.conversion.checks import Findings, duplicates, fingerprints, refuse
from mdet_openmm.conversion.pieces import Piece
from mdet_openmm.conversion.settings import ConvertSettings
from mdet_openmm.conversion.to_xyz import write_xyz
from mdet_openmm.data.layout import FAILURES, FORMAT, KINDS, SPLITS, FrameBlock, MoleculeRow, write_dataset
from mdet_openmm.data.sources import text_seed
from mdet_openmm.errors import InputError
from mdet_openmm.files import plain, unfinished

SAMPLE: Final = 2000
"""Frames whose units are checked before anything is written; all of them are checked again at the end."""
_XYZ: Final = (".xyz", ".extxyz")


def convert(settings: ConvertSettings) -> dict[str, Any]:
    """Make a data set of files of another format, or extended XYZ of a data set.

    Returns
    -------
    dict
        output, frames, and what was found: splits, molecules, charges, left_out, outliers, duplicates, units.

    Raises
    ------
    InputError
        For files that cannot be read, units that cannot be true, or an output that exists.
    """
    began = time.perf_counter()
    dest = settings.dest
    if dest.exists():
        raise InputError(f"{dest} exists; remove it or choose another output")
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {dest.parent}: {error.strerror}") from None
    if dest.suffix in _XYZ:
        if len(settings.sources) != 1 or settings.val_files or settings.test_files:
            raise InputError(f"{dest}: extended XYZ is made of one data set (.h5) at a time")
        frames = write_xyz(settings.sources[0], dest)
        return {"output": str(dest), "frames": frames}
    if dest.suffix not in (".h5", ".hdf5"):
        raise InputError(f"{dest} must end in .h5, for a data set, or in .xyz, to write one as extended XYZ")
    report = _Conversion(settings).write()
    return {"output": str(dest), **report, "seconds": round(time.perf_counter() - began, 2)}


Reader = Callable[[Path, ConvertSettings], Iterator[Piece]]


def reader_of(path: Path) -> tuple[Reader, Callable[[Path, ConvertSettings], str]]:
    """What reads a file, and what says the level of theory of its labels ('' if it does not)."""
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    if ".array_record" in path.name:
        return qcml.read_qcml, lambda *_: qcml.LEVEL
    if path.suffix == ".npz":
        return archives.read_archive, archives.level_of
    if path.suffix in (".h5", ".hdf5"):
        with hdf5_sets.opened(path) as file:
            if file.attrs.get("format") == FORMAT:
                raise InputError(f"{path} is a data set already; convert writes one as extended XYZ (name DEST.xyz)")
        return hdf5_sets.read_hdf5, hdf5_sets.level_of
    return ase_files.read_ase, lambda *_: ""


def files_of(paths: tuple[Path, ...]) -> list[Path]:
    """The files, and those of folders that have the name of a known format."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = [p for p in sorted(path.iterdir()) if p.suffix in (".npz", ".h5", ".hdf5", *_XYZ)]
            inside += [p for p in sorted(path.iterdir()) if ".array_record" in p.name]
            if not inside:
                raise InputError(f"{path} holds no .npz, .h5, .hdf5, .xyz or .array_record file")
            found += inside
        else:
            found.append(path)
    return found


class _Conversion:
    """One data set under way."""

    def __init__(self, settings: ConvertSettings) -> None:
        self.settings = settings
        self.files = [
            (path, split)
            for paths, split in ((settings.sources, None), (settings.val_files, "val"), (settings.test_files, "test"))
            for path in files_of(paths)
        ]
        self.levels = {path: level(path, settings) for path, _ in self.files for _, level in (reader_of(path),)}
        self.findings = Findings()
        self.rows: list[MoleculeRow] = []
        self.places: dict[tuple[str, int, int, int], int] = {}
        self.names: set[str] = set()
        self.left_out: Counter[str] = Counter()
        self.prints: list[NDArray[np.uint64]] = []
        self.splits: list[NDArray[np.uint8]] = []
        self.tasks = 0

    def write(self) -> dict[str, Any]:
        """All of it; the report."""
        settings = self.settings
        where = ", ".join(str(path) for path in settings.sources)
        bar = tqdm(desc="convert", unit="frame", leave=False, mininterval=0.5, delay=1.0)
        with unfinished(settings.dest) as made:
            with bar:
                pieces = self._checked(self._pieces(bar), where)
                summary = write_dataset(
                    made, self.rows, chain.from_iterable(map(self._blocks, pieces)), self._provenance(),
                    compact=settings.compact,
                )  # fmt: skip
            if not summary["frames"]:
                raise InputError(f"{where}: not one frame could be kept ({dict(self.left_out) or 'there is none'})")
            if not settings.unchecked:
                refuse(self.findings, where)
        prints, splits = np.concatenate(self.prints), np.concatenate(self.splits)
        return {
            "frames": summary["frames"],
            "splits": summary["splits"],
            "molecules": len(self.rows),
            "charges": {str(q): n for q, n in sorted(Counter(row.charge for row in self.rows).items())},
            "multiplicities": {str(m): n for m, n in sorted(Counter(row.multiplicity for row in self.rows).items())},
            "left_out": dict(self.left_out),
            **self.findings.report(),
            **duplicates(prints, splits),
            **({"unchecked": self.findings.problem() or "nothing was found"} if settings.unchecked else {}),
        }

    def _pieces(self, bar: Any) -> Iterator[Piece]:
        for path, split in self.files:
            read, _ = reader_of(path)
            for piece in read(path, self.settings):
                bar.update(len(piece))
                kept = self._finite(piece if split is None else dataclasses.replace(piece, split=split))
                if len(kept):
                    self.findings.see(kept)
                    yield kept

    def _checked(self, pieces: Iterator[Piece], where: str) -> Iterator[Piece]:
        """The same; the first are looked at before any is passed on."""
        first: list[Piece] = []
        for piece in pieces:
            first.append(piece)
            if self.findings.frames >= SAMPLE:
                break
        if not self.settings.unchecked:
            refuse(self.findings, where)
        yield from first
        yield from pieces

    def _finite(self, piece: Piece) -> Piece:
        """Without frames that hold no numbers, and, if asked for, those with large forces."""
        good = np.isfinite(piece.energy)
        for array in (piece.positions, piece.forces):
            if not np.isfinite(array).all():  # much faster than for each frame
                good &= np.isfinite(array).all(axis=(1, 2))
        self.left_out["not finite"] += int((~good).sum())
        most = self.settings.max_force
        if most is not None:
            with np.errstate(invalid="ignore"):
                small = (np.linalg.norm(piece.forces, axis=2) <= most).all(axis=1)
            self.left_out["force above --max-force"] += int((good & ~small).sum())
            good &= small
        self.left_out = +self.left_out
        return piece if good.all() else _frames_of(piece, good)

    def _blocks(self, piece: Piece) -> Iterator[FrameBlock]:
        prints = fingerprints(piece)
        splits = self._split(piece, prints)
        self.prints.append(prints)
        self.splits.append(splits)
        for split in np.unique(splits):
            mine = splits == split
            yield self._block(piece if mine.all() else _frames_of(piece, mine), int(split))

    def _split(self, piece: Piece, prints: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """The source's word; else by hashes, so that neither the order nor the other frames decide."""
        settings, seed = self.settings, text_seed(f"split {self.settings.seed}")
        train, val, test, unseen = range(len(SPLITS))
        if piece.split is not None and not (piece.split == "train" and settings.official_split):
            return np.full(len(piece), SPLITS.index(piece.split), dtype=np.uint8)
        test_share = 0.0 if settings.test_files or settings.official_split else settings.test
        val_share = 0.0 if settings.val_files else settings.val
        if settings.by == "molecule":
            if text_seed(f"{piece.name} {piece.charge} {piece.multiplicity} {seed}") < test_share * 2.0**64:
                return np.full(len(piece), unseen, dtype=np.uint8)
            test_share = 0.0
        mixed = (prints ^ np.uint64(seed)) * np.uint64(0x94D049BB133111EB)
        share = (mixed ^ (mixed >> np.uint64(31))).astype(np.float64) / 2.0**64
        return np.select([share < val_share, share < val_share + test_share], [val, test], train).astype(np.uint8)

    def _block(self, piece: Piece, split: int) -> FrameBlock:
        count, n = len(piece), len(piece.atomic_numbers)
        centre = piece.positions.mean(axis=1, keepdims=True)
        dipole = np.full((count, 3), math.nan) if piece.dipole is None else piece.dipole - piece.charge * centre[:, 0]
        kelvin = math.nan if self.settings.temperature is None else self.settings.temperature
        self.tasks += 1
        return FrameBlock(
            molecule=self._place(piece, held_out=SPLITS[split] == "unseen", n=n),
            task=self.tasks - 1,
            split=split,
            atomic_numbers=piece.atomic_numbers,
            positions=(piece.positions - centre).astype(np.float32),
            forces=piece.forces.astype(np.float32),
            energy=piece.energy.astype(np.float64),
            dipole=dipole.astype(np.float32),
            temperature=(np.full(count, kelvin) if piece.temperature is None else piece.temperature).astype(np.float32),
            kind=np.full(count, KINDS.index("trajectory"), dtype=np.uint8),
            failures=np.zeros(len(FAILURES), dtype=np.int64),
            message="",
        )

    def _place(self, piece: Piece, held_out: bool, n: int) -> int:
        """Row of the molecule; two of one name get names that differ."""
        split = "test" if held_out else "train"
        key = (piece.name, piece.charge, piece.multiplicity, n)
        if key not in self.places:
            name = piece.name
            if name in self.names:
                name = f"{name} (charge {key[1]}, multiplicity {key[2]}, {n} atoms)"
            self.names.add(piece.name)
            self.places[key] = len(self.rows)
            self.rows.append(MoleculeRow(name, piece.smiles, piece.source, key[1], key[2], split, n))
        if self.rows[self.places[key]].split != split:
            raise InputError(f"{piece.source}: {piece.name} is both held out (split 'unseen') and trained on")
        return self.places[key]

    def _provenance(self) -> dict[str, Any]:
        levels = sorted({level for level in self.levels.values() if level})
        if len(levels) > 1 and self.settings.teacher is None:
            raise InputError(f"the files have labels of {' and of '.join(levels)}; a model cannot learn both")
        files = [{"file": path.name, "bytes": path.stat().st_size, "split": split} for path, split in self.files]
        return {
            "teacher": self.settings.teacher or (levels[0] if levels else "unknown"),
            "teacher_version": "as published",
            "package_version": mdet_openmm.__version__,
            "seed": self.settings.seed,
            "config": {
                "teacher": None,
                "converted": files,
                "settings": plain(dataclasses.asdict(self.settings), lambda path: Path(path).name),
            },
        }


def _frames_of(piece: Piece, chosen: NDArray[np.bool_]) -> Piece:
    return dataclasses.replace(
        piece,
        positions=piece.positions[chosen],
        forces=piece.forces[chosen],
        energy=piece.energy[chosen],
        dipole=None if piece.dipole is None else piece.dipole[chosen],
        temperature=None if piece.temperature is None else piece.temperature[chosen],
    )
