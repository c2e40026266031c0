"""NumPy archives: MD17 and MD22 (as sGDML has them), rMD17 with its official splits, and plain ones in Å and eV."""

import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.conversion.pieces import AT_ONCE, Piece, by_composition, name_of, units_of
from mdet_openmm.conversion.settings import ConvertSettings
from mdet_openmm.errors import InputError
from mdet_openmm.files import DAMAGED_ARCHIVE

KEYS: Final = {
    "MD17": ("z", "R", "F", "E"),
    "rMD17": ("nuclear_charges", "coords", "forces", "energies"),
    "npz": ("atomic_numbers", "positions", "forces", "energies"),
}
"""Arrays of each kind: atomic numbers, positions, forces, energies."""
OTHER_LABELS: Final = {
    "rMD17": {"old": ("old_forces", "old_energies")},
    "npz": {"md17": ("forces_md17", "energies_md17")},
}
"""What ``level`` may name: here the labels of MD17 itself on the frames of rMD17."""
LEVELS: Final = {"MD17": "PBE+vdW-TS", "rMD17": "PBE/def2-SVP", "npz": ""}
_LENGTHS: Final = {"ang": "angstrom", "angstrom": "angstrom", "bohr": "bohr", "nm": "nm"}
_ENERGIES: Final = {"ev": "eV", "kcal/mol": "kcal/mol", "kj/mol": "kJ/mol", "hartree": "hartree"}


class Archive:
    """One .npz, of which a part at a time is in memory.

    Raises
    ------
    InputError
        If it is no such archive, is cut short, or has none of the known sets of arrays.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self.members = {Path(name).stem for name in archive.namelist() if name.endswith(".npy")}
        except DAMAGED_ARCHIVE as error:
            raise InputError(f"{path} is no .npz archive, or is cut short ({error})") from None
        kinds = [kind for kind, keys in KEYS.items() if set(keys) <= self.members]
        if not kinds:
            known = "; ".join(f"{kind}: {', '.join(keys)}" for kind, keys in KEYS.items())
            raise InputError(f"{path} has the arrays {', '.join(sorted(self.members))}; known are {known}")
        self.kind = kinds[0]

    def whole(self, name: str) -> NDArray[Any]:
        """A small array."""
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                values: NDArray[Any] = archive[name]
            if not isinstance(values, np.ndarray):  # bytes, where its header is damaged
                raise ValueError("it is no array")
        except DAMAGED_ARCHIVE as error:
            raise InputError(f"{self.path}: the array {name} cannot be read ({error})") from None
        return values

    def text(self, name: str) -> str:
        """A string, '' if it is not there."""
        if name not in self.members:
            return ""
        value = self.whole(name).reshape(-1)
        item = value[0] if len(value) else ""
        return item.decode() if isinstance(item, bytes) else str(item)

    def parts(self, name: str, length: int) -> Iterator[NDArray[Any]]:
        """The array in parts of some rows."""
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{name}.npy") as stream:
                read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
                shape, fortran, dtype = read[np.lib.format.read_magic(stream)[0]](stream)
                if fortran or dtype.hasobject or not shape:
                    raise InputError(f"{self.path}: the array {name} cannot be read by rows; save it again in C order")
                row = math.prod(shape[1:])
                for start in range(0, shape[0], length):
                    count = min(length, shape[0] - start)
                    content = stream.read(count * row * dtype.itemsize)
                    if len(content) < count * row * dtype.itemsize:
                        raise InputError(f"{self.path} is cut short in the array {name}")
                    yield np.frombuffer(content, dtype=dtype).reshape(count, *shape[1:])
        except DAMAGED_ARCHIVE as error:
            raise InputError(f"{self.path}: the array {name} cannot be read ({error})") from None


def level_of(path: Path, settings: ConvertSettings) -> str:
    """The level of theory of its labels, '' if it does not say."""
    archive = Archive(path)
    if settings.level is not None:
        return LEVELS["MD17"]
    return archive.text("theory") or archive.text("level") or LEVELS[archive.kind]


def read_archive(path: Path, settings: ConvertSettings) -> Iterator[Piece]:
    """The frames of an archive.

    Raises
    ------
    InputError
        If it is damaged, or has not what the settings ask for.
    """
    archive = Archive(path)
    numbers_key, positions_key, *labels = KEYS[archive.kind]
    if settings.level is not None:
        known = {k: v for k, v in OTHER_LABELS.get(archive.kind, {}).items() if set(v) <= archive.members}
        if settings.level not in known:
            raise InputError(
                f"{path} has no labels '{settings.level}'; --level may be {', '.join(known) or 'left out'}"
            )
        labels = list(known[settings.level])
    length = _LENGTHS.get(archive.text("r_unit").lower(), "angstrom")
    energy = _ENERGIES.get(archive.text("e_unit").lower(), "eV" if archive.kind == "npz" else "kcal/mol")
    units = units_of(settings, length, energy)
    numbers = archive.whole(numbers_key).astype(np.int64)
    keys = [positions_key, *labels]
    extra = [key for key in ("charge", "multiplicity", "dipole") if key in archive.members]
    split_of = official_split(archive, settings.official_split) if settings.official_split else None
    start = 0
    for x, f, e, *rest in zip(*(archive.parts(key, AT_ONCE) for key in (*keys, *extra)), strict=True):
        e = e.reshape(len(e), -1)
        if x.ndim != 3 or x.shape != f.shape or x.shape[2] != 3 or e.shape != (len(x), 1):
            raise InputError(f"{path}: {', '.join(keys)} are {x.shape}, {f.shape}, {e.shape}; not frames of one length")
        one = np.broadcast_to(numbers, (len(x), len(numbers))) if numbers.ndim == 1 else numbers[start : start + len(x)]
        splits = None if split_of is None else split_of[start : start + len(x)]
        start += len(x)
        for split in (None,) if splits is None else ("train", "test"):
            mine = (
                np.arange(len(x)) if splits is None else np.flatnonzero(splits == ("train", "test").index(str(split)))
            )
            if len(mine):
                yield from by_composition(
                    settings,
                    one[mine],
                    name=name_of(path) if numbers.ndim == 1 else None,
                    source=path.name,
                    positions=x[mine] * units.length,
                    forces=f[mine] * units.force,
                    energy=e[mine, 0].astype(np.float64) * units.energy,
                    split=split,
                    **{key: values[mine] for key, values in zip(extra, rest, strict=True)},
                )


def official_split(archive: Archive, number: int) -> NDArray[np.int8]:
    """(frames,) 0 for training, 1 for test, -1 for neither: of rMD17's files of indices, or of arrays in the archive.

    Raises
    ------
    InputError
        If there are none.
    """
    energies = KEYS[archive.kind][3]
    frames = sum(len(part) for part in archive.parts(energies, 1 << 16))
    indices = []
    for part in ("train", "test"):
        name = f"{part}_{number:02d}"
        if name in archive.members:
            found = archive.whole(name).astype(np.int64)
        else:
            folders = (archive.path.parent / "splits", archive.path.parent.parent / "splits", archive.path.parent)
            files = [folder / f"index_{name}.csv" for folder in folders]
            file = next((each for each in files if each.is_file()), None)
            if file is None:
                raise InputError(
                    f"{archive.path}: no official split {number}: it has no array {name}, and there is no {files[0]}"
                )
            try:
                found = np.loadtxt(file, dtype=np.int64, ndmin=1)
            except ValueError as error:
                raise InputError(f"{file} is no list of indices ({error})") from None
        if len(found) and (found.min() < 0 or found.max() >= frames):
            raise InputError(f"{archive.path}: the official split names frames beyond its {frames}")
        indices.append(found)
    split = np.full(frames, -1, dtype=np.int8)
    for value, found in enumerate(indices):
        if (split[found] >= 0).any():
            raise InputError(f"{archive.path}: the official split {number} trains on frames that it tests on")
        split[found] = value
    return split
