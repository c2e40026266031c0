import pytest

from mdet_openmm.molecules.classes import CLASSES, OTHERS, classes_of

MEMBERS = {
    "CCO": {"alcohols"},
    "Oc1ccccc1": {"phenols", "aromatic rings"},
    "COC": {"ethers"},
    "COO": {"peroxides"},
    "CC=O": {"aldehydes and ketones"},
    "CC(C)=O": {"aldehydes and ketones"},
    "CC(=O)O": {"carboxylic acids"},
    "CC(=O)[O-]": {"carboxylates"},
    "CC(=O)OC": {"esters"},
    "CNC(C)=O": {"amides"},
    "CN": {"amines"},
    "C[NH3+]": {"ammonium ions"},
    "CC#N": {"nitriles"},
    "CNC(N)=N": {"imines and amidines"},
    "CN=NC": {"hydrazines, azo and azides"},
    "C[N+](=O)[O-]": {"nitro"},
    "CN(=O)=O": {"nitro"},
    "CNO": {"N-hydroxy and nitroso"},
    "C=C": {"alkenes", OTHERS},
    "C#C": {"alkynes", OTHERS},
    "c1ccccc1": {"aromatic rings", OTHERS},
    "c1ccncc1": {"aromatic heterocycles"},
    "CSC": {"thiols and sulfides"},
    "CC(C)=S": {"thiocarbonyls"},
    "CS(C)=O": {"sulfoxides, sulfones and sulfonyls"},
    "CS(N)(=O)=O": {"sulfoxides, sulfones and sulfonyls"},
    "CP": {"phosphines"},
    "CP(C)(C)=O": {"phosphoryls"},
    "CF": {"fluorides"},
    "CC(F)(F)F": {"fluorides", "trifluoromethyl"},
    "CCl": {"chlorides"},
    "CCC": {OTHERS},
}


@pytest.mark.parametrize("smiles, classes", MEMBERS.items())
def test_a_molecule_belongs_to_the_classes_that_a_chemist_names(smiles: str, classes: set[str]) -> None:
    assert set(classes_of(smiles)) == classes


def test_every_class_has_a_member_here() -> None:
    assert set().union(*MEMBERS.values()) == {*CLASSES, OTHERS}


def test_a_smiles_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot read the SMILES 'C1CC'"):
        classes_of("C1CC")
