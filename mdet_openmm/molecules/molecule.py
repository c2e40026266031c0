"""One molecule as every part of the package passes it on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.structure import Structure


@dataclass(frozen=True, init=False)
class Species:
    """What a force field must know of a molecule before it sees a geometry.

    Attributes
    ----------
    atomic_numbers
        (n,) int64, at least one.
    charge
        Total charge in e.
    multiplicity
        Spin multiplicity, 2S + 1.

    Raises
    ------
    InputError
        If the atomic numbers are no list of integers.
    """

    atomic_numbers: NDArray[np.int64]
    charge: int
    multiplicity: int

    def __init__(self, atomic_numbers: ArrayLike, charge: int = 0, multiplicity: int = 1) -> None:
        """Take any list of integers."""
        numbers = np.array(atomic_numbers)
        if numbers.ndim != 1 or len(numbers) == 0 or not np.issubdtype(numbers.dtype, np.integer):
            raise InputError("atomic numbers must be a list with one whole number per atom")
        object.__setattr__(self, "atomic_numbers", numbers.astype(np.int64))
        object.__setattr__(self, "charge", charge)
        object.__setattr__(self, "multiplicity", multiplicity)

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.atomic_numbers)


@dataclass(frozen=True)
class Molecule:
    """Elements, geometry, charge and multiplicity of one free molecule.

    Attributes
    ----------
    atomic_numbers
        (n,) int64.
    positions
        (n, 3) float64 in Å.
    charge
        Total charge in e.
    multiplicity
        Spin multiplicity, 2S + 1.
    name
        For messages and file names.
    smiles
        Where it is known, else None.
    structure
        What the file says that it was read from, else None.
    """

    atomic_numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    charge: int = 0
    multiplicity: int = 1
    name: str = "molecule"
    smiles: str | None = None
    structure: Structure | None = None

    @property
    def species(self) -> Species:
        """The molecule without its geometry."""
        return Species(self.atomic_numbers, self.charge, self.multiplicity)

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.atomic_numbers)
