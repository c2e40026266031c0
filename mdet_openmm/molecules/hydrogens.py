"""Are hydrogens missing? A lower bound on the open valences of a geometry."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.molecules.bonds import find_bonds, neighbours
from mdet_openmm.molecules.molecule import Molecule

# Elements whose valence settles how many hydrogens they carry in ordinary molecules.
_VALENCE = {6: 4, 7: 3, 8: 2, 16: 2}
# What an atom can reach as the partner of others, charge-separated Lewis structures drawn with multiple bonds.
_LARGEST_VALENCE = {1: 1, 6: 4, 7: 5, 8: 2, 9: 1, 14: 4, 15: 5, 16: 6, 17: 7, 35: 7, 53: 7}
_OTHER_LARGEST_VALENCE = 8
# Electrons that may be taken or added without a trace in the bonds: radical ions, tropylium, dianions of large rings.
_IONIZED = 2
# Elements whose bonds tell charges; those of metals do not.
_COVALENT = {1, 5, 6, 7, 8, 9, 13, 14, 15, 16, 17, 32, 33, 34, 35, 53}
# Bonds beyond these make an atom negative.
_MOST_BONDS = {1: 1, 5: 3, 13: 3, 14: 4, 15: 5, 32: 4}
# Covalent radii in Å of double and triple bonds (Pyykkö & Atsumi 2009).
_DOUBLE = {6: 0.67, 7: 0.60, 8: 0.57, 16: 0.94}
_TRIPLE = {6: 0.60, 7: 0.54, 8: 0.53, 16: 0.95}
# How far a bond may be longer than these: thermal motion and conjugation, while plain single bonds (C-C 1.53,
# C-O 1.43, C-N 1.47 Å) stay outside. The pairs that need another limit have it in _LONGEST_DOUBLE.
_DOUBLE_SLACK = 0.16
_TRIPLE_SLACK = 0.12
_LONGEST_DOUBLE = {
    frozenset((6,)): 1.46,  # between the bonds of naphthalene (1.43) and C-C beside a carbonyl (1.50)
    frozenset((8,)): 1.40,  # ozone 1.28, hydrogen peroxide 1.45
    frozenset((7, 8)): 1.42,  # N-oxides 1.39, hydroxylamine 1.45
    frozenset((8, 16)): 1.75,  # S-O is never long
}
_LINEAR_DEGREES = 145.0
# A carbon with three neighbours is flat if it is at most this far out of their plane (Å; sp3 is 0.4 to 0.5). Between
# two flat atoms a bond may be longer by _FLAT_SLACK and still be multiple: hot frames of aromatic rings.
_FLAT = 0.3
_FLAT_SLACK = 0.10


@dataclass(frozen=True)
class OpenValences:
    """The Lewis structure with the fewest open valences.

    Attributes
    ----------
    lacking
        (n,) hydrogens that each C, N, O and S atom lacks; halves where it could be either of two atoms.
    cations
        Atoms that are positive by their bonds (ammonium, oxonium, sulfonium, phosphonium).
    """

    lacking: NDArray[np.float64]
    cations: int

    @property
    def count(self) -> int:
        """How many there are, rounded up."""
        return int(np.ceil(self.lacking.sum() - 1e-3))

    def unexplained(self, charge: int, multiplicity: int) -> int:
        """Open valences for which neither charges nor unpaired electrons account.

        An open valence is a hydrogen that is missing, an anion (which the cations balance up to the total charge),
        a carbocation, or an unpaired electron.
        """
        ions = max(abs(charge), abs(self.cations - charge))
        return self.count - ions - (multiplicity - 1)


def shown_charge(molecule: Molecule) -> int | None:
    """The charge that the bonds show, if the molecule's contradicts it; else None.

    Two ammonium groups without an anion are +2, which the number of electrons cannot tell from 0. Up to two electrons
    may be taken from a molecule or added to it, which leaves no such trace.
    """
    if not set(molecule.atomic_numbers.tolist()) <= _COVALENT:
        return None
    charge = molecule.charge
    bonds = find_bonds(molecule.atomic_numbers, molecule.positions)
    anions = _anions(molecule.atomic_numbers, neighbours(bonds, molecule.n_atoms))
    shown = None
    for heteroatoms in (False, True):  # where the two readings differ (quinone-iminium, aminophenolate), neither shows
        found = open_valences(molecule, heteroatoms)
        middle, spread = found.cations - anions, found.count + molecule.multiplicity - 1
        spread += (middle + spread - charge) % 2  # half an open valence was drawn on an odd ring
        least, greatest = middle - spread, middle + spread
        if least > max(0, charge) or charge < least - _IONIZED:
            shown = least
        elif greatest < min(0, charge) or charge > greatest + _IONIZED:
            shown = greatest
        else:
            return None
    return shown


def open_valences(molecule: Molecule, heteroatoms: bool = False) -> OpenValences:
    """How many hydrogens each C, N, O and S atom lacks at least.

    Bond orders x ≥ 1 are chosen so that the sum of open valences is least (a linear programme), within what the
    geometry allows: an order above one needs a short bond, two of them on one carbon need a linear atom, and no atom
    exceeds its largest valence. So CO2, CO, N2, O3, HCN, C2N2, C3O2, nitro groups, azides and isocyanides lack
    nothing, ions and radicals what their charge and unpaired electrons account for, benzene without hydrogens six.

    Parameters
    ----------
    molecule
        Of any charge.
    heteroatoms
        Rather leave a valence of N, O or S open (an anion) than make N, P or S positive; carbon's still are not.
    """
    from scipy.optimize import linprog  # type: ignore[import-untyped, unused-ignore]
    from scipy.sparse import bmat, csr_matrix, identity  # type: ignore[import-untyped, unused-ignore]

    numbers, n = molecule.atomic_numbers, molecule.n_atoms
    bonds = find_bonds(numbers, molecule.positions)
    around = neighbours(bonds, n)
    extra = np.array([_largest_extra(int(i), int(j), molecule, around) for i, j in bonds], dtype=np.float64)
    lacking = np.array([max(0, _VALENCE.get(int(z), 0) - len(a)) for z, a in zip(numbers, around, strict=True)])
    for k in np.flatnonzero(lacking):
        if _has_lone_pair_carbon(int(k), molecule, around):
            lacking[k] -= 2
    room = np.array([_room(k, molecule, around) for k in range(n)], dtype=np.float64)
    useful = np.flatnonzero((extra > 0) & (room[bonds[:, 0]] > 0) & (room[bonds[:, 1]] > 0))
    degree = np.array([len(a) for a in around])
    if not len(useful) or not lacking.any():
        return OpenValences(lacking.astype(np.float64), int(_cations(numbers, degree).sum()))
    # Unknowns: the extra order x of each useful bond, what each atom lacks (y), and what it has too much (z).
    # Least cost with  lacking - y <= sum of x at an atom <= lacking + z,  sum of x <= room,  0 <= x <= extra;
    # x costs a little, so that no multiple bond is drawn in vain.
    m = len(useful)
    ends = bonds[useful]
    incidence = csr_matrix((np.ones(2 * m), (ends.reshape(-1), np.repeat(np.arange(m), 2))), shape=(n, m))
    atoms, none = identity(n), csr_matrix((n, n))
    terminal = np.isin(numbers, (7, 8, 16)) & (degree == 1)
    cost_lacking, cost_excess = np.ones(n), np.zeros(n)
    if heteroatoms:
        # Nitro groups, azides, sulfones: drawn without charges, as in the other reading.
        beside_terminal = np.array([any(terminal[a]) for a in around])
        cost_lacking[numbers != 6] = 0.5
        cost_excess[np.isin(numbers, (7, 15, 16)) & ~beside_terminal] = 0.7
    solution = linprog(
        np.concatenate([np.full(m, 1e-3), cost_lacking, cost_excess]),
        A_ub=bmat([[incidence, none, none], [-incidence, -atoms, none], [incidence, none, -atoms]], format="csr"),
        b_ub=np.concatenate([room, -lacking, lacking]),
        bounds=[(0.0, float(x)) for x in extra[useful]] + [(0.0, None)] * (2 * n),
        method="highs",
    )
    lacking = np.asarray(np.round(solution.x[m : m + n], 6), dtype=np.float64)
    cations = _cations(numbers, degree + np.round(incidence @ solution.x[:m]).astype(np.int64))
    if heteroatoms:
        # A double bond to a terminal oxygen that makes its partner positive may as well be a single one to an anion
        # (NO2+ and NO2-).
        double = ends[solution.x[:m] > 0.5]
        double = np.concatenate([double, double[:, ::-1]])
        oxo = np.unique(double[(terminal & (numbers != 7))[double[:, 0]], 1])
        oxo = oxo[cations[oxo]]
        cations[oxo], lacking[oxo] = False, lacking[oxo] + 1
    return OpenValences(lacking, int(cations.sum()))


def _cations(numbers: NDArray[np.int64], valences: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Atoms of group 15 with four bonds, of group 16 with three or five; others count as drawn without charges."""
    group_15, group_16 = np.isin(numbers, (7, 15)), np.isin(numbers, (8, 16))
    found: NDArray[np.bool_] = (group_15 & (valences == 4)) | (group_16 & np.isin(valences, (3, 5)))
    return found


def _anions(numbers: NDArray[np.int64], around: list[list[int]]) -> int:
    """Bonds beyond the valence of hydrogen (shared by two atoms), boron, aluminium, silicon and phosphorus.

    Not those of three centres and two electrons, as in diborane.
    """
    boron, bridging = (5, 13), (1, 9, 17, 35)
    found = 0
    for z, near in zip(numbers.tolist(), around, strict=True):
        bridges = z in boron and any(numbers[j] in bridging and len(around[j]) > 1 for j in near)
        if z in _MOST_BONDS and not bridges and not any(numbers[j] in boron for j in near):
            found += max(0, len(near) - _MOST_BONDS[z])
    return found


def carbene_atom(molecule: Molecule, lacking: NDArray[np.float64]) -> int | None:
    """The atom that alone lacks two or more, if it can be a real carbene or nitrene.

    One beside a carbon at single-bond length would rearrange at once, and one at the end of a molecule without any
    hydrogen is rather methanol or formaldehyde stripped of them; there, hydrogens are missing.
    """
    where = np.flatnonzero(lacking)
    if len(where) != 1 or lacking[where[0]] < 2 or molecule.atomic_numbers[where[0]] not in (6, 7):
        return None
    k = int(where[0])
    around = neighbours(find_bonds(molecule.atomic_numbers, molecule.positions), molecule.n_atoms)
    if len(around[k]) < 2 and not np.any(molecule.atomic_numbers == 1):
        return None
    carbons = [j for j in around[k] if molecule.atomic_numbers[j] == 6]
    return None if any(_order_by_length(k, j, molecule) == 0 for j in carbons) else k


def _room(k: int, molecule: Molecule, around: list[list[int]]) -> int:
    """Bond orders above one each that the atom can take part in."""
    z, degree = int(molecule.atomic_numbers[k]), len(around[k])
    room = max(0, _LARGEST_VALENCE.get(z, _OTHER_LARGEST_VALENCE) - degree)
    if z == 6 and degree == 2 and not _is_linear(k, molecule, around):
        # A bent carbon is sp2 at most, except in arynes.
        aryne = any(molecule.atomic_numbers[j] == 6 and _order_by_length(k, j, molecule) == 2 for j in around[k])
        return 2 if aryne else 1
    if z == 8:
        carbon_monoxide = degree == 1 and molecule.atomic_numbers[around[k][0]] == 6
        ozone = degree == 2 and any(molecule.atomic_numbers[j] == 8 and len(around[j]) == 1 for j in around[k])
        return 2 if carbon_monoxide else max(room, 2 * int(ozone))
    return min(room, 2) if z == 6 else room


def _largest_extra(i: int, j: int, molecule: Molecule, around: list[list[int]]) -> int:
    """Largest order above one of a bond; at a linear carbon or nitrogen it is one more than its length says."""
    by_length = _order_by_length(i, j, molecule)
    if 1 in (molecule.atomic_numbers[i], molecule.atomic_numbers[j]):
        return 0
    sp = any(molecule.atomic_numbers[k] in (6, 7) and _is_linear(k, molecule, around) for k in (i, j))
    flat = all(_is_flat(k, molecule, around) for k in (i, j))
    return max(min(2, by_length + int(sp)), _order_by_length(i, j, molecule, _FLAT_SLACK) if flat else 0)


def _order_by_length(i: int, j: int, molecule: Molecule, slack: float = 0.0) -> int:
    """Largest order above one that the length of a bond allows, with more slack in Å for a double bond."""
    zi, zj = int(molecule.atomic_numbers[i]), int(molecule.atomic_numbers[j])
    if 1 in (zi, zj) or (6 in (zi, zj) and {zi, zj} & {9, 17, 35, 53}):
        return 0
    if zi not in _DOUBLE or zj not in _DOUBLE:
        return 2
    distance = float(np.linalg.norm(molecule.positions[i] - molecule.positions[j]))
    if distance < _TRIPLE[zi] + _TRIPLE[zj] + _TRIPLE_SLACK:
        return 2
    longest = _LONGEST_DOUBLE.get(frozenset((zi, zj)), _DOUBLE[zi] + _DOUBLE[zj] + _DOUBLE_SLACK)
    return int(distance < longest + slack)


def _has_lone_pair_carbon(k: int, molecule: Molecule, around: list[list[int]]) -> bool:
    """A terminal carbon with a lone pair: R-NC, CO and CS."""
    if molecule.atomic_numbers[k] != 6 or len(around[k]) != 1:
        return False
    j = around[k][0]
    degree = {7: 2, 8: 1, 16: 1}.get(int(molecule.atomic_numbers[j]))
    return len(around[j]) == degree and _order_by_length(k, j, molecule) == 2


def _is_linear(k: int, molecule: Molecule, around: list[list[int]]) -> bool:
    """Two neighbours, opposite each other."""
    if len(around[k]) != 2:
        return False
    u, v = (molecule.positions[j] - molecule.positions[k] for j in around[k])
    cosine = float(np.dot(u, v) / (np.linalg.norm(u) * np.linalg.norm(v)))
    return cosine < np.cos(np.radians(_LINEAR_DEGREES))


def _is_flat(k: int, molecule: Molecule, around: list[list[int]]) -> bool:
    """A carbon in the plane of its three neighbours, or a nitrogen with fewer than four neighbours."""
    if molecule.atomic_numbers[k] == 7:
        return len(around[k]) < 4
    if molecule.atomic_numbers[k] != 6 or len(around[k]) != 3:
        return False
    a, b, c = (molecule.positions[j] - molecule.positions[k] for j in around[k])
    normal = np.cross(b - a, c - a)
    return abs(float(np.dot(a, normal))) < _FLAT * float(np.linalg.norm(normal))
