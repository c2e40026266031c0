"""What ``mdet models``, ``mdet info`` and ``mdet doctor`` say, of things whose answer is known."""

import json
from pathlib import Path

import numpy as np
import pytest

from mdet_openmm import doctor
from mdet_openmm.cli import main
from mdet_openmm.errors import InputError
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.export.module_file import export
from mdet_openmm.export.shipped import shipped_models
from mdet_openmm.inventory import describe, models, table_of
from mdet_openmm.molecules.readers import read_molecule

ROOT = Path(__file__).resolve().parents[1]
ETHANOL = ROOT / "simulations/systems/ethanol.pdb"


def test_models_are_those_that_load_and_say_what_their_folders_say(capsys):
    found = {one["name"]: one for one in models()}
    assert set(found) == set(shipped_models())
    for name, one in found.items():
        model = load_model(name)
        assert len(one["elements"]) == len(model.elements) and one["energy"] == model.has_energy
        assert tuple(one["charges"]) == model.trained_on("charge")
        assert one["width"] == model.network.config.embd_dim
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(found) + 1 and lines == table_of(list(found.values())).splitlines()
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == list(found.values())


def test_what_things_are(tmp_path, capsys):
    assert describe("mdet-gfn2-alkanes")["kind"] == "model"
    structure = describe(ETHANOL)
    assert (structure["kind"], structure["formula"], structure["charge"]) == ("structure", "C2H6O", 0)
    label = describe(ROOT / "configs/tiny.label.yaml")
    assert (label["kind"], label["molecules"], label["held_out"]) == ("labelling configuration", 4, 1)
    assert describe(ROOT / "configs/mdet-gfn2-alkanes.train.yaml")["kind"] == "training configuration"
    export(load_model("mdet-gfn2-alkanes"), read_molecule(ROOT / "simulations/systems/octane.pdb"), tmp_path / "f.pt")
    force = describe(tmp_path / "f.pt")
    assert (force["kind"], force["model"], len(force["atomic_numbers"])) == ("bound force", "mdet-gfn2-alkanes", 26)
    assert main(["info", str(ETHANOL)]) == 0 and "C2H6O" in capsys.readouterr().out
    assert main(["info", "nothing-of-this-name"]) == 2


def test_a_data_set_and_a_run(tmp_path):
    from mdet_openmm.data.config import DynamicsRun, HeldOutConfig, LabelConfig, MoleculeEntry, SamplingConfig
    from mdet_openmm.data.label import run_label
    from mdet_openmm.simulation.nvt import run_nvt
    from mdet_openmm.simulation.settings import NvtSettings

    sampling = SamplingConfig(runs=(DynamicsRun(300.0, 1),), frames=3, displaced=2, equilibrate=5.0, interval=5.0)
    config = LabelConfig(
        molecules=(MoleculeEntry(smiles="O"),), sampling=sampling, held_out=HeldOutConfig(val=0, test=0)
    )
    run_label(config, tmp_path / "set.h5", workers=1)
    found = describe(tmp_path / "set.h5")
    assert (found["kind"], found["teacher"], found["frames"], found["atoms"]) == ("data set", "GFN2-xTB", 5, [3, 3])
    summary = run_nvt(NvtSettings(system=ETHANOL, steps=16, equilibrate=0.0, output=tmp_path / "run", quiet=True))
    run = describe(tmp_path / "run")
    assert (run["kind"], run["ensemble"], run["atoms"]) == ("run", "nvt", 9)
    assert np.isclose(run["temperature_mean_K"], summary["temperature_mean_K"])


@pytest.mark.parametrize("name", ["empty", "empty.yaml", "empty.h5", "empty.pt", "list.yaml"])
def test_what_is_nothing_is_refused(tmp_path, name):
    (tmp_path / name).write_text("- a\n" if name == "list.yaml" else "")
    with pytest.raises(InputError):
        describe(tmp_path / name)
    with pytest.raises(InputError):
        describe(tmp_path)


def test_the_doctor_finds_what_does_not_go_together(monkeypatch, capsys):
    assert not [f for f in doctor.examine() if f.state == doctor.PROBLEM]
    assert main(["doctor"]) == 0 and "TorchForce works" in capsys.readouterr().out
    versions = {"torch": "2.13.0", "openmmtorch": "1.5", "mdtraj": None}
    monkeypatch.setattr(doctor, "_version", lambda name: versions.get(name, "1.0"))
    problems = [f for f in doctor.examine() if f.state == doctor.PROBLEM]
    assert {"torch>=2.9,<2.10" in f.cure or f.cure == "pip install mdtraj" for f in problems} == {True}
    assert len(problems) == 2
    assert main(["doctor"]) == 3
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.31"))
    assert any("glibc 2.31" in f.text and f.state == doctor.PROBLEM for f in doctor.examine())


def test_bare_mdet_helps(capsys):
    assert main([]) == 0
    assert "doctor" in capsys.readouterr().out
