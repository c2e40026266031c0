"""The bonded environment of each atom: what a training has seen of it, and what it has not."""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.molecules.bonds import find_bonds, neighbours

HASH_BYTES = 4
"""Of the wider environments: among 100,000 of them one in 40,000 unseen ones is taken for a seen one."""


def near_environments(atomic_numbers: NDArray[np.int64], bonds: NDArray[np.int64]) -> list[str]:
    """Each atom's element and those bonded to it, such as ``N(C,H,H)``; bond orders play no part.

    Parameters
    ----------
    atomic_numbers
        (n,).
    bonds
        (m, 2) index pairs.
    """
    from ase.data import chemical_symbols

    symbols = [chemical_symbols[z] for z in atomic_numbers]
    around = neighbours(bonds, len(symbols))
    return [f"{s}({','.join(sorted(symbols[j] for j in near))})" for s, near in zip(symbols, around, strict=True)]


def wide_environments(atomic_numbers: NDArray[np.int64], bonds: NDArray[np.int64]) -> list[str]:
    """Each atom's element and the `near_environments` of those bonded to it, such as ``O(C(C,H,O),H(O))``."""
    near = near_environments(atomic_numbers, bonds)
    around = neighbours(bonds, len(near))
    return [
        f"{own.partition('(')[0]}({','.join(sorted(near[j] for j in js))})"
        for own, js in zip(near, around, strict=True)
    ]


def smiles_graph(smiles: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Atomic numbers (n,) and bonds (m, 2) of a SMILES, hydrogens added."""
    from rdkit import Chem

    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    bonds = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in molecule.GetBonds()]
    numbers = np.array([a.GetAtomicNum() for a in molecule.GetAtoms()], dtype=np.int64)
    return numbers, np.array(bonds, dtype=np.int64).reshape(-1, 2)


def geometry_graph(
    atomic_numbers: NDArray[np.int64], positions: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Atomic numbers (n,) and bonds (m, 2) by distances; positions (n, 3) in Å."""
    return atomic_numbers, find_bonds(atomic_numbers, positions)


class SeenEnvironments:
    """The environments of the atoms of many molecules.

    Parameters
    ----------
    near
        As of `near_environments`.
    wide
        Hashes of `wide_environments`.
    """

    def __init__(self, near: Iterable[str] = (), wide: Iterable[bytes] = ()) -> None:
        self.near = set(near)
        self.wide = set(wide)

    def add(self, atomic_numbers: NDArray[np.int64], bonds: NDArray[np.int64]) -> None:
        """Take in a molecule."""
        self.near.update(near_environments(atomic_numbers, bonds))
        self.wide.update(map(_digest, wide_environments(atomic_numbers, bonds)))

    def unseen(
        self, atomic_numbers: NDArray[np.int64], bonds: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Atoms whose near environment was never seen, and those of whose wide one alone that is true."""
        near = near_environments(atomic_numbers, bonds)
        wide = wide_environments(atomic_numbers, bonds)
        strange = [k for k, one in enumerate(near) if one not in self.near]
        new = [k for k, one in enumerate(wide) if near[k] in self.near and _digest(one) not in self.wide]
        return np.array(strange, dtype=np.int64), np.array(new, dtype=np.int64)

    def plain(self) -> dict[str, str]:
        """Two strings, for YAML; `seen_from` takes them back."""
        return {"near": " ".join(sorted(self.near)), "wide": b"".join(sorted(self.wide)).hex()}


def seen_from(stored: dict[str, str]) -> SeenEnvironments:
    """Read what `SeenEnvironments.plain` wrote."""
    data = bytes.fromhex(stored["wide"])
    return SeenEnvironments(stored["near"].split(), (data[k : k + HASH_BYTES] for k in range(0, len(data), HASH_BYTES)))


def _digest(environment: str) -> bytes:
    return hashlib.sha256(environment.encode()).digest()[:HASH_BYTES]
