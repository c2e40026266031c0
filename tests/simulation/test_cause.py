"""A relaxation that takes a molecule apart says whether the structure or the model is likely at fault."""

import json
from pathlib import Path

import numpy as np
import pytest
from spring_mock import WATER_NM, springs

from mdet_openmm.errors import RunStopped
from mdet_openmm.export.model_folder import Model
from mdet_openmm.measure.coverage import Coverage
from mdet_openmm.molecules.environments import SeenEnvironments
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.simulation import run
from mdet_openmm.simulation.cause import likely_cause
from mdet_openmm.simulation.nvt import run_nvt
from mdet_openmm.simulation.relax import Relaxed, force_function
from mdet_openmm.simulation.settings import NvtSettings

NUMBERS = np.array([8, 1, 1])
SOUND = Molecule(NUMBERS, 10.0 * WATER_NM, name="water")
FORCE = force_function(springs(k=4e5))


def model_of(**training: object) -> Model:
    network = EdgeTransformer(NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=8, l_max=2))
    return Model("m", Path("m"), network, (1, 8), False, "0" * 64, metadata={"training": training})


def covering(fewest: int, most: int, environments: SeenEnvironments) -> Model:
    coverage = Coverage((1, 8), fewest, most, {}, 3.0, (), environments=environments.plain())
    return model_of(coverage=coverage.plain())


def seen() -> SeenEnvironments:
    found = SeenEnvironments()
    found.add(NUMBERS, np.array([[0, 1], [0, 2]]))
    return found


def test_a_strained_structure_is_suspected_whatever_the_model_knows() -> None:
    stretched = Molecule(NUMBERS, 12.5 * WATER_NM, name="water")
    # springs of 4e5 kJ/mol/nm², a quarter too long: on the first hydrogen those to O and to the other add up
    pulls = 0.25 * 4e5 * (WATER_NM[[0, 2]] - WATER_NM[1]) / 96.4853321 / 10.0
    first = np.linalg.norm(pulls.sum(axis=0))
    for model in (model_of(), covering(2, 5, seen()), covering(8, 9, seen())):
        text = likely_cause(model, stretched, FORCE)
        assert text.startswith("likely the structure: the bond O1–H3 is 1.20 Å long")
        assert f"first force is {first:.3g} eV/Å" in text and "GFN2-xTB" in text
    assert "outside of the training of m, too (3 atoms, trained on 8 to 9)" in text


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (model_of(), ["does not say what it was trained on", "mdet diagnose m SYSTEM"]),
        (covering(8, 9, seen()), ["outside of the training of m (3 atoms, trained on 8 to 9)", "fine-tune"]),
        (covering(2, 5, SeenEnvironments()), ["never seen: the bonds of atoms 1 (O), 2 (H), 3 (H)", "fine-tune"]),
        (covering(2, 5, seen()), ["though water is within the training of m", "mdet diagnose m SYSTEM"]),
    ],
)
def test_of_a_sound_structure_the_model_is_suspected(model: Model, words: list[str]) -> None:
    text = likely_cause(model, SOUND, FORCE)
    assert text.startswith("likely the model") and "\n" not in text
    assert all(
        word in text for word in ["bonds and contacts of the structure are sound", "first force is 0 eV/Å", *words]
    )


def test_forces_that_are_no_numbers_are_said_to_be_none() -> None:
    text = likely_cause(model_of(), SOUND, force_function(springs(nan_at=-1.0)))
    assert text.startswith("likely the model") and "the first forces are not finite" in text


@pytest.mark.parametrize(
    ("length", "words"), [(1.2, "likely the structure: the bond O1–H2"), (0.96, "likely the model: bonds and contacts")]
)
def test_the_run_says_it_in_its_last_line_and_in_its_summary(
    length: float, words: str, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    water = tmp_path / "water.xyz"
    x = length * np.array([[0.0, 0, 0], [1.0, 0, 0], [-0.25, 0.968, 0]])
    rows = [f"{s} {a:.4f} {b:.4f} {c:.4f}" for s, (a, b, c) in zip("OHH", x, strict=True)]
    water.write_text("\n".join(["3", "", *rows]) + "\n")
    torn = x + np.array([[0.0, 0, 0], [1.0, 0, 0], [0.0, 0, 0]])
    monkeypatch.setattr(run, "relax", lambda molecule, force: Relaxed(torn, 7, 0.01))
    with pytest.raises(RunStopped) as stopped:
        run_nvt(NvtSettings(system=water, model=str(model), output=tmp_path / "out", steps=10, quiet=True))
    message = str(stopped.value)
    assert message.startswith("in the relaxation the bond between atom 1 (O) and atom 2 (H) broke") and words in message
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["message"] == message and summary["exit_reason"] == "broken_bond" and summary["atom"] == 0
