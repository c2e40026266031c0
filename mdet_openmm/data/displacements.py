"""Displaced copies of a frame: what dynamics at moderate temperatures would not reach."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.data.config import Displacement
from mdet_openmm.molecules.bonds import connected_fragments

Array = NDArray[np.float64]
Bonds = NDArray[np.int64]

SINGLE_BOND = 0.91
"""A bond longer than this many sums of covalent radii is single: C=C 0.875, C=N 0.86, amide C-N 0.93, C-C 1.0."""


def bond_distances(n_atoms: int, bonds: Bonds) -> NDArray[np.int64]:
    """(n, n) number of bonds on the shortest path between two atoms; n where there is none."""
    steps = np.full((n_atoms, n_atoms), n_atoms, dtype=np.int64)
    np.fill_diagonal(steps, 0)
    for i, j in bonds:
        steps[i, j] = steps[j, i] = 1
    for k in range(n_atoms):
        steps = np.minimum(steps, steps[:, k : k + 1] + steps[k : k + 1, :])
    return np.minimum(steps, n_atoms)


def with_contacts(positions: Array, bonds: Bonds) -> Bonds:
    """The bonds, and between separate molecules one between their closest atoms, to be stretched and turned about."""
    found = list(map(tuple, bonds))
    while len(fragments := connected_fragments(np.array(found, dtype=np.int64).reshape(-1, 2), len(positions))) > 1:
        first, rest = np.array(fragments[0]), np.array(sorted(i for f in fragments[1:] for i in f))
        apart = np.linalg.norm(positions[first][:, None] - positions[rest], axis=2)
        i, j = np.unravel_index(np.argmin(apart), apart.shape)
        found.append(tuple(sorted((int(first[i]), int(rest[j])))))
    return np.array(found, dtype=np.int64).reshape(-1, 2)


class Displacer:
    """Displaces frames of one molecule.

    Parameters
    ----------
    atomic_numbers
        (n,).
    positions
        (n, 3) start structure in Å; tells single bonds from multiple ones.
    bonds
        (m, 2) pairs of bonded atoms.
    displacements
        What may be done; kinds that the molecule has no use for (a torsion of methane) are left out.
    """

    def __init__(
        self, atomic_numbers: NDArray[np.int64], positions: Array, bonds: Bonds, displacements: Sequence[Displacement]
    ) -> None:
        from ase.data import vdw_radii

        n = len(atomic_numbers)
        bonds = with_contacts(positions, bonds)
        self._bonds = bonds
        self._steps = bond_distances(n, bonds)
        radii = np.nan_to_num(vdw_radii[atomic_numbers], nan=2.0)
        self._contact = radii[:, None] + radii[None, :]
        self._sides = [self._side_of(n, bond) for bond in range(len(bonds))]
        self._pairs = np.argwhere(np.triu(self._steps >= 3))
        self._torsions = [b for b in range(len(bonds)) if self._turns(atomic_numbers, positions, b)]
        usable = {
            "gaussian": True,
            "scale": n > 1,
            "stretch": len(bonds) > 0,
            "torsion": len(self._torsions) > 0,
            "contact": len(self._pairs) > 0,
        }
        self._kinds = [d for d in displacements if usable[d.kind]]
        weights = np.array([d.weight for d in self._kinds])
        self._shares = weights / weights.sum() if len(weights) else weights

    def _side_of(self, n: int, bond: int) -> NDArray[np.bool_] | None:
        """Atoms on the second atom's side of a bond, or None where the bond is in a ring."""
        steps = bond_distances(n, np.delete(self._bonds, bond, axis=0))
        i, j = self._bonds[bond]
        return None if steps[i, j] < n else steps[j] < n

    def _turns(self, atomic_numbers: NDArray[np.int64], positions: Array, bond: int) -> bool:
        """Whether turning about a bond leads somewhere sensible: a single bond, with something to turn at both ends."""
        from ase.data import covalent_radii

        i, j = self._bonds[bond]
        axis = positions[j] - positions[i]
        length = float(np.linalg.norm(axis))
        if self._sides[bond] is None or length < SINGLE_BOND * covalent_radii[atomic_numbers[[i, j]]].sum():
            return False
        for centre, other in ((i, j), (j, i)):
            neighbours = np.flatnonzero((self._steps[centre] == 1) & (np.arange(len(positions)) != other))
            arms = np.cross(positions[neighbours] - positions[centre], axis / length)
            if not (np.linalg.norm(arms, axis=1) > 0.3).any():  # nothing there, or only atoms in line with the bond
                return False
        return True

    @property
    def any(self) -> bool:
        """Whether there is anything to do for this molecule."""
        return bool(self._kinds)

    def draw(self, positions: Array, rng: np.random.Generator) -> tuple[str, Array]:
        """A displaced copy of (n, 3) positions in Å, and the kind of displacement."""
        choice = self._kinds[int(rng.choice(len(self._kinds), p=self._shares))]
        size = float(rng.uniform(choice.low, choice.high))
        if choice.kind == "gaussian":
            return choice.kind, positions + size * rng.standard_normal(positions.shape)
        if choice.kind == "scale":
            return choice.kind, positions.mean(axis=0) + size * (positions - positions.mean(axis=0))
        if choice.kind == "stretch":
            return choice.kind, self.stretch(positions, int(rng.integers(len(self._bonds))), size)
        if choice.kind == "torsion":
            return choice.kind, self.torsion(positions, int(rng.choice(self._torsions)), size)
        return choice.kind, self.contact(positions, int(rng.integers(len(self._pairs))), size)

    def stretch(self, positions: Array, bond: int, factor: float) -> Array:
        """Change the length of a bond; both sides move rigidly, or the two atoms alone in a ring."""
        i, j = self._bonds[bond]
        shift = 0.5 * (factor - 1.0) * (positions[j] - positions[i])
        moved = positions.copy()
        side = self._sides[bond]
        if side is None:
            moved[i] -= shift
            moved[j] += shift
        else:
            moved[side] += shift
            moved[~side] -= shift
        return moved

    def torsion(self, positions: Array, bond: int, degrees: float) -> Array:
        """Turn one side of a bond about it."""
        i, j = self._bonds[bond]
        axis = positions[j] - positions[i]
        axis = axis / np.linalg.norm(axis)
        angle = np.deg2rad(degrees)
        side = self._sides[bond]
        arm = positions[side] - positions[j]
        along = (arm @ axis)[:, None] * axis
        moved = positions.copy()
        moved[side] = positions[j] + along + np.cos(angle) * (arm - along) + np.sin(angle) * np.cross(axis, arm)
        return moved

    def contact(self, positions: Array, pair: int, factor: float) -> Array:
        """Bring two atoms, three bonds or more apart, to ``factor`` times the sum of their van der Waals radii.

        Their neighbours follow, half as far for each bond between, so that bonds are strained little.
        """
        i, j = self._pairs[pair]
        axis = positions[j] - positions[i]
        distance = float(np.linalg.norm(axis))
        follow = 0.5 ** self._steps[i] - 0.5 ** self._steps[j]
        approach = (distance - factor * self._contact[i, j]) / (2.0 * follow[i])
        moved: Array = positions + approach * follow[:, None] * (axis / distance)
        return moved
