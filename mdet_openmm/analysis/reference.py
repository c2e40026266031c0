"""The trajectory that a run is compared with."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.trajectories import elements_of, one_line, read_dcd
from mdet_openmm.simulation.ended_run import Run, read_run
from mdet_openmm.units import ANGSTROM_PER_NM

if TYPE_CHECKING:
    import mdtraj


@dataclass(frozen=True)
class Reference:
    """What a run is compared with; `interval_fs` and `temperature` (K) are None where the file does not tell them."""

    path: Path
    trajectory: "mdtraj.Trajectory"
    interval_fs: float | None
    temperature: float | None = None

    @property
    def positions(self) -> NDArray[np.float64]:
        """(f, n, 3) in Å."""
        return self.trajectory.xyz.astype(np.float64) * ANGSTROM_PER_NM


def read_reference(path: Path, run: Run) -> Reference:
    """Read the trajectory that a run is compared with.

    Parameters
    ----------
    path
        Run folder, or a file: XYZ and extended XYZ, or anything that mdtraj reads (topology taken from the run).
    run
        What it must fit, atom by atom.

    Returns
    -------
    Reference
        Its trajectory has the topology of the run.

    Raises
    ------
    InputError
        If it cannot be read or has other atoms.
    """
    import mdtraj

    path = Path(path)
    if not path.exists():
        raise InputError(f"the reference {path} does not exist")
    top = run.trajectory.topology
    interval, temperature = None, None
    if path.is_dir():
        other = read_run(path)
        numbers, xyz, interval = other.atomic_numbers, other.trajectory.xyz, other.interval_fs
        temperature = other.spectral_temperature
    elif path.suffix.lower() in (".xyz", ".extxyz"):
        numbers, xyz = _read_xyz(path)
    elif path.suffix.lower() == ".dcd":
        xyz = read_dcd(path) / ANGSTROM_PER_NM
        numbers = run.atomic_numbers if xyz.shape[1] == len(run.atomic_numbers) else np.zeros(0, dtype=np.int64)
    else:
        try:
            loaded = mdtraj.load(str(path)) if path.suffix.lower() == ".pdb" else mdtraj.load(str(path), top=top)
        except Exception as error:  # mdtraj raises whatever its readers and the file's contents lead to
            raise InputError(f"cannot read the reference {path}: {one_line(error)}") from None
        numbers, xyz = elements_of(loaded.topology), loaded.xyz
    if not np.array_equal(numbers, run.atomic_numbers):
        raise InputError(f"the reference {path} has other atoms, or another order of them, than {run.folder}")
    if len(xyz) == 0:
        raise InputError(f"the reference {path} has no frames")
    if not np.isfinite(xyz).all():
        raise InputError(f"the reference {path} has positions that are not finite")
    return Reference(path, mdtraj.Trajectory(np.asarray(xyz, dtype=np.float32), top), interval, temperature)


def _read_xyz(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    import ase.io

    try:
        frames = ase.io.read(path, index=":", format="extxyz")
    except Exception as error:  # ase's readers raise many kinds
        raise InputError(f"cannot read the reference {path}: {one_line(error)}") from None
    if not frames:
        raise InputError(f"the reference {path} has no frames")
    numbers = frames[0].numbers.astype(np.int64)
    if any(not np.array_equal(f.numbers, numbers) for f in frames):
        raise InputError(f"the reference {path} has frames of different molecules")
    return numbers, np.stack([f.positions for f in frames]) / ANGSTROM_PER_NM
