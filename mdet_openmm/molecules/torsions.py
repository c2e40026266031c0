"""A dihedral of a molecule: which four atoms, what turns with it, its angle."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.bonds import find_bonds, neighbours
from mdet_openmm.molecules.molecule import Molecule

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Torsion:
    """A dihedral along three bonds, the middle one of which can turn.

    Attributes
    ----------
    atoms
        Four indices from 0.
    side
        Indices of what turns: all that hangs at the third atom's end of the middle bond.
    """

    atoms: tuple[int, int, int, int]
    side: tuple[int, ...]

    def angle(self, positions: Array) -> float:
        """In degrees, −180 to 180, of (n, 3) positions in any unit; 0 is cis."""
        a, b, c = np.diff(positions[list(self.atoms)], axis=0)
        first, second = np.cross(a, b), np.cross(b, c)
        return float(np.degrees(np.arctan2(a @ second * np.linalg.norm(b), first @ second)))

    def turned(self, positions: Array, degrees: float) -> Array:
        """(n, 3) positions with the side turned by so much, everything else in its place."""
        from scipy.spatial.transform import Rotation  # type: ignore[import-untyped, unused-ignore]

        rotation = Rotation.from_rotvec(np.radians(degrees) * self.axis(positions)).as_matrix()
        origin, side = positions[self.atoms[1]], list(self.side)
        moved = positions.copy()
        moved[side] = (positions[side] - origin) @ rotation.T + origin
        return moved

    def axis(self, positions: Array) -> Array:
        """Unit vector along the middle bond."""
        axis = positions[self.atoms[2]] - positions[self.atoms[1]]
        return np.asarray(axis / np.linalg.norm(axis))

    def tangent(self, positions: Array) -> Array:
        """(n, 3) derivative of `turned` by the angle in radians, in the unit of the positions."""
        found, side = np.zeros_like(positions), list(self.side)
        found[side] = np.cross(self.axis(positions), positions[side] - positions[self.atoms[1]])
        return found


def read_torsion(text: str, molecule: Molecule) -> Torsion:
    """The torsion that a user names, such as ``9-3-2-1``, atoms counted from 1.

    Raises
    ------
    InputError
        If these are not four atoms along three bonds, or if the middle bond is part of a ring or the chain is straight.
    """
    try:
        atoms = tuple(int(part) - 1 for part in text.replace(",", "-").split("-"))
    except ValueError:
        atoms = ()
    if len(atoms) != 4 or len(set(atoms)) != 4 or not all(0 <= a < molecule.n_atoms for a in atoms):
        raise InputError(
            f"a dihedral is four different atoms counted from 1 to {molecule.n_atoms}, such as 9-3-2-1, not {text!r}"
        )
    bonds = find_bonds(molecule.atomic_numbers, molecule.positions)
    around = neighbours(bonds, molecule.n_atoms)
    for one, other in pairwise(atoms):
        if other not in around[one]:
            raise InputError(f"the atoms {one + 1} and {other + 1} of the dihedral {text} are not bonded")
    side, waiting = {atoms[2]}, [atoms[2]]
    while waiting:
        here = waiting.pop()
        for there in around[here]:
            if there not in side and (here, there) != (atoms[2], atoms[1]):
                side.add(there)
                waiting.append(there)
    if atoms[1] in side:
        raise InputError(f"the bond between the atoms {atoms[1] + 1} and {atoms[2] + 1} is part of a ring")
    for i in (0, 1):
        one, middle, other = molecule.positions[list(atoms[i : i + 3])]
        if np.linalg.norm(np.cross(middle - one, other - middle)) < 0.05:
            raise InputError(f"three of the atoms of the dihedral {text} lie on a line; it has no angle")
    return Torsion((atoms[0], atoms[1], atoms[2], atoms[3]), tuple(sorted(side)))
