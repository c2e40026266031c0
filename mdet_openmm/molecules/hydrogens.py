"""Are hydrogens missing? A lower bound on the open valences of a geometry."""

from dataclasses import dataclass

import numpy as np

from mdet_openmm.molecules.bonds import find_bonds, neighbours
from mdet_openmm.molecules.molecule import Molecule

# Only elements whose valence settles how many hydrogens they carry in ordinary molecules.
_VALENCE = {6: 4, 7: 3, 8: 2, 16: 2}
# Covalent radii in Å of double and triple bonds (Pyykkö & Atsumi 2009), for the same elements.
_DOUBLE = {6: 0.67, 7: 0.60, 8: 0.57, 16: 0.94}
_TRIPLE = {6: 0.60, 7: 0.54, 8: 0.53, 16: 0.95}
# How far a bond may be longer than the tabulated one: thermal motion and conjugation, while a plain single bond
# (C-C 1.53, C-O 1.43, C-N 1.47 Å) stays outside.
_DOUBLE_SLACK = 0.16
_TRIPLE_SLACK = 0.12
_N_OXIDE = 1.42
_HALOGENS = (9, 17, 35, 53)
_LINEAR_DEGREES = 145.0


@dataclass(frozen=True)
class OpenValences:
    """How many hydrogens each atom lacks at least, (n,)."""

    per_atom: np.ndarray

    @property
    def total(self) -> int:
        """Sum over the atoms."""
        return int(self.per_atom.sum())

    @property
    def carbene(self) -> int | None:
        """The atom that lacks two or more, if no other lacks any: a carbene or a nitrene, if it is real."""
        lacking = np.flatnonzero(self.per_atom)
        return int(lacking[0]) if len(lacking) == 1 and self.per_atom[lacking[0]] >= 2 else None


def open_valences(molecule: Molecule) -> OpenValences:
    """Valences of C, N, O and S that stay open even with the largest bond orders that the geometry allows.

    The bond orders are bounded by lengths and by angles (an sp atom is linear), not solved for, so that the result
    is a lower bound: CO2, CO, N2, O3, HCN, C2N2, C3O2, nitro groups, azides, isocyanides and ions have 0 (or no
    more than their charge and unpaired electrons account for), benzene or ethanol without hydrogens have many.
    """
    numbers, positions = molecule.atomic_numbers, molecule.positions
    around = neighbours(find_bonds(numbers, positions), len(numbers))
    spare = [_spare(k, numbers, positions, around) for k in range(len(numbers))]
    lacking = np.zeros(len(numbers), dtype=np.int64)
    for k, z in enumerate(numbers):
        if z not in _VALENCE:
            continue
        open_here = _VALENCE[z] - len(around[k])
        partners = sum(
            min(_extra_by_length(k, j, numbers, positions), _partner_spare(k, j, numbers, around, spare))
            for j in around[k]
        )
        lacking[k] = max(0, open_here - min(spare[k], partners))
        if _is_carbon_end_of_isocyanide(k, numbers, positions, around):
            lacking[k] = 0
    return OpenValences(lacking)


def _spare(k: int, numbers: np.ndarray, positions: np.ndarray, around: list[list[int]]) -> int:
    """Multiple bonds that the atom's shape allows, in bond orders above one each."""
    z, degree = int(numbers[k]), len(around[k])
    if z not in _VALENCE:
        return 2
    open_here = max(0, _VALENCE[z] - degree)
    if z == 6 and degree == 2:
        a, b = around[k]
        aryne = any(numbers[j] == 6 and _extra_by_length(k, j, numbers, positions) == 2 for j in (a, b))
        return min(open_here, 2 if aryne or _angle(positions, a, k, b) > _LINEAR_DEGREES else 1)
    return min(open_here, 2)


def _partner_spare(k: int, j: int, numbers: np.ndarray, around: list[list[int]], spare: list[int]) -> int:
    """What atom j can give to a multiple bond with k.

    N, S and all elements without a fixed valence here can exceed it (nitro, N-oxide, sulfone), and the middle
    oxygen of ozone does.
    """
    if numbers[j] == 6:
        return spare[j]
    if numbers[j] == 8:
        middle_of_ozone = numbers[k] == 8 and len(around[j]) == 2
        return max(spare[j], 2 if numbers[k] == 6 and len(around[j]) == 1 else 0, int(middle_of_ozone))
    return 2


def _extra_by_length(i: int, j: int, numbers: np.ndarray, positions: np.ndarray) -> int:
    """Largest bond order above one that the length allows."""
    zi, zj = int(numbers[i]), int(numbers[j])
    if 1 in (zi, zj) or (6 in (zi, zj) and (zi in _HALOGENS or zj in _HALOGENS)):
        return 0
    if zi not in _DOUBLE or zj not in _DOUBLE:
        return 2
    distance = float(np.linalg.norm(positions[i] - positions[j]))
    if distance < _TRIPLE[zi] + _TRIPLE[zj] + _TRIPLE_SLACK:
        return 2
    longest = _N_OXIDE if {zi, zj} == {7, 8} else _DOUBLE[zi] + _DOUBLE[zj] + _DOUBLE_SLACK
    return 1 if distance < longest else 0


def _is_carbon_end_of_isocyanide(k: int, numbers: np.ndarray, positions: np.ndarray, around: list[list[int]]) -> bool:
    """A terminal carbon with a lone pair: R-NC and CO."""
    if numbers[k] != 6 or len(around[k]) != 1:
        return False
    j = around[k][0]
    neighbours_of_partner = {7: 2, 8: 1}.get(int(numbers[j]))
    return len(around[j]) == neighbours_of_partner and _extra_by_length(k, j, numbers, positions) == 2


def _angle(positions: np.ndarray, a: int, centre: int, b: int) -> float:
    """Angle in degrees."""
    u, v = positions[a] - positions[centre], positions[b] - positions[centre]
    cosine = float(np.dot(u, v) / (np.linalg.norm(u) * np.linalg.norm(v)))
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
