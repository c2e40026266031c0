"""Displacements change what they say and nothing else."""

import numpy as np
import pytest

from mdet_openmm.data.config import DISPLACEMENTS, Displacement
from mdet_openmm.data.displacements import Displacer, bond_distances
from mdet_openmm.molecules.bonds import find_bonds
from mdet_openmm.molecules.smiles import molecule_from_smiles


def displacer(smiles, displacements=DISPLACEMENTS):
    molecule = molecule_from_smiles(smiles, seed=1)
    bonds = find_bonds(molecule.atomic_numbers, molecule.positions)
    return Displacer(molecule.atomic_numbers, molecule.positions, bonds, displacements), molecule, bonds


def distances(x):
    return np.linalg.norm(x[:, None] - x[None, :], axis=2)


def kinds(smiles):
    made, molecule, _ = displacer(smiles)
    rng = np.random.default_rng(0)
    return {made.draw(molecule.positions, rng)[0] for _ in range(150)}


def test_bond_distances_are_shortest_paths():
    from scipy.sparse.csgraph import shortest_path

    molecule = molecule_from_smiles("CC1CC1O")
    bonds = find_bonds(molecule.atomic_numbers, molecule.positions)
    graph = np.zeros((molecule.n_atoms, molecule.n_atoms))
    graph[bonds[:, 0], bonds[:, 1]] = 1
    np.testing.assert_array_equal(
        bond_distances(molecule.n_atoms, bonds), shortest_path(graph, directed=False, unweighted=True)
    )
    assert bond_distances(3, np.array([[0, 1]]))[0, 2] == 3  # no path


def test_kinds_that_a_molecule_has_no_use_for_are_left_out():
    assert kinds("[H][H]") == {"gaussian", "scale", "stretch"}
    assert kinds("C") == {"gaussian", "scale", "stretch"}
    assert kinds("C=C") == {"gaussian", "scale", "stretch", "contact"}  # a double bond is not turned
    assert kinds("CC#N") == {"gaussian", "scale", "stretch", "contact"}  # turning C-N about its own axis is nothing
    assert kinds("C1CC1") == {"gaussian", "scale", "stretch", "contact"}  # nor is a ring bond
    assert kinds("NC=O") == {"gaussian", "scale", "stretch", "torsion", "contact"}  # an amide is


def test_stretch_scales_one_bond_and_keeps_both_sides_rigid():
    made, molecule, bonds = displacer("CCO")
    x, numbers = molecule.positions, molecule.atomic_numbers
    bond = next(b for b, (i, j) in enumerate(bonds) if numbers[i] == numbers[j] == 6)
    moved = made.stretch(x, bond, 1.4)
    i, j = bonds[bond]
    assert distances(moved)[i, j] == pytest.approx(1.4 * distances(x)[i, j])
    others = np.delete(bonds, bond, axis=0)
    for a, b in others:
        assert distances(moved)[a, b] == pytest.approx(distances(x)[a, b])
    hydrogens = [h for h in range(9) if numbers[h] == 1 and bond_distances(9, bonds)[h, i] == 1]
    np.testing.assert_allclose(
        distances(moved)[np.ix_(hydrogens, hydrogens)], distances(x)[np.ix_(hydrogens, hydrogens)]
    )


def test_stretch_in_a_ring_moves_its_two_atoms_alone():
    made, molecule, bonds = displacer("C1CC1")
    bond = next(b for b, (i, j) in enumerate(bonds) if molecule.atomic_numbers[[i, j]].tolist() == [6, 6])
    moved = made.stretch(molecule.positions, bond, 1.2)
    i, j = bonds[bond]
    assert distances(moved)[i, j] == pytest.approx(1.2 * distances(molecule.positions)[i, j])
    assert np.flatnonzero(np.abs(moved - molecule.positions).max(axis=1) > 0).tolist() == sorted([i, j])


def test_torsion_turns_one_side_by_the_angle():
    from ase import Atoms

    made, molecule, bonds = displacer("CCO")
    numbers, x = molecule.atomic_numbers, molecule.positions
    bond = next(b for b, (i, j) in enumerate(bonds) if sorted(numbers[[i, j]].tolist()) == [6, 8])
    i, j = (int(k) for k in bonds[bond])
    steps = bond_distances(9, bonds)
    a = next(k for k in range(9) if steps[k, i] == 1 and k != j)
    b = next(k for k in range(9) if steps[k, j] == 1 and k != i)
    moved = made.torsion(x, bond, 70.0)
    for one, two in bonds:
        assert distances(moved)[one, two] == pytest.approx(distances(x)[one, two])
    change = Atoms(numbers, moved).get_dihedral(a, i, j, b) - Atoms(numbers, x).get_dihedral(a, i, j, b)
    assert change % 360 == pytest.approx(70.0)
    for centre in (i, j):  # angles stay
        for k in range(9):
            if steps[k, centre] == 1:
                assert distances(moved)[k, i] == pytest.approx(distances(x)[k, i])


def test_contact_brings_a_pair_to_its_distance_and_strains_bonds_less():
    from ase.data import vdw_radii

    made, molecule, bonds = displacer("CCCC")
    x, steps = molecule.positions, bond_distances(14, bonds)
    pairs = np.argwhere(np.triu(steps >= 3))
    for number in (0, len(pairs) // 2, len(pairs) - 1):
        i, j = pairs[number]
        wanted = 0.7 * (vdw_radii[molecule.atomic_numbers[i]] + vdw_radii[molecule.atomic_numbers[j]])
        moved = made.contact(x, number, 0.7)
        assert distances(moved)[i, j] == pytest.approx(wanted)
        approach = abs(distances(x)[i, j] - wanted)
        strain = np.abs(distances(moved) - distances(x))[bonds[:, 0], bonds[:, 1]]
        assert strain.max() < 0.5 * approach


def test_sizes_stay_within_their_range():
    made, molecule, _ = displacer("CCO", (Displacement("scale", 0.9, 1.1),))
    rng = np.random.default_rng(5)
    ratios = []
    for _ in range(200):
        moved = made.draw(molecule.positions, rng)[1]
        ratio = distances(moved)[0, 1:] / distances(molecule.positions)[0, 1:]
        np.testing.assert_allclose(ratio, ratio[0])
        ratios.append(ratio[0])
    assert 0.9 <= min(ratios) < 0.91 and 1.09 < max(ratios) <= 1.1
    made, molecule, _ = displacer("CCO", (Displacement("gaussian", 0.1, 0.1),))
    shifts = np.array([made.draw(molecule.positions, rng)[1] - molecule.positions for _ in range(200)])
    assert shifts.std() == pytest.approx(0.1, rel=0.05)
