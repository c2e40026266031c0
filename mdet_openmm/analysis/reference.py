"""The trajectory that a run is compared with."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.trajectories import read_trajectory
from mdet_openmm.simulation.ended_run import Run, read_run
from mdet_openmm.units import ANGSTROM_PER_NM

if TYPE_CHECKING:
    import mdtraj


@dataclass(frozen=True)
class Reference:
    """What a run is compared with.

    Attributes
    ----------
    path
        Where it was read from.
    topology
        mdtraj's, of the run.
    positions
        (f, n, 3) in Å.
    interval_fs, temperature
        Of a run folder; None for files, which do not tell them.
    """

    path: Path
    topology: "mdtraj.Topology"
    positions: NDArray[np.float64]
    interval_fs: float | None = None
    temperature: float | None = None

    @cached_property
    def trajectory(self) -> "mdtraj.Trajectory":
        """mdtraj's, in nm and single precision."""
        import mdtraj

        return mdtraj.Trajectory(self.positions / ANGSTROM_PER_NM, self.topology)


def read_reference(path: Path, run: Run) -> Reference:
    """Read the trajectory that a run is compared with.

    Parameters
    ----------
    path
        Run folder, or a file that `read_trajectory` reads.
    run
        What it must fit, atom by atom.

    Raises
    ------
    InputError
        If it cannot be read or has other atoms.
    """
    path = Path(path)
    if not path.is_dir():
        molecule = Molecule(run.atomic_numbers, run.positions[0], name=str(run.folder))
        return Reference(path, run.topology, read_trajectory(path, molecule).positions)
    other = read_run(path)
    if not np.array_equal(other.atomic_numbers, run.atomic_numbers):
        raise InputError(f"{path} has other atoms, or another order of them, than {run.folder}")
    return Reference(path, run.topology, other.positions, other.interval_fs, other.spectral_temperature)
