"""One molecule as every part of the package passes it on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.molecules.structure import Structure


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
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.atomic_numbers)
