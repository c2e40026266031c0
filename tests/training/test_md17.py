"""experiments/md17.py on a few shaken structures of methanol: what it trains on, and that nothing is done twice."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import md17
import numpy as np
import pytest
import torch

from mdet_openmm.data.store import Store
from mdet_openmm.export.model_folder import load_model, save_model
from mdet_openmm.molecules.trajectories import read_trajectory
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with weights that mean nothing, and an energy head that is not wanted here."""
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "n_layers": 1,
        "embd_dim": 16,
        "n_heads": 2,
        "n_radial": 8,
        "l_max": 2,
        "energy_head": True,
    }
    network, folder = EdgeTransformer(NetworkConfig(**shape, force_scale=0.01)), tmp_path_factory.mktemp("m") / "tiny"
    save_model(folder, network, elements=(1, 6, 8), training={}, metrics={}, card="")
    return folder


def pool(count: int = 60) -> dict[str, Any]:
    """Methanol, shaken; every array tells its row."""
    rng = np.random.default_rng(0)
    x = np.array([[0.7, 0, 0], [-0.7, 0, 0], [1.1, 0.9, 0], [-1.1, 1, 0], [-1.1, -0.5, 0.9], [-1.1, -0.5, -0.9]])
    positions = (x + rng.normal(scale=0.03, size=(count, 6, 3))).astype(np.float32)
    row = np.arange(count)
    return {
        "atomic_numbers": np.array([8, 6, 1, 1, 1, 1], dtype=np.uint8),
        "positions": positions,
        "forces": np.full((count, 6, 3), 99.0, dtype=np.float32),  # the other labels: not to be used
        "forces_md17": (positions * 0.1 + row[:, None, None] * 1e-3).astype(np.float32),
        "energies_md17": -3000.0 - row.astype(np.float64),
        "test_01": row[::-3].astype(np.int32),
    }


@pytest.fixture
def data(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Archives and a model; times in which no bond can break, for nothing holds the atoms together."""
    monkeypatch.setattr(md17, "QUICK", {**md17.QUICK, "time": 0.004, "interval": 1.0})
    (tmp_path / "tiny").symlink_to(tiny)
    for name in ("methanol", "twin"):
        np.savez(tmp_path / f"rmd17_{name}_pool.npz", **pool())
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, data: Path, *flags: str) -> int:
    """The command, rehearsing; later flags overrule."""
    fixed = {"--device": "cpu", "--molecules": "methanol", "--data": data, "--model": data / "tiny", "--replicas": 1}
    fixed |= {"--root": data / "root"}
    monkeypatch.setattr(sys, "argv", ["md17.py", "--quick", *(str(x) for f in fixed.items() for x in f), *flags])
    return md17.main()


def rows_of(data: Path) -> dict[str, Any]:
    rows: dict[str, Any] = json.loads((data / "root" / "md17.json").read_text())["rows"]
    return rows


def written(folder: Path) -> dict[str, int]:
    """When each file of the trainings and runs was written."""
    found = [p for p in folder.rglob("*") if p.suffix in (".safetensors", ".dcd", ".ckpt", ".h5", ".npz")]
    return {str(p): p.stat().st_mtime_ns for p in found}


def test_splits_do_not_overlap_and_labels_are_those_of_md17(tmp_path: Path) -> None:
    frames = pool()
    rows = md17.splits_of(frames, 10, None)
    assert {k: len(v) for k, v in rows.items()} == {"val": 10, "train": 30, "test": 20}
    assert len(np.unique(np.concatenate(list(rows.values())))) == 60
    assert np.array_equal(rows["test"], np.sort(frames["test_01"]))
    store = Store(md17.write_data(frames, "methanol", tmp_path / "methanol.h5", quick=True))
    for split, chosen in md17.splits_of(frames, 20, 40).items():
        found = store.load(store.indices(split))
        assert np.array_equal(found.forces.astype(np.float32), frames["forces_md17"][chosen])
        assert np.array_equal(found.energy, frames["energies_md17"][chosen])
        apart = found.positions[:, 1:] - found.positions[:, :1]
        expected = frames["positions"][chosen].astype(np.float64)
        np.testing.assert_allclose(apart, expected[:, 1:] - expected[:, :1], atol=1e-6)


def test_simulations_start_from_test_frames_and_are_compared_with_all(tmp_path: Path) -> None:
    frames = pool()
    reference = read_trajectory(md17.write_reference(frames, tmp_path / "references" / "methanol.npz"))
    assert reference.name == "methanol" and len(reference.positions) == 60
    tested = frames["positions"][frames["test_01"]]
    for replicas in range(1, md17.MOST_REPLICAS + 1):
        starts = reference.positions[[k * 60 // replicas for k in range(replicas)]].astype(np.float32)
        assert all((tested == start).all(axis=(1, 2)).any() for start in starts)
        assert len(np.unique(starts, axis=0)) == replicas
    everything = frames["positions"].reshape(60, -1).tolist()
    assert sorted(reference.positions.reshape(60, -1).tolist()) == sorted(everything)


def test_a_finished_row_is_kept_and_a_longer_run_goes_on(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, data) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| methanol | f")]
    rows, files = rows_of(data), written(data / "root")
    assert list(rows) == ["methanol-fine-tuned", "methanol-from-scratch"]
    for row, line in zip(rows.values(), shown, strict=True):
        errors, runs = row["training"], row["runs"]
        assert f"| {errors['mae']:.1f} | {errors['mae_12']:.1f} | – | {errors['e_eq_kcal_mol_A']:.3f} |" in line
        assert f"| {runs['stable']} | {runs['stability_ps']['mean']:.4g} |" in line and runs["stable"][2:] == "of 1"
        assert errors == {
            **errors,
            **load_model(data / "root/models" / name_of(row)).metadata["metrics"]["test"]["all"],
        }
    # the same again, and another molecule: nothing of what is there is computed or lost
    assert call(monkeypatch, data) == 0
    assert call(monkeypatch, data, "--molecules", "twin", "--recipes", "fine-tuned") == 0
    after = written(data / "root")
    assert {name: after[name] for name in files} == files
    assert rows_of(data) == {**rows, "twin-fine-tuned": rows_of(data)["twin-fine-tuned"]}
    # a longer time is another row of the same model
    monkeypatch.setattr("mdet_openmm.training.fit.run_training", None)
    monkeypatch.setattr(md17, "QUICK", {**md17.QUICK, "time": 0.006})
    assert call(monkeypatch, data, "--recipes", "fine-tuned") == 0
    row = rows_of(data)["methanol-fine-tuned"]
    assert row["asked"]["runs"]["time"] == 0.006 and row["runs"]["stability_ps"]["mean"] == pytest.approx(0.006)
    # frames of another archive are refused, and other settings where a model stands in their way
    np.savez(data / "rmd17_twin_pool.npz", **pool() | {"energies_md17": np.zeros(60)})
    assert call(monkeypatch, data, "--molecules", "twin", "--recipes", "from scratch") == 2
    assert "made of other frames" in capsys.readouterr().err
    monkeypatch.setattr(md17, "QUICK", {**md17.QUICK, "steps": 5})
    assert call(monkeypatch, data, "--recipes", "fine-tuned") == 2
    assert "trained with another steps" in capsys.readouterr().err


def name_of(row: dict[str, Any]) -> str:
    return f"{row['molecule']}-{row['recipe'].replace(' ', '-')}"


def test_a_training_that_was_interrupted_is_gone_on_with(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mdet_openmm.training.module import ForceTraining

    step, calls = ForceTraining.training_step, [0]

    def interrupting(self: ForceTraining, *arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == 2:
            os.kill(os.getpid(), 2)
        return step(self, *arguments)

    monkeypatch.setattr(ForceTraining, "training_step", interrupting)
    assert call(monkeypatch, data, "--recipes", "fine-tuned") == 130
    assert "no errors yet" in capsys.readouterr().out and calls == [2]
    assert call(monkeypatch, data, "--recipes", "fine-tuned") == 0
    assert calls == [4] and "runs" in rows_of(data)["methanol-fine-tuned"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("file", "rmd17_methanol_pool.npz does not exist"),
        ("array", "has no array forces_md17"),
        ("model", "not a model folder"),
        ("replicas", "--replicas must be"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    spoil: str, message: str, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data / "rmd17_methanol_pool.npz"
    if spoil == "file":
        path.unlink()
    elif spoil == "array":
        np.savez(path, **{k: v for k, v in pool().items() if k != "forces_md17"})
    flags = {"model": ["--model", str(data)], "replicas": ["--replicas", "7"]}.get(spoil, [])
    assert call(monkeypatch, data, *flags) == 2
    assert message in capsys.readouterr().err and not (data / "root").exists()
