"""A charge that the bonds show is asked about where nobody states it."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.checks import check_charge, check_molecule
from mdet_openmm.molecules.hydrogens import shown_charge
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.molecules.smiles import molecule_from_smiles

DIAMMONIUM = "[NH3+]CC[NH3+]"


def from_a_file(smiles: str, charge: int | None = None) -> Molecule:
    """As a file would hold it: nothing but atoms, and the charge that is passed or assumed."""
    built = molecule_from_smiles(smiles)
    return replace(built, smiles=None, charge=built.charge if charge is None else charge, multiplicity=1)


@pytest.mark.parametrize(
    "smiles",
    [
        DIAMMONIUM,
        "C[N+](C)(C)CC[N+](C)(C)C",
        "NC(=[NH2+])NCCC[C@H]([NH3+])C(=O)O",  # arginine in acid
        "[NH3+][C@@H](Cc1c[nH]c[nH+]1)C(=O)O",
        "C[n+]1ccccc1C[NH3+]",
        "C[S+](C)CC[S+](C)C",
        "C[P+](C)(C)CC[P+](C)(C)C",
        "[NH3+]Cc1ccc([N+](=O)[O-])c(C[NH3+])c1",
        "[NH3+]CCC(C[NH3+])N=[N+]=[N-]",
        "[OH2+]CC[NH3+]",
    ],
)
def test_dications_are_not_neutral(smiles: str):
    assert shown_charge(from_a_file(smiles, 0)) == 2
    assert shown_charge(from_a_file(smiles)) is None
    with pytest.raises(InputError, match=r"its bonds .* show the charge \+2.*pass --charge 2"):
        check_charge(from_a_file(smiles, 0))


@pytest.mark.parametrize("smiles", ["F[Si-2](F)(F)(F)(F)F", "F[B-](F)(F)CC[B-](F)(F)F"])
def test_dianions_by_their_bonds_are_not_neutral(smiles: str):
    assert shown_charge(from_a_file(smiles, 0)) == -2
    assert shown_charge(from_a_file(smiles)) is None


@pytest.mark.parametrize("smiles", ["[O-]C(=O)C([O-])=O", "[S-]CC[S-]", "[O-]S(=O)(=O)[O-]", "[O-][Si](C)(C)[O-]"])
def test_dianions_by_their_open_valences_are_asked_about(smiles: str):
    with pytest.raises(InputError, match=r"hydrogens are missing .*or pass --charge if it is an ion"):
        check_molecule(from_a_file(smiles, 0))
    check_molecule(from_a_file(smiles))


@pytest.mark.parametrize(
    "smiles",
    [
        "[NH3+]CC(=O)[O-]",
        "NC(=[NH2+])NCCCC(N)C(=O)[O-]",
        "C[N+](C)(C)CCOP(=O)([O-])OC",
        "C[N+](C)(C)CCS(=O)(=O)[O-]",
        "[O-]c1ccc[n+](C)c1",
        "[NH3+]c1cc([O-])ccc1N",
        "F[B-](F)(F)CC[NH3+]",
        "[BH3-][NH3+]",
        "C[N+](C)(C)[O-]",
        "C[S+](C)[CH-]C(C)=O",
        "[O-]C(=O)c1ccccc1[N+]#N",
        "c1ccc2c(c1)nccn2",
        "O=[N+]([O-])c1ccc(N)cc1",
    ],
)
def test_zwitterions_and_other_neutral_molecules_show_none(smiles: str):
    assert shown_charge(from_a_file(smiles)) is None


@pytest.mark.parametrize(
    ("smiles", "charge"),
    [
        ("Nc1ccc([O-])cc1", -1),  # beside the quinone-iminium +1
        ("[S-]c1nc2ccccc2s1", -1),
        ("CS(=O)[O-]", -1),
        ("[O-]c1cccnc1", -1),
        ("CC(C)=CCNc1ncnc2[nH]cnc12", 0),
    ],
)
def test_two_readings_of_the_same_bonds_show_none(smiles: str, charge: int):
    assert shown_charge(from_a_file(smiles, charge)) is None


def test_shared_protons_and_bridges_show_none():
    """The proton between two waters; the hydrogens between the borons of diborane."""
    water = np.array([[0, 0, 1.2], [0.76, 0.2, 1.75], [-0.76, 0.2, 1.75]])
    zundel = np.concatenate([water, water * [1, 1, -1], np.zeros((1, 3))])
    assert shown_charge(Molecule(np.array([8, 1, 1, 8, 1, 1, 1]), zundel, 1)) is None
    corners = np.array([[i, j] for i in (-1.0, 1.0) for j in (-1.0, 1.0)])
    borons, bridges = [[-0.885, 0, 0], [0.885, 0, 0]], [[0, 0, 0.993], [0, 0, -0.993]]
    ends = np.column_stack([1.464 * corners[:, 0], 1.04 * corners[:, 1], np.zeros(4)])
    diborane = Molecule(np.array([5, 5] + 6 * [1]), np.concatenate([borons, bridges, ends]))
    check_molecule(diborane)
    assert shown_charge(diborane) is None


def test_electrons_added_or_taken_are_the_users():
    assert shown_charge(from_a_file("c1ccccc1", 2)) is None
    assert shown_charge(from_a_file("c1ccccc1", -2)) is None
    assert shown_charge(replace(from_a_file(DIAMMONIUM, 0), multiplicity=3)) is None
    assert shown_charge(replace(from_a_file(DIAMMONIUM, 1), multiplicity=2)) is None
    assert shown_charge(from_a_file(DIAMMONIUM, -2)) == 2


@pytest.mark.parametrize("charge", [-8, -4, 4, 6])
def test_charges_that_no_molecule_of_these_bonds_has(charge: int):
    assert shown_charge(from_a_file("CCO", charge)) == 0


@pytest.mark.parametrize("suffix", [".xyz", ".pdb"])
def test_a_file_of_a_dication_needs_the_charge(tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture):
    from ase import Atoms
    from ase.io import write

    dication = molecule_from_smiles(DIAMMONIUM)
    path = tmp_path / f"en{suffix}"
    write(path, Atoms(dication.atomic_numbers, dication.positions))
    with pytest.raises(InputError, match="pass --charge 2"):
        read_molecule(path)
    assert read_molecule(path, charge=2).charge == 2
    assert caplog.text == ""
    with caplog.at_level(logging.WARNING):
        assert read_molecule(path, charge=0).charge == 0
    assert "its bonds show the charge +2, not +0 as was given" in caplog.text


def test_a_file_that_states_another_charge_than_its_bonds_is_asked_about(tmp_path: Path):
    """An XYZ that says 0, an SDF without formal charges."""
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    dication = Chem.AddHs(Chem.MolFromSmiles(DIAMMONIUM))
    assert rdDistGeom.EmbedMolecule(dication, randomSeed=5) == 0
    block = Chem.MolToXYZBlock(dication).split("\n")
    block[1] = "charge=0 multiplicity=1"
    (tmp_path / "en.xyz").write_text("\n".join(block))
    lines = Chem.MolToMolBlock(dication).split("\n")
    (tmp_path / "en.mol").write_text("\n".join(line for line in lines if not line.startswith("M  CHG")))
    for name in ("en.xyz", "en.mol"):
        with pytest.raises(InputError, match="pass --charge 2"):
            read_molecule(tmp_path / name)
