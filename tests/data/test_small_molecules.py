"""The molecules of configs/mdet-gfn2-small: what stands in the files."""

from pathlib import Path

import pytest
import yaml
from rdkit import Chem

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def read(name: str) -> list[str]:
    return [line.split()[0] for line in (CONFIGS / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def trained() -> list[str]:
    return read("mdet-gfn2-small.smi")


@pytest.fixture(scope="module")
def held_out() -> list[str]:
    return read("mdet-gfn2-small-held-out.smi")


def test_none_is_there_twice_and_none_is_in_both(trained: list[str], held_out: list[str]) -> None:
    every = [Chem.CanonSmiles(s) for s in (*trained, *held_out)]
    assert len(set(every)) == len(every) > 3000 and len(held_out) > 150


def test_elements_charges_and_sizes(trained: list[str], held_out: list[str]) -> None:
    seen: set[str] = set()
    charges = dict.fromkeys((-1, 0, 1), 0)
    for smiles in (*trained, *held_out):
        molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
        assert molecule.GetNumAtoms() <= 20
        assert all(atom.GetNumRadicalElectrons() == 0 for atom in molecule.GetAtoms())
        charges[Chem.GetFormalCharge(molecule)] += 1
        seen |= {atom.GetSymbol() for atom in molecule.GetAtoms()}
    assert seen == {"C", "H", "N", "O", "F", "S", "Cl", "P"}
    assert min(charges.values()) > 80


def test_what_other_models_keep_out_is_kept_out(held_out: list[str]) -> None:
    mini = yaml.safe_load((CONFIGS / "mdet-gfn2-mini.label.yaml").read_text())["molecules"]
    unseen = {Chem.CanonSmiles(m["smiles"]) for m in mini if m.get("split") == "test"}
    assert len(unseen) == 5 and unseen <= {Chem.CanonSmiles(s) for s in held_out}
