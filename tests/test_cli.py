"""The mdet command, from labelling to analysis, and its errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from mdet_openmm.cli import main

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder made by mdet label and mdet train, in seconds."""
    folder = tmp_path_factory.mktemp("cli")
    data = folder / "tiny.h5"
    (folder / "tiny.label.yaml").write_text(
        """
molecules: [{smiles: "O", name: water}, {smiles: "CO", name: methanol}]
sampling: {runs: [{temperature: 300, trajectories: 1}], frames: 8, displaced: 4, equilibrate: 5, interval: 4}
held_out: {val: 2, test: 2, unseen: 0, frames: 2, equilibrate: 5, interval: 5}
"""
    )
    (folder / "tiny.train.yaml").write_text(
        f"""
name: tiny
data: {data}
network: {{n_layers: 1, embd_dim: 16, n_heads: 2, n_radial: 8, l_max: 2}}
steps: 4
batch_size: 4
warmup_steps: 1
validate_every: 4
threads: 1
"""
    )
    assert main(["label", str(folder / "tiny.label.yaml"), "--output", str(data), "--workers", "1"]) == 0
    flags = ["--output", str(folder / "tiny"), "--run-folder", str(folder / "run"), "--quiet"]
    assert main(["train", str(folder / "tiny.train.yaml"), *flags]) == 0
    return folder / "tiny"


METHANOL = ROOT / "simulations/systems/methanol.sdf"


def test_predict(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(model), str(METHANOL)]) == 0
    answer = json.loads(capsys.readouterr().out)
    forces = np.array(answer["forces_eV_per_A"])
    assert forces.shape == (6, 3) and answer["energy_eV"] is None
    assert np.abs(forces.sum(axis=0)).max() < 1e-12 and np.abs(forces).max() > 1e-6
    assert main(["predict", str(model), str(METHANOL), "--orientations", "60", "--precision", "mixed"]) == 0
    averaged = np.array(json.loads(capsys.readouterr().out)["forces_eV_per_A"])
    assert np.abs(averaged - forces).max() > 1e-9
    # by the former name of the flag
    assert main(["predict", str(model), str(METHANOL), "--frames", "60", "--precision", "mixed"]) == 0
    np.testing.assert_array_equal(json.loads(capsys.readouterr().out)["forces_eV_per_A"], averaged)


def test_export(model: Path, tmp_path: Path) -> None:
    import torch

    out = tmp_path / "methanol.pt"
    assert main(["export", str(model), str(METHANOL), "--output", str(out), "--offset", "none"]) == 0
    energy, forces = torch.jit.load(out)(torch.rand(6, 3, dtype=torch.float64))
    assert energy == 0 and forces.shape == (6, 3)
    assert main(["export", str(model), str(METHANOL), "--output", str(out)]) == 2  # it is there
    with pytest.raises(SystemExit):
        main(["export", str(model), str(METHANOL)])
    former = tmp_path / "former.pt"
    assert main(["export", str(model), str(METHANOL), "--out", str(former)]) == 0 and former.is_file()


def test_finetune_keeps_the_shape(model: Path, tmp_path: Path) -> None:
    flags = ["--output", str(tmp_path / "tuned"), "--run-folder", str(tmp_path / "run"), "--quiet"]
    data = str(model.parent / "tiny.h5")
    assert main(["finetune", str(model), data, "--name", "tuned", "--steps", "2", "--batch-size", "2", *flags]) == 0
    assert (tmp_path / "tuned" / "weights.safetensors").exists()
    config = yaml.safe_load((tmp_path / "tuned" / "config.yaml").read_text())
    assert config["training"]["network"] == config["network"]
    assert main(["finetune", str(tmp_path / "absent"), data, "--name", "x", *flags]) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "no-such-model", str(METHANOL)], ["no-such-model", "shipped models"]),
        (["predict", "MODEL", "absent.pdb"], ["absent.pdb"]),
        (["predict", "MODEL", str(METHANOL), "--charge", "1"], ["electron", "multiplicity"]),
        (["train", "absent.yaml"], ["absent.yaml"]),
        (["label", "absent.yaml"], ["absent.yaml"]),
        (["analyze", "absent"], ["absent"]),
        (["run-nvt", "absent.pdb", "--model", "MODEL"], ["absent.pdb"]),
        (["run-nve", "absent.pdb", "--model", "MODEL"], ["absent.pdb"]),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], words: list[str], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(model) if a == "MODEL" else a for a in arguments]) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("error: ") and "\n" not in message
    for word in words:
        assert word in message


def test_settings_that_cannot_be_are_named_where_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.yaml").write_text("name: x\ndata: x.h5\nprecision: fp16\n")
    Path("deep.yaml").write_text("name: x\ndata: x.h5\nnetwork: {directions: fouriers}\n")
    for arguments, message in (
        (["train", "train.yaml"], "train.yaml: precision must be one of fp32, bf16, not 'fp16'"),
        (["train", "deep.yaml"], "deep.yaml: network: directions must be one of"),
        (["finetune", "x", "x.h5", "--name", "y", "--steps", "0"], "--steps must be at least 1, not 0"),
        (["finetune", "x", "x.h5", "--name", "y", "--learning-rate", "nan"], "--learning-rate must be a finite number"),
        (["run-nvt", "x.pdb", "--temperature", "0"], "--temperature must be positive, not 0.0"),
        (["diagnose", "x", "x.pdb", "--friction", "nan"], "--friction must be a finite number, not nan"),
        (["ablate-nve", "x.pdb", "--replicas", "0"], "--replicas must be at least 1, not 0"),
        (["map-stability", "--conditions", "fp16"], "--conditions: 'fp16' in 'fp16' is not understood"),
        (["benchmark-nvt", "x", "x.npz", "--start", "-1"], "--start must be at least 0, not -1"),
        (["learn-from-failures", "x", "x.h5", "O", "--share", "1"], "--share must be positive and below 1, not 1.0"),
    ):
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: {message}") and said.count("\n") == 1
    for arguments in (["import", "x", "--code", "v3"], ["run-nve", "x.pdb", "--precision", "half"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        said = capsys.readouterr().err
        assert ended.value.code == 2 and arguments[-1] in said and said.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep.yaml", "train.yaml"]


def test_usage_errors_and_help() -> None:
    for arguments in (["nonsense"], ["predict"], ["run-nvt", "x.pdb", "--temp", "300"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
    # --help needs neither torch nor OpenMM: they take seconds to load
    code = "import sys; from mdet_openmm.cli import build_parser; build_parser(); print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'torch'" not in loaded and "'openmm'" not in loaded


def test_predict_refuses_what_does_not_fit(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mdet_openmm.export.memory.available_memory", lambda: 10_000)
    assert main(["predict", str(model), str(METHANOL)]) == 2
    assert "memory" in capsys.readouterr().err


def test_the_shell_completes_commands_and_flags(tmp_path: Path) -> None:
    pytest.importorskip("argcomplete", reason="needs the extra 'completion'")

    def completed(line: str) -> set[str]:
        found = tmp_path / "found"
        asked = {
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_IFS": "\n",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(found),
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
        }
        subprocess.run([sys.executable, "-m", "mdet_openmm"], env={**os.environ, **asked}, check=True, timeout=60)
        return {word.strip() for word in found.read_text().splitlines()}

    assert completed("mdet run-n") == {"run-nvt", "run-nve"}
    assert "--temperature" in completed("mdet run-nvt --temp")
