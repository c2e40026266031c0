"""The trajectory that a benchmark compares with, and starts from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.trajectories import elements_of, one_line, read_dcd
from mdet_openmm.simulation.ended_run import read_run
from mdet_openmm.simulation.run_folder import TOPOLOGY

NPZ_NUMBERS = ("z", "nuclear_charges", "atomic_numbers")
NPZ_POSITIONS = ("R", "coords", "positions")
"""Names in the archives of MD17, of rMD17, and ours."""


@dataclass(frozen=True)
class ReferenceTrajectory:
    """A trajectory of one molecule.

    Attributes
    ----------
    name
        For tables and folders.
    atomic_numbers
        (n,) int64.
    positions
        (f, n, 3) in Å, finite.
    """

    name: str
    atomic_numbers: NDArray[np.int64]
    positions: NDArray[np.float64]


def read_trajectory(path: Path) -> ReferenceTrajectory:
    """Read a reference.

    Parameters
    ----------
    path
        XYZ or extended XYZ; an archive of MD17, of rMD17 or with ``atomic_numbers`` and ``positions`` in Å (npz); a
        DCD, with its topology in a PDB of the same name or in ``topology.pdb`` beside it; or a run folder.

    Raises
    ------
    InputError
        If it cannot be read, is empty, or has positions that are not finite or frames of different molecules.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"the reference {path} does not exist")
    kind = path.suffix.lower()
    name = path.stem
    if path.is_dir():
        run = read_run(path)
        name, numbers, positions = path.resolve().name, run.atomic_numbers, run.positions
    elif kind in (".xyz", ".extxyz"):
        numbers, positions = _read_xyz(path)
    elif kind == ".npz":
        numbers, positions = _read_npz(path)
    elif kind == ".dcd":
        numbers, positions = _read_dcd(path)
    else:
        raise InputError(f"the reference {path} is none of xyz, extxyz, npz, dcd or a run folder")
    if positions.ndim != 3 or positions.shape[1:] != (len(numbers), 3) or not len(positions) or not len(numbers):
        raise InputError(f"the reference {path} has positions of shape {positions.shape} for {len(numbers)} atoms")
    if not np.isfinite(positions).all():
        raise InputError(f"the reference {path} has positions that are not finite")
    if numbers.min() < 1 or numbers.max() > 118:
        raise InputError(f"the reference {path} does not tell the elements of all atoms")
    return ReferenceTrajectory(name, numbers, positions)


def _read_xyz(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    import ase.io

    try:
        frames = ase.io.read(path, index=":", format="extxyz")
    except Exception as error:  # ase's readers raise many kinds
        raise InputError(f"cannot read the reference {path}: {one_line(error)}") from None
    if not frames:
        raise InputError(f"the reference {path} has no frames")
    numbers = frames[0].numbers.astype(np.int64)
    if any(not np.array_equal(frame.numbers, numbers) for frame in frames):
        raise InputError(f"the reference {path} has frames of different molecules")
    return numbers, np.stack([frame.positions for frame in frames]).astype(np.float64)


def _read_npz(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            numbers = next((archive[name] for name in NPZ_NUMBERS if name in archive), None)
            positions = next((archive[name] for name in NPZ_POSITIONS if name in archive), None)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the reference {path}: {one_line(error)}") from None
    if numbers is None or positions is None:
        raise InputError(
            f"the reference {path} needs an array {' or '.join(NPZ_NUMBERS)} and an array {' or '.join(NPZ_POSITIONS)}"
        )
    return np.asarray(numbers, dtype=np.int64).reshape(-1), np.asarray(positions, dtype=np.float64)


def _read_dcd(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    import mdtraj

    found = [p for p in (path.with_suffix(".pdb"), path.with_name(TOPOLOGY)) if p.is_file()]
    if not found:
        raise InputError(f"the reference {path} needs its topology: {path.stem}.pdb or {TOPOLOGY} beside it")
    try:
        topology = mdtraj.load_topology(str(found[0]))
    except Exception as error:  # mdtraj raises whatever its readers and the file's contents lead to
        raise InputError(f"cannot read {found[0]}: {one_line(error)}") from None
    return elements_of(topology), read_dcd(path).astype(np.float64)
