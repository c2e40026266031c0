"""The OpenMM topology of a molecule, so that a trajectory has a topology PDB beside it."""

from typing import TYPE_CHECKING

import numpy as np

from mdet_openmm.molecules.bonds import connected_fragments, find_bonds
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.structure import Residue, Structure

if TYPE_CHECKING:
    from openmm.app import Topology

_MADE = Residue("A", "MOL", "1")


def made_topology(molecule: Molecule) -> "Topology":
    """Topology of a molecule, atoms in its order.

    Chains, residues and atom names are those of the PDB or mmCIF file that it was read from where they can be kept
    (names unique in their residue and of at most four characters, residues not interleaved), else one residue MOL
    with names C1, C2, H1, ... Bonds are the file's if they connect the whole molecule, else found from distances
    (`find_bonds`): CONECT records are often there for a part of the atoms only.
    """
    structure = molecule.structure or Structure(molecule.atomic_numbers, molecule.positions)
    bonds = np.array(structure.bonds, dtype=np.int64).reshape(-1, 2)
    if len(connected_fragments(bonds, molecule.n_atoms)) > 1:
        bonds = find_bonds(molecule.atomic_numbers, molecule.positions)
    residues = _residues(structure)
    return _build(molecule, bonds, residues, _names(structure, residues, molecule))


def _build(molecule: Molecule, bonds: np.ndarray, residues: tuple[Residue, ...], names: tuple[str, ...]) -> "Topology":
    from openmm.app import Element, Topology

    topology = Topology()
    atoms = []
    chain = residue = None
    last: Residue | None = None
    for number, described, name in zip(molecule.atomic_numbers, residues, names, strict=True):
        if last is None or described.chain != last.chain:
            chain = topology.addChain(described.chain or "A")
        if described != last:
            residue = topology.addResidue(described.name or "MOL", chain, described.number, described.insertion_code)
        last = described
        atoms.append(topology.addAtom(name, Element.getByAtomicNumber(int(number)), residue))
    for i, j in bonds:
        topology.addBond(atoms[i], atoms[j])
    return topology


def _residues(structure: Structure) -> tuple[Residue, ...]:
    """The file's residues if each is one run of atoms, else one for all: writers would reorder the atoms."""
    residues = structure.residues
    runs = [r for k, r in enumerate(residues) if k == 0 or r != residues[k - 1]]
    places = [(r.chain, r.number, r.insertion_code) for r in runs]
    chains = [r.chain for k, r in enumerate(runs) if k == 0 or r.chain != runs[k - 1].chain]
    if not residues or len(set(places)) < len(places) or len(set(chains)) < len(chains):
        return (_MADE,) * len(structure.atomic_numbers)
    return residues


def _names(structure: Structure, residues: tuple[Residue, ...], molecule: Molecule) -> tuple[str, ...]:
    names = structure.atom_names
    usable = all(
        name and len(name) <= 4 and name.isascii() and name.isprintable() and " " not in name for name in names
    )
    unique = len(set(zip(residues, names, strict=False))) == molecule.n_atoms
    return names if names and usable and unique else _made_names(molecule)


def _made_names(molecule: Molecule) -> tuple[str, ...]:
    """C1, C2, H1, ...; the count in base 36 where it would not fit into four characters."""
    from ase.data import chemical_symbols

    counts: dict[int, int] = {}
    names = []
    for number in molecule.atomic_numbers.tolist():
        counts[number] = count = counts.get(number, 0) + 1
        symbol = chemical_symbols[number]
        name = f"{symbol}{count}"
        names.append(name if len(name) <= 4 else symbol + _base_36(count, 4 - len(symbol)))
    return tuple(names)


def _base_36(count: int, width: int) -> str:
    """Counts from 10**width on, in the codes of that width that begin with a letter."""
    return np.base_repr(count - 10**width + 10 * 36 ** (width - 1), 36)
