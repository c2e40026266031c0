"""The molecules of configs/mdet-so3lr-small: what stands in the files."""

import functools
from pathlib import Path

import pytest
import yaml
from rdkit import Chem

from mdet_openmm.data.config import read_config
from mdet_openmm.data.sources import each_entry

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@functools.cache
def molecule(smiles: str) -> Chem.Mol:
    """Without its hydrogens; thousands of them are asked about several times."""
    return Chem.MolFromSmiles(smiles)


def n_atoms(smiles: str) -> int:
    """With the hydrogens."""
    return sum(1 + atom.GetTotalNumHs() for atom in molecule(smiles).GetAtoms())


@functools.cache
def canonical(smiles: str) -> str:
    return Chem.MolToSmiles(molecule(smiles))


def read(name: str) -> list[str]:
    return [line.split()[0] for line in (CONFIGS / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def trained() -> list[str]:
    return read("mdet-so3lr-small.smi")


@pytest.fixture(scope="module")
def held_out() -> list[str]:
    return read("mdet-so3lr-small-held-out.smi")


def test_none_is_there_twice_and_none_is_in_both(trained: list[str], held_out: list[str]) -> None:
    every = [canonical(s) for s in (*trained, *held_out)]
    assert len(set(every)) == len(every) > 8000 and len(held_out) > 400


def test_elements_charges_and_sizes(trained: list[str], held_out: list[str]) -> None:
    seen: set[str] = set()
    charges = dict.fromkeys((-1, 0, 1), 0)
    for smiles in (*trained, *held_out):
        assert n_atoms(smiles) <= 44
        atoms = list(molecule(smiles).GetAtoms())
        assert all(atom.GetNumRadicalElectrons() == 0 for atom in atoms)
        charges[Chem.GetFormalCharge(molecule(smiles))] += 1
        seen |= {atom.GetSymbol() for atom in atoms} | ({"H"} if n_atoms(smiles) > len(atoms) else set())
    assert seen == {"C", "H", "N", "O", "F", "S", "Cl", "P"}
    assert min(charges.values()) > 300


def test_no_trained_one_is_larger_than_said_and_pairs_are_of_two(trained: list[str]) -> None:
    assert max(map(n_atoms, trained)) == 36
    pairs = [s for s in trained if "." in s]
    assert len(pairs) > 250 and all(s.count(".") == 1 for s in pairs)


def test_validation_molecules_are_held_out_real_ones_of_every_size(held_out: list[str]) -> None:
    chosen = read("mdet-so3lr-small-validation.smi")
    assert len(set(chosen)) == 50 and set(chosen) <= set(held_out)
    sizes = [n_atoms(s) for s in chosen]
    assert sum(n <= 10 for n in sizes) == 10 and sum(n >= 28 for n in sizes) == 10


def kept_out_by(name: str) -> set[str]:
    molecules = yaml.safe_load((CONFIGS / f"{name}.label.yaml").read_text())["molecules"]
    return {canonical(m["smiles"]) for m in molecules if m.get("split") == "test"}


def test_what_other_models_keep_out_is_kept_out(trained: list[str], held_out: list[str]) -> None:
    assert len(kept_out_by("mdet-gfn2-mini")) == 5
    assert kept_out_by("mdet-gfn2-mini") <= set(map(canonical, held_out))
    assert not kept_out_by("mdet-gfn2-alkanes") & set(map(canonical, trained))


def test_both_files_are_read() -> None:
    config = read_config(CONFIGS / "mdet-so3lr-small.label.yaml")
    train, test = (each_entry(entry) for entry in config.molecules)
    assert config.compact and {e.split for e in train} == {"train"} and {e.split for e in test} == {"test"}
    assert config.teacher.kind == "so3lr" and all(e.name and e.smiles for e in (*train, *test))
