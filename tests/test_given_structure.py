"""A SMILES is taken wherever a structure file is, and a file's name is never taken for one; extended XYZ comes out."""

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest

from mdet_openmm.cli import main
from mdet_openmm.errors import InputError
from mdet_openmm.molecules.files import name_of
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.molecules.smiles import molecule_from_smiles

MODEL = "mdet-gfn2-alkanes-energy"


@pytest.mark.parametrize(
    ("smiles", "charge", "multiplicity"), [("CCO", 0, 1), ("C[NH3+]", 1, 1), ("CC(=O)[O-]", -1, 1), ("C[CH2]", 0, 2)]
)
def test_a_smiles_gives_structure_and_charge_the_same_each_time(smiles, charge, multiplicity, caplog):
    molecule, again = read_molecule(smiles), read_molecule(Path(smiles))
    np.testing.assert_array_equal(molecule.positions, again.positions)
    np.testing.assert_array_equal(molecule.positions, molecule_from_smiles(smiles, seed=0).positions)
    assert (molecule.charge, molecule.multiplicity, molecule.name) == (charge, multiplicity, smiles)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2 and said[0] == said[1] and "\n" not in said[0]
    assert f"{smiles} is no file" in said[0] and f"charge {charge:+d}" in said[0]


@pytest.mark.parametrize(
    ("smiles", "open_"), [("CC(O)CC", True), ("C[C@H](O)CC", False), ("CC=CC", True), ("C/C=C/C", False)]
)
def test_it_is_said_that_a_stereoisomer_was_chosen(smiles, open_, caplog):
    read_molecule(smiles)
    assert ("stereoisomer" in caplog.text) == open_


@pytest.mark.parametrize(
    ("given", "settings", "told"),
    [
        ("CCO.pdb", {}, "CCO.pdb: no such file"),
        ("CCO.XYZ", {}, "CCO.XYZ: no such file"),
        ("CCO.pbd", {}, "no such file, and no SMILES"),
        ("ethanl", {}, "no such file, and no SMILES"),
        ("CCO ethanol", {}, "no such file, and no SMILES"),
        ("CCÖ", {}, "no such file, and no SMILES"),
        ("CCO", {"charge": 1}, "CCO has the charge"),
        ("CCO", {"multiplicity": 2}, "26 electrons"),
        ("O.O", {}, "2 separate fragments"),
        ("[13CH4]", {}, "isotopes"),
        ("here", {}, "is a directory"),
        ("N", {}, "unknown extension"),
        ("C", {}, "is a directory"),
    ],
)
def test_what_is_neither_or_could_be_both_is_refused(given, settings, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "C").mkdir()
    (tmp_path / "N").write_text("1\n\nHe 0 0 0\n")
    with pytest.raises(InputError, match=told) as refused:
        read_molecule(given, **settings)
    assert "\n" not in str(refused.value)


def test_folders_are_named_after_either():
    assert name_of("systems/ethanol.pdb") == "ethanol" and name_of("C/C=C/C[N+](C)(C)C") == "C_C_C_C_N_C_C_C"


def test_predict_writes_what_ase_and_our_reader_read_back(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", MODEL, "CC", "--output", "forces.json"]) == 0
    assert main(["predict", MODEL, "CC", "--output", "forces.extxyz"]) == 0
    written = (tmp_path / "forces.extxyz").read_bytes()
    assert main(["predict", MODEL, "CC", "--output", "forces.extxyz"]) == 2  # it is there
    assert main(["predict", MODEL, "CC", "--output", "forces.png"]) == 2
    assert main(["predict", MODEL, "CC", "--output", "no/forces.xyz"]) == 2
    assert (tmp_path / "forces.extxyz").read_bytes() == written and len(list(tmp_path.iterdir())) == 2
    shown = capsys.readouterr()
    assert shown.out == "written: forces.json\nwritten: forces.extxyz\n" and "Traceback" not in shown.err
    result = json.loads((tmp_path / "forces.json").read_text())
    atoms = ase.io.read(tmp_path / "forces.extxyz")
    np.testing.assert_allclose(atoms.get_forces(), result["forces_eV_per_A"], atol=1e-8)
    assert atoms.get_potential_energy() == pytest.approx(result["energy_eV"], abs=1e-6)
    assert (atoms.info["charge"], atoms.info["spin"], atoms.pbc.any()) == (0, 1, False)
    molecule = read_molecule(tmp_path / "forces.extxyz")
    np.testing.assert_allclose(molecule.positions, result["positions_A"], atol=1e-8)
    assert molecule.atomic_numbers.tolist() == result["atomic_numbers"] == [6, 6, 1, 1, 1, 1, 1, 1]


def test_info_of_a_smiles(capsys):
    assert main(["info", "C[NH3+]", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["formula"], found["charge"]) == ("CH6N", 1)
    assert main(["info", "nothing-of-this-name"]) == 2 and "no model" in capsys.readouterr().err


def test_a_run_starts_from_a_smiles_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--model", MODEL, "--equilibrate", "0", "--no-minimize", "--seed", "1"]
    assert main(["run-nvt", "CC", "--steps", "8", *flags]) == 0
    assert main(["run-nvt", "CC", "--steps", "16", "--restart"]) == 0
    assert json.loads((tmp_path / "CC-nvt/summary.json").read_text())["steps"] == 16
    assert main(["run-nvt", "CCC", "--steps", "24", "--restart", "--output", "CC-nvt"]) == 2
    assert "is not the structure" in capsys.readouterr().err
