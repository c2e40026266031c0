"""What is odd about a geometry: bonds far from the sum of covalent radii, and atoms that are not bonded but touch."""

import numpy as np
from ase.data import chemical_symbols, vdw_radii
from numpy.typing import NDArray

from mdet_openmm.molecules.bonds import close_pairs, covalent_radii, find_bonds, neighbours, pair_distances

STRETCHED_A = 0.2
"""Å beyond the sum of covalent radii. Of stable bonds only those of F2 and its like are longer."""
COMPRESSED = 0.74
"""Part of that sum. The shortest stable bonds are triple ones: N2 has 0.77, HCN 0.79."""
TOUCHING = 0.55
"""Part of the sum of van der Waals radii. Short hydrogen bonds have 0.6, crowded hydrogens 0.65."""


def strain(atomic_numbers: NDArray[np.int64], positions: NDArray[np.float64]) -> list[str]:
    """One phrase for each oddity, the worst first; none for a structure that is near a minimum.

    Parameters
    ----------
    atomic_numbers
        (n,).
    positions
        (n, 3) in Å.
    """
    bonds = find_bonds(atomic_numbers, positions)
    radii = covalent_radii(atomic_numbers)
    found: list[tuple[float, str]] = []
    for (i, j), length in zip(bonds.tolist(), pair_distances(positions, bonds).tolist(), strict=True):
        usual = float(radii[i] + radii[j])
        if length > usual + STRETCHED_A or length < COMPRESSED * usual:
            text = f"the bond {_pair(atomic_numbers, i, j)} is {length:.2f} Å long, by covalent radii {usual:.2f} Å"
            found.append((abs(length - usual), text))
    found += _contacts(atomic_numbers, positions, bonds)
    return [text for _, text in sorted(found, key=lambda each: -each[0])]


def _contacts(
    atomic_numbers: NDArray[np.int64], positions: NDArray[np.float64], bonds: NDArray[np.int64]
) -> list[tuple[float, str]]:
    """Pairs more than two bonds apart that are too near each other, and by how much in Å."""
    around = neighbours(bonds, len(atomic_numbers))
    radii = np.nan_to_num(np.asarray(vdw_radii[atomic_numbers], dtype=np.float64), nan=2.0)
    found = []
    pairs = close_pairs(positions, 2.0 * TOUCHING * float(radii.max(initial=0.0)))
    for (i, j), distance in zip(pairs.tolist(), pair_distances(positions, pairs).tolist(), strict=True):
        usual = float(radii[i] + radii[j])
        if distance < TOUCHING * usual and j not in around[i] and not set(around[i]) & set(around[j]):
            text = f"{_pair(atomic_numbers, i, j)}, not bonded, are {distance:.2f} Å apart"
            found.append((TOUCHING * usual - distance, text))
    return found


def _pair(atomic_numbers: NDArray[np.int64], i: int, j: int) -> str:
    return "–".join(f"{chemical_symbols[atomic_numbers[k]]}{k + 1}" for k in (i, j))
