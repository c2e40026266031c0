"""A whole diagnosis, through the command and through the API, and its refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mdet_openmm.cli import main
from mdet_openmm.errors import InputError
from mdet_openmm.export.model_folder import save_model
from mdet_openmm.measure.coverage import Coverage
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.trust.diagnose import diagnose
from mdet_openmm.trust.settings import DiagnoseSettings, resolved

ROOT = Path(__file__).resolve().parents[2]
SYSTEMS = ROOT / "simulations/systems"
COVERAGE = Coverage((1, 6, 8), 3, 6, {"O-H": (0.8, 0.9)}, 3.0, ("CH4O",), 0.31)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights with a stored coverage."""
    torch.manual_seed(0)
    config = NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=8, l_max=2, force_scale=1e-3)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    network = EdgeTransformer(config)
    save_model(folder, network, elements=[1, 6, 8], training={"coverage": COVERAGE.plain()}, metrics={}, card="random")
    return folder


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report"
    flags = ["--structures", "1", "--rotations", "48", "--precision", "mixed", "--output", str(out), "--quiet"]
    assert main(["diagnose", "mdet-gfn2-mini", str(SYSTEMS / "water.pdb"), *flags]) == 0
    assert capsys.readouterr() == ("", "")
    found = json.loads((out / "diagnosis.json").read_text())
    one, sixty = found["frames"]["1"], found["frames"]["60"]
    # the card has 0.33 kcal/mol/Å and 0.011 for water
    assert 0.15 < one["e_eq_raw_kcal_mol_A"] < 0.5 and sixty["e_eq_kcal_mol_A"] < 0.1 * one["e_eq_kcal_mol_A"]
    assert 0.003 < found["lambda"]["used"]["value"] < 0.03
    assert found["verdicts"][1]["text"].startswith("Fit for NVT") and found["structures"]["count"] == 2
    # the card has 14 meV/Å on water at 300 K
    assert found["force_error"]["teacher"] == "GFN2-xTB" and 2.0 < found["force_error"]["mae"] < 40.0
    assert found["verdicts"][0]["state"] == "good" and found["verdicts"][0]["text"].startswith("Forces: ")
    page = (out / "diagnosis.html").read_text()
    assert page.count("<svg") >= 5 and "H₂O" in page and "Fit for NVT" in page
    assert main(["diagnose", "mdet-gfn2-mini", str(SYSTEMS / "water.pdb"), *flags]) == 2
    assert "not empty" in capsys.readouterr().err


def test_same_seed_same_numbers_and_stored_coverage(tiny: Path, tmp_path: Path) -> None:
    def run(name: str, seed: int) -> dict[str, object]:
        settings = DiagnoseSettings(
            model=str(tiny),
            system=SYSTEMS / "ethanol.pdb",
            structures=0,
            rotations=16,
            seed=seed,
            output=tmp_path / name,
            quiet=True,
        )
        return {k: v for k, v in diagnose(settings).items() if k != "settings"}

    first, second, third = run("a", 1), run("b", 1), run("c", 2)
    assert first == second != third
    assert first["training_e_eq_kcal_mol_A"] == 0.31 and first["coverage"] == COVERAGE.plain()
    text = " ".join(v["text"] for v in first["verdicts"])  # type: ignore[attr-defined]
    assert "9 atoms, and the largest molecule of the training has 6" in text


def test_frames_of_a_trajectory_and_probes(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ase.io
    from ase import Atoms

    from mdet_openmm.molecules.readers import read_molecule

    molecule = read_molecule(SYSTEMS / "methanol.sdf")
    rng = np.random.default_rng(0)
    images = [Atoms(molecule.atomic_numbers, molecule.positions + rng.normal(0, 0.03, (6, 3))) for _ in range(4)]
    ase.io.write(tmp_path / "run.xyz", images, format="extxyz")
    common: dict[str, Any] = {
        "model": str(tiny),
        "system": SYSTEMS / "methanol.sdf",
        "trajectory": tmp_path / "run.xyz",
        "quiet": True,
    }
    exact = diagnose(DiagnoseSettings(**common, structures=2, rotations=8, output=tmp_path / "exact"))
    monkeypatch.setattr("mdet_openmm.trust.diagnosis.EXACT_ATOMS", 2)
    monkeypatch.setattr("mdet_openmm.trust.diagnosis.PROBES", 200)
    found = diagnose(DiagnoseSettings(**common, structures=2, rotations=8, output=tmp_path / "probes"))
    for name in ("raw", "used"):
        probed = found["lambda"][name]
        assert 0.0 < probed["error"] < 0.1 * probed["value"]
        assert abs(probed["value"] - exact["lambda"][name]["value"]) < 4 * probed["error"]
    assert found["pumping_rate_per_ps"] is None and exact["pumping_rate_per_ps"] is None  # no relaxed structure
    assert found["structures"] == {"count": 2, "origin": "2 of 4 frames of run.xyz", "problem": None}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent", "water.pdb"], ["absent"]),
        (["mdet-gfn2-mini", "absent.pdb"], ["absent.pdb"]),
        (["mdet-gfn2-mini", "water.pdb", "--temperature", "-3"], ["--temperature"]),
        (["mdet-gfn2-mini", "water.pdb", "--timestep", "500"], ["--timestep"]),
        (["mdet-gfn2-mini", "water.pdb", "--rotations", "1"], ["--rotations"]),
        (["mdet-gfn2-mini", "water.pdb", "--structures", "-1"], ["--structures"]),
        (["mdet-gfn2-mini", "water.pdb", "--seed", "-1"], ["--seed"]),
        (["mdet-gfn2-mini", "water.pdb", "--trajectory", "absent.dcd"], ["absent.dcd"]),
    ],
)
def test_bad_input_writes_nothing(
    arguments: list[str], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(SYSTEMS / a) if a == "water.pdb" else a for a in arguments]
    assert main(["diagnose", *given, "--output", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: ") and all(word in message for word in words)
    assert not (tmp_path / "out").exists()


def test_number_of_rotations() -> None:
    settings = DiagnoseSettings(model="m", system=Path("x.pdb"))
    assert [resolved(settings, n).rotations for n in (3, 12, 24, 100)] == [512, 512, 64, 32]
    with pytest.raises(InputError, match="rotations must be at least 2"):
        DiagnoseSettings(model="m", system=Path("x.pdb"), rotations=1)
    with pytest.raises(InputError, match="--structures 0 is too few"):
        DiagnoseSettings(model="m", system=Path("x.pdb"), structures=0, trajectory=Path("x.dcd"))
