"""The published data sets of fine_tuning.py: their files, which of their frames are trained on, and labels."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.conversion.convert import convert
from mdet_openmm.conversion.settings import ConvertSettings

MD17_VALIDATION = 500
"""Frames of MD17-10k that are not trained on, as in the paper."""
POOL = "test_01"
"""Stands for a test set that is rows of the training file."""
TEMPERATURE = 500.0


@dataclass(frozen=True)
class Source:
    """A data set in the folder.

    Attributes
    ----------
    file
        What is trained on.
    tests
        Name and file of each official test set.
    labels
        End of the names of the arrays of forces and energies.
    note
        What the table says of it.
    """

    file: str
    tests: dict[str, str]
    labels: str = ""
    note: str = ""

    @property
    def is_trajectory(self) -> bool:
        """Whether the frames are all of one trajectory at `TEMPERATURE`, which simulations can be compared with."""
        return POOL in self.tests.values()


_RMD17 = ("aspirin", "toluene", "malonaldehyde", "ethanol", "benzene", "naphthalene", "salicylic", "uracil")
_LIMITED = "of limited significance, says the paper: its forces are learnt from a few structures"
SETS = {
    **{
        name: Source(f"rmd17_{name}_pool.npz", {"test": POOL}, note=_LIMITED if name == "ethanol" else "")
        for name in _RMD17
    },
    "3bpa": Source("3bpa_train_300K.npz", {"300 K": "3bpa_test_300K.npz", "600 K": "3bpa_test_600K.npz"}),
    "3bpa-mixed": Source("3bpa_train_mixedT.npz", {"300 K": "3bpa_test_300K.npz", "600 K": "3bpa_test_600K.npz"}),
    "acac": Source("acac_train_300K.npz", {"300 K": "acac_test_MD_300K.npz", "600 K": "acac_test_MD_600K.npz"}),
    **{
        f"md17-{name}": Source(f"rmd17_{name}_pool.npz", {"test": POOL}, labels="_md17", note="MD17-10k")
        for name in _RMD17
    },
}


@functools.cache
def arrays_of(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an archive."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@functools.cache
def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def training_rows(source: Source, arrays: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Rows to train on, of which a smaller set has the first: of rMD17 first the official ones, never a test frame."""
    rng = np.random.default_rng(0)
    rows = np.arange(len(arrays["positions"]))
    if not source.is_trajectory:
        return rng.permutation(rows)
    free = np.setdiff1d(rows, arrays[POOL])
    if source.labels:
        return rng.permutation(free)[:-MD17_VALIDATION] if len(free) > 2 * MD17_VALIDATION else rng.permutation(free)
    official = arrays["train_01"].astype(np.int64)
    return np.concatenate([rng.permutation(official), rng.permutation(np.setdiff1d(free, official))])


def write_data(name: str, path: Path, rows: NDArray[np.int64] | None, dest: Path) -> Path:
    """Rows of a file, or all, as a data set, by the readers and checks of ``mdet convert``; all in the split train."""
    if dest.exists():
        return dest
    arrays, labels = arrays_of(path), SETS[name].labels
    chosen = np.arange(len(arrays["positions"])) if rows is None else rows
    unfinished = dest.with_suffix(".partial.npz")
    dest.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        unfinished,
        positions=arrays["positions"][chosen],
        forces=arrays[f"forces{labels}"][chosen],
        energies=arrays[f"energies{labels}"][chosen].astype(np.float64),
        atomic_numbers=arrays["atomic_numbers"],
        level=np.array("PBE+vdW-TS" if labels else str(arrays.get("level", path.name))),
    )
    convert(ConvertSettings(sources=(unfinished,), dest=dest, val=0.0, test=0.0, name=name))
    unfinished.unlink()
    return dest
