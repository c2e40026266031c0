"""The folder of a run: made, locked, filled and cut back so that a killed run can go on as if nothing had happened.

Order matters. Frames and log rows reach the disk before the checkpoint that counts them, and whatever is replaced is
written beside its place and renamed, so at any moment the folder holds one complete checkpoint and at least the
frames and rows that belong to it.
"""

import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from mdet_openmm.errors import InputError
from mdet_openmm.files import holds_nothing, write_file
from mdet_openmm.units import NM_PER_ANGSTROM

TRAJECTORY = "trajectory.dcd"
TOPOLOGY = "topology.pdb"
LOG = "log.csv"
CHECKPOINT = "checkpoint.chk"
STATE = "state.xml"
SUMMARY = "summary.json"
SETTINGS = "settings.json"
START = "start.xyz"
LAST_GOOD = "last_good.pdb"
EQUIVARIANCE = "equivariance.csv"
TEACHER_ENERGY = "reference.csv"
FAILURES = "failures.json"


def check_new_folder(folder: Path) -> None:
    """Raise InputError unless a run may be started in this folder, without making it yet."""
    if folder.is_dir() and not holds_nothing(folder):
        hint = "use --restart to go on with it, or " if (folder / SETTINGS).exists() else ""
        raise InputError(f"the output folder {folder} is not empty; {hint}choose another --output")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"the output {folder} is a file, not a folder; choose another --output")
    parent = folder
    while not parent.exists():
        parent = parent.absolute().parent
    if not parent.is_dir():
        raise InputError(f"cannot make the output folder {folder}: {parent} is a file; choose another --output")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"cannot write the output folder {folder}: no permission in {parent}")


def check_free_space(folder: Path, needed: float) -> None:
    """Raise InputError if the disk has less than the bytes needed."""
    parent = folder.absolute()
    while not parent.exists():
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise InputError(
            f"the run would write {_readable(needed)} but {parent} has {_readable(free)} free; raise "
            "--report-interval, shorten the run, or choose another --output"
        )


def _readable(size: float) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def trajectory_of(path: Path) -> Path:
    """The trajectory of a run folder; a file is one itself."""
    return path / TRAJECTORY if path.is_dir() else path


def read_settings(folder: Path) -> dict[str, Any]:
    """Read ``settings.json``: ``settings``, and what the run was started with; InputError if it cannot be read."""
    path = folder / SETTINGS
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict) or not isinstance(value.get("settings"), dict):
            raise ValueError("not a mapping")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    return value


def read_stored(folder: Path, ensemble: str | None = None) -> dict[str, Any]:
    """Read ``settings.json`` of the run to go on with; InputError if there is none, or one of another ensemble."""
    if not (folder / SETTINGS).is_file():
        raise InputError(f"nothing to restart: {folder} holds no {SETTINGS}; leave out --restart to start a run")
    value = read_settings(folder)
    if ensemble not in (None, value.setdefault("ensemble", "nvt")):
        raise InputError(f"the run in {folder} is no {ensemble} run; go on with run_{value['ensemble']}.py")
    frames = [folder / TRAJECTORY, *folder.glob(f"replica-*/{TRAJECTORY}")]
    if any(path.exists() for path in frames) and not (folder / CHECKPOINT).exists():
        raise InputError(f"nothing to restart from: {folder} holds no {CHECKPOINT}; start anew in another folder")
    return value


def replace_pdb(path: Path, topology: Any, positions: NDArray[np.float64]) -> None:
    """Write (n, 3) positions in nm with their topology, in one go; shifted to the origin where PDB has no room."""
    import openmm.app
    from openmm import unit

    if np.abs(positions).max(initial=0.0) > 90.0:
        positions = positions - positions.mean(axis=0)
    text = io.StringIO()
    openmm.app.PDBFile.writeFile(topology, positions * unit.nanometer, text, keepIds=True)
    write_file(path, text.getvalue())


def write_start(path: Path, atomic_numbers: NDArray[np.int64], positions: NDArray[np.float64]) -> None:
    """Write the structure that the dynamics starts from, (n, 3) in Å, with every digit."""
    rows = [
        f"{chemical_symbols[z]} " + " ".join(repr(float(x)) for x in r)
        for z, r in zip(atomic_numbers, positions, strict=True)
    ]
    write_file(path, "\n".join([str(len(rows)), "start of the dynamics, Angstrom", *rows]) + "\n")


def read_start(path: Path, n_atoms: int) -> NDArray[np.float64]:
    """Read what :func:`write_start` wrote, as (n, 3) positions in nm."""
    try:
        rows = path.read_text(encoding="utf-8").splitlines()[2 : 2 + n_atoms]
        positions = np.array([[float(x) for x in row.split()[1:]] for row in rows]).reshape(n_atoms, 3)
    except (OSError, ValueError):
        raise InputError(f"cannot read {path}, the start of the run; start anew in another folder") from None
    return NM_PER_ANGSTROM * positions
