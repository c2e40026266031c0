"""Bonds from distances, and the angles, dihedrals and fragments that follow from them."""

import numpy as np
from numpy.typing import NDArray

SKIN = 0.15
"""Å added to each atom's covalent radius.

`natural_cutoffs` are bare covalent radii, shorter than many real bonds (C-C 1.52 Å), so that a skin is always
added; ASE's neighbour list has 0.3 Å, which bonds atoms across four-membered rings (2.1 Å).
"""


def covalent_radii(atomic_numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Covalent radii in Å (Cordero et al. 2008), the ones of ASE's `natural_cutoffs`; shape (n,)."""
    from ase.data import covalent_radii as table

    return np.asarray(table[np.asarray(atomic_numbers, dtype=np.int64)], dtype=np.float64)


def close_pairs(positions: NDArray[np.float64], cutoff: float) -> NDArray[np.int64]:
    """Pairs i < j nearer than the cutoff in Å, sorted; shape (m, 2). Cost grows with n, not n²."""
    from scipy.spatial import cKDTree  # type: ignore[import-untyped, unused-ignore]

    if len(positions) < 2:
        return np.zeros((0, 2), dtype=np.int64)
    pairs = cKDTree(positions).query_pairs(cutoff, output_type="ndarray")
    pairs = np.sort(np.asarray(pairs, dtype=np.int64).reshape(-1, 2), axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def pair_distances(positions: NDArray[np.float64], pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Distances in Å of index pairs (m, 2); shape (m,)."""
    return np.linalg.norm(positions[pairs[:, 0]] - positions[pairs[:, 1]], axis=1)


def find_bonds(
    atomic_numbers: NDArray[np.int64], positions: NDArray[np.float64], skin: float = SKIN
) -> NDArray[np.int64]:
    """Bonds of one geometry: distance below the sum of covalent radii plus twice the skin.

    The bonds of a run are those of its first frame (Fu et al., "Forces are not enough", TMLR 2023).

    Parameters
    ----------
    atomic_numbers
        (n,).
    positions
        (n, 3) in Å.
    skin
        Å per atom; more of it only to ask whether atoms belong together at all.

    Returns
    -------
    (m, 2) int64
        Pairs i < j in lexicographic order.
    """
    reach = covalent_radii(atomic_numbers) + skin
    pairs = close_pairs(positions, 2.0 * float(reach.max(initial=0.0)))
    near = pair_distances(positions, pairs) < reach[pairs[:, 0]] + reach[pairs[:, 1]]
    return pairs[near]


def neighbours(bonds: NDArray[np.int64], n_atoms: int) -> list[list[int]]:
    """For each atom the sorted indices of the atoms bonded to it."""
    found: list[list[int]] = [[] for _ in range(n_atoms)]
    for i, j in bonds:
        found[i].append(int(j))
        found[j].append(int(i))
    return [sorted(each) for each in found]


def angle_triples(bonds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bond angles (i, centre, k) with i < k, sorted; shape (a, 3)."""
    around = neighbours(bonds, int(bonds.max(initial=-1)) + 1)
    triples = [
        (around[centre][a], centre, around[centre][b])
        for centre in range(len(around))
        for a in range(len(around[centre]))
        for b in range(a + 1, len(around[centre]))
    ]
    return np.array(sorted(triples), dtype=np.int64).reshape(-1, 3)


def dihedral_quadruples(bonds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Proper dihedrals (i, j, k, l) along the bonds i-j, j-k, k-l with j < k, sorted; shape (d, 4)."""
    around = neighbours(bonds, int(bonds.max(initial=-1)) + 1)
    quadruples = [
        (i, int(j), int(k), m)
        for j, k in np.sort(bonds, axis=1)
        for i in around[j]
        for m in around[k]
        if i != k and m != j and i != m
    ]
    return np.array(sorted(quadruples), dtype=np.int64).reshape(-1, 4)


def connected_fragments(bonds: NDArray[np.int64], n_atoms: int) -> list[list[int]]:
    """Sets of atoms that are connected by bonds, each sorted, ordered by their first atom."""
    from scipy.sparse import coo_matrix  # type: ignore[import-untyped, unused-ignore]
    from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped, unused-ignore]

    graph = coo_matrix((np.ones(len(bonds)), (bonds[:, 0], bonds[:, 1])), shape=(n_atoms, n_atoms))
    labels = connected_components(graph, directed=False)[1]
    by_fragment = np.argsort(labels, kind="stable")
    fragments = np.split(by_fragment, np.cumsum(np.bincount(labels))[:-1])
    return sorted(fragment.tolist() for fragment in fragments)
