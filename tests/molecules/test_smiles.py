"""Start structures from SMILES have the right atoms, electrons and geometry."""

import numpy as np
import pytest

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.smiles import conformers_from_smiles, molecule_from_smiles


@pytest.mark.parametrize(
    ("smiles", "formula", "charge", "multiplicity"),
    [
        ("CCO", {6: 2, 8: 1, 1: 6}, 0, 1),
        ("[H][H]", {1: 2}, 0, 1),
        ("C[NH3+]", {6: 1, 7: 1, 1: 6}, 1, 1),
        ("[O-]C=O", {6: 1, 8: 2, 1: 1}, -1, 1),
        ("[CH3]", {6: 1, 1: 3}, 0, 2),
        ("[O][O]", {8: 2}, 0, 3),
        ("[He]", {2: 1}, 0, 1),
    ],
)
def test_composition_charge_and_multiplicity(smiles, formula, charge, multiplicity):
    molecule = molecule_from_smiles(smiles)
    numbers, counts = np.unique(molecule.atomic_numbers, return_counts=True)
    assert dict(zip(numbers.tolist(), counts.tolist(), strict=True)) == formula
    assert (molecule.charge, molecule.multiplicity) == (charge, multiplicity)
    assert molecule.smiles == smiles
    np.testing.assert_allclose(molecule.positions.mean(axis=0), 0.0, atol=1e-10)


def test_geometry_is_that_of_the_molecule():
    ethane = molecule_from_smiles("CC", name="ethane")
    assert ethane.name == "ethane"
    distances = np.linalg.norm(ethane.positions[:, None] - ethane.positions[None], axis=2)
    assert distances[0, 1] == pytest.approx(1.53, abs=0.03)
    assert np.sort(distances[0])[1:4] == pytest.approx(1.09, abs=0.02)


def test_conformers_differ_and_the_same_seed_gives_the_same():
    one = conformers_from_smiles("CCCCO", 6, seed=5)
    two = conformers_from_smiles("CCCCO", 6, seed=5)
    assert 2 <= len(one) <= 6
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.positions, b.positions)
    ends = [np.linalg.norm(m.positions[0] - m.positions[4]) for m in one]
    assert np.ptp(ends) > 0.2  # gauche and anti
    other = conformers_from_smiles("CCCCO", 6, seed=6)
    assert not np.array_equal(one[0].positions, other[0].positions)


@pytest.mark.parametrize("smiles", ["C(", "XyZ", "", "C" + "(C)" * 5])
def test_smiles_that_rdkit_cannot_read_are_bad_input(smiles):
    with pytest.raises(InputError, match="SMILES"):
        molecule_from_smiles(smiles)


@pytest.mark.parametrize(
    ("smiles", "words"),
    [
        ("[2H]OC", "isotopes are not supported"),
        ("[13CH4]", "isotopes are not supported"),
        ("*C", "dummy atom"),
        ("O O", "cannot read"),
        ("CCO ethanol", "cannot read"),
    ],
)
def test_what_would_be_another_molecule_is_refused(smiles: str, words: str):
    with pytest.raises(InputError, match=words):
        molecule_from_smiles(smiles)


def test_a_ring_bond_across_a_dot_is_a_bond():
    from mdet_openmm.molecules.checks import check_molecule

    check_molecule(molecule_from_smiles("C1.C1"))
    with pytest.raises(InputError, match="2 separate fragments"):
        check_molecule(molecule_from_smiles("O.O"))
