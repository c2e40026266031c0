"""Bonded environments by hand, from SMILES and from a geometry, and what a training has not seen."""

import numpy as np
import pytest

from mdet_openmm.molecules.environments import (
    SeenEnvironments,
    geometry_graph,
    near_environments,
    seen_from,
    smiles_graph,
    wide_environments,
)
from mdet_openmm.molecules.smiles import molecule_from_smiles


def test_environments_of_methanol_by_hand():
    numbers, bonds = np.array([6, 8, 1, 1, 1, 1]), np.array([[0, 1], [0, 2], [0, 3], [0, 4], [1, 5]])
    assert near_environments(numbers, bonds) == ["C(H,H,H,O)", "O(C,H)", "H(C)", "H(C)", "H(C)", "H(O)"]
    wide = wide_environments(numbers, bonds)
    assert wide[5] == "H(O(C,H))" and wide[1] == "O(C(H,H,H,O),H(O))"


@pytest.mark.parametrize(
    "smiles", ["CCO", "c1ccncc1", "CC(=O)Oc1ccccc1C(=O)O", "[NH3+]CC(=O)[O-]", "CS(C)(=O)=O", "CP(C)C"]
)
def test_a_geometry_and_its_smiles_have_the_same_environments(smiles):
    molecule = molecule_from_smiles(smiles)
    from_geometry = geometry_graph(molecule.atomic_numbers, molecule.positions)
    assert sorted(wide_environments(*smiles_graph(smiles))) == sorted(wide_environments(*from_geometry))


def test_unseen_atoms_are_named_and_storing_keeps_everything():
    seen = SeenEnvironments()
    for smiles in ("CCO", "CC(=O)O", "CN"):
        seen.add(*smiles_graph(smiles))
    again = seen_from(seen.plain())
    for smiles, strange, new in [
        ("CCO", [], []),
        ("OCCO", [], [1, 2]),  # two carbons with each other's O(C,H)-bearing carbon beside them
        ("[NH3+]CC(=O)[O-]", [0, 1], []),  # N of three hydrogens, and a carbon between C, N and two hydrogens
    ]:
        numbers, bonds = smiles_graph(smiles)
        for one in (seen, again):
            found, also = one.unseen(numbers, bonds)
            assert found.tolist() == strange
            assert set(new) <= set(also.tolist())


def test_bonds_and_not_formulas_count():
    """Ethanol and dimethyl ether have one formula; who knows the one does not know the other."""
    seen = SeenEnvironments()
    seen.add(*smiles_graph("CCO"))
    strange, _ = seen.unseen(*smiles_graph("COC"))
    assert strange.tolist() == [0, 1, 2]
