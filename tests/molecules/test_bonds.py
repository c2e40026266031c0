"""Bonds, angles, dihedrals and fragments against RDKit's graphs and counts from graph theory."""

import numpy as np
import pytest

from mdet_openmm.molecules.bonds import (
    angle_triples,
    connected_fragments,
    covalent_radii,
    dihedral_quadruples,
    find_bonds,
)


def embedded(smiles: str):
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(molecule, randomSeed=5) == 0
    rdForceFieldHelpers.MMFFOptimizeMolecule(molecule)
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    bonds = sorted(tuple(sorted((b.GetBeginAtomIdx(), b.GetEndAtomIdx()))) for b in molecule.GetBonds())
    return numbers, np.array(molecule.GetConformer().GetPositions()), np.array(bonds)


SMILES = ["CCO", "C1CCC1", "C12CC(C1)C2", "C1COC1", "c1ccc2ccccc2c1", "CSSC", "OO", "NN", "FC(F)(F)Br", "C1CC12CC2"]


@pytest.mark.parametrize("smiles", SMILES)
def test_bonds_are_those_of_the_graph(smiles: str):
    """Strained rings too, where a wide skin bonds across the ring."""
    numbers, positions, bonds = embedded(smiles)
    np.testing.assert_array_equal(find_bonds(numbers, positions), bonds)


def test_radii_are_those_of_natural_cutoffs():
    from ase import Atoms
    from ase.neighborlist import natural_cutoffs

    np.testing.assert_array_equal(covalent_radii(np.array([1, 6, 7, 8, 17])), natural_cutoffs(Atoms("HCNOCl")))


@pytest.mark.parametrize("smiles", SMILES)
def test_angles_and_dihedrals_are_the_paths_of_the_graph(smiles: str):
    """All paths of two and three bonds, enumerated here from the adjacency matrix."""
    _, _, bonds = embedded(smiles)
    n = bonds.max() + 1
    adjacent = np.zeros((n, n), dtype=bool)
    adjacent[bonds[:, 0], bonds[:, 1]] = adjacent[bonds[:, 1], bonds[:, 0]] = True
    i, j, k = np.nonzero(adjacent[:, :, None] & adjacent[None, :, :])
    angles = {(a, b, c) for a, b, c in zip(i, j, k, strict=True) if a < c}
    dihedrals = {
        (a, b, c, d)
        for a, b, c in zip(i, j, k, strict=True)
        for d in np.flatnonzero(adjacent[c])
        if b < c and len({a, b, c, d}) == 4
    }
    assert {tuple(t) for t in angle_triples(bonds).tolist()} == angles
    assert {tuple(t) for t in dihedral_quadruples(bonds).tolist()} == dihedrals


def test_no_bonds():
    none = find_bonds(np.array([2]), np.zeros((1, 3)))
    assert none.shape == (0, 2)
    assert angle_triples(none).shape == (0, 3)
    assert dihedral_quadruples(none).shape == (0, 4)
    assert find_bonds(np.zeros(0, dtype=int), np.zeros((0, 3))).shape == (0, 2)


def test_fragments_of_a_shuffled_pair():
    numbers, positions, _ = embedded("CCO")
    both = np.concatenate([positions, positions + np.array([0.0, 0.0, 20.0])])
    order = np.random.default_rng(0).permutation(18)
    fragments = connected_fragments(find_bonds(np.tile(numbers, 2)[order], both[order]), 18)
    assert sorted(len(f) for f in fragments) == [9, 9]
    assert {frozenset(order[f] // 9) for f in fragments} == {frozenset({0}), frozenset({1})}
    assert connected_fragments(np.zeros((0, 2), dtype=np.int64), 2) == [[0], [1]]
