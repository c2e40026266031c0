"""experiments/fine_tuning.py on shaken structures: what it trains and tests on, and that nothing is done twice."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

import fine_tuning
import numpy as np
import pytest
import torch
from fine_tuning import Case
from published_sets import SETS, training_rows, write_data

from mdet_openmm.data.store import Store
from mdet_openmm.export.model_folder import load_model, save_model
from mdet_openmm.molecules.trajectories import read_trajectory
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.training.config import TrainConfig
from mdet_openmm.training.run_folder import stored

EXPERIMENTS = Path(fine_tuning.__file__).parent
METHANOL = np.array([[0.7, 0, 0], [-0.7, 0, 0], [1.1, 0.9, 0], [-1.1, 1, 0], [-1.1, -0.5, 0.9], [-1.1, -0.5, -0.9]])


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with weights that mean nothing, and an energy head that is not wanted here."""
    torch.manual_seed(0)
    shape = NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=8, l_max=2, energy_head=True, force_scale=0.01)
    network, folder = EdgeTransformer(shape), tmp_path_factory.mktemp("m") / "tiny"
    save_model(folder, network, elements=(1, 6, 8), training={}, metrics={}, card="")
    return folder


def shaken(count: int, seed: int, stiffness: float = 20.0) -> dict[str, Any]:
    """Methanol whose atoms are held by springs, and shaken."""
    moved = np.random.default_rng(seed).normal(scale=0.04, size=(count, 6, 3))
    return {
        "atomic_numbers": np.array([8, 6, 1, 1, 1, 1], dtype=np.uint8),
        "positions": METHANOL + moved,
        "forces": -stiffness * moved,
        "energies": -3000.0 + 0.5 * stiffness * np.square(moved).sum(axis=(1, 2)),
        "level": np.array("springs"),
    }


def pool(count: int = 60) -> dict[str, Any]:
    """One with splits and a second kind of labels, half as stiff."""
    found = shaken(count, seed=0)
    other = {"forces_md17": 0.5 * found["forces"], "energies_md17": 0.5 * (found["energies"] + 3000.0) - 2000.0}
    test = np.arange(count)[::-3]
    train = np.setdiff1d(np.arange(count), test)[::2]
    return {**found, **other, "test_01": test.astype(np.int32), "train_01": train.astype(np.int32)}


def test_rows_that_are_stored_are_found_again_by_the_package_of_today() -> None:
    """A setting that came later belongs into LATER, or every row would be trained once more."""
    stored_rows = json.loads((EXPERIMENTS / "results" / "fine_tuning.json").read_text())["rows"].values()
    trained = [row["asked"]["training"] for row in stored_rows if row["asked"]["training"]]
    now = set(stored(TrainConfig(name="-", data=Path("-"))))
    assert trained
    for settings in trained:
        assert now - settings.keys() <= {*fine_tuning.FREE, *fine_tuning.LATER}


@pytest.fixture
def data(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Archives and a model; times in which no bond can break, for nothing holds the atoms together."""
    monkeypatch.setattr(fine_tuning, "QUICK", {**fine_tuning.QUICK, "time": 0.004, "interval": 1.0})
    (tmp_path / "tiny").symlink_to(tiny)
    np.savez(tmp_path / "rmd17_ethanol_pool.npz", **pool())
    np.savez(tmp_path / "acac_train_300K.npz", **shaken(12, seed=1))
    np.savez(tmp_path / "acac_test_MD_300K.npz", **shaken(9, seed=2))
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, data: Path, *flags: str) -> int:
    """The command, rehearsing; later flags overrule."""
    fixed = {"--sets": "ethanol", "--data": data, "--model": data / "tiny", "--replicas": 1, "--root": data / "root"}
    for kept in (fine_tuning.arrays_of, fine_tuning.digest_of):  # another call is another process
        kept.cache_clear()
    given = [str(x) for f in fixed.items() for x in f]
    monkeypatch.setattr(sys, "argv", ["fine_tuning.py", "--quick", "--quiet", *given, *flags])
    return fine_tuning.main()


def rows_of(data: Path) -> dict[str, Any]:
    rows: dict[str, Any] = json.loads((data / "root" / "fine_tuning.json").read_text())["rows"]
    return rows


def written(folder: Path) -> dict[str, int]:
    """When each file of the trainings and runs was written."""
    found = [p for p in folder.rglob("*") if p.suffix in (".safetensors", ".dcd", ".ckpt", ".h5", ".npz", ".html")]
    return {str(p): p.stat().st_mtime_ns for p in found}


def test_smaller_sets_are_part_of_larger_ones_and_never_of_the_test() -> None:
    arrays = pool()
    rows = training_rows(SETS["ethanol"], arrays)
    assert sorted(rows[: len(arrays["train_01"])]) == sorted(arrays["train_01"])  # the official ones come first
    assert sorted(rows) == sorted(set(range(60)) - set(arrays["test_01"].tolist()))
    large = {"positions": np.zeros((9633, 1, 3)), "test_01": np.arange(0, 9000, 9)}
    chosen = training_rows(SETS["md17-ethanol"], large)
    assert len(set(chosen.tolist())) == 8133 and not set(chosen.tolist()) & set(large["test_01"].tolist())
    assert sorted(training_rows(SETS["acac"], shaken(12, seed=1))) == list(range(12))


@pytest.mark.parametrize(("name", "labels"), [("ethanol", ""), ("md17-ethanol", "_md17")])
def test_labels_are_those_of_the_set(name: str, labels: str, data: Path, tmp_path: Path) -> None:
    arrays = pool()
    rows = np.array([3, 4, 30])
    store = Store(write_data(name, data / SETS[name].file, rows, tmp_path / "some.h5"))
    found = store.load(store.indices("train"))
    np.testing.assert_allclose(found.energy, arrays[f"energies{labels}"][rows], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.forces, arrays[f"forces{labels}"][rows], rtol=0, atol=1e-6)
    wanted = arrays["positions"][rows] - arrays["positions"][rows].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(found.positions, wanted, rtol=0, atol=1e-6)
    assert store.attributes["teacher"] == ("PBE+vdW-TS" if labels else "springs")


def test_simulations_start_from_test_frames_and_are_compared_with_all() -> None:
    frames = pool()
    positions = frames["positions"][fine_tuning.reference_order(60, frames["test_01"])]
    tested = frames["positions"][frames["test_01"]]
    for replicas in range(1, fine_tuning.MOST_REPLICAS + 1):
        starts = positions[[k * 60 // replicas for k in range(replicas)]]
        assert all((tested == start).all(axis=(1, 2)).any() for start in starts)
        assert len(np.unique(starts, axis=0)) == replicas
    assert sorted(positions.reshape(60, -1).tolist()) == sorted(frames["positions"].reshape(60, -1).tolist())


def test_what_another_call_has_added_meanwhile_stays(tmp_path: Path) -> None:
    class Row(Case):
        asked: ClassVar[dict[str, Any]] = {}
        label = property(lambda self: self.name)

    cases = [Row(name, SETS["acac"], 1, "fine-tuned", 1, tmp_path, argparse.Namespace()) for name in ("a", "b")]
    calls = [fine_tuning.Results(tmp_path / "rows.json", {}) for _ in cases]
    for case, results in zip(cases, calls, strict=True):
        results.add(case, {"errors": case.name})
    calls[0].add(cases[0], {"runs": 1})
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert {name: row["errors"] for name, row in rows.items()} == {"a": "a", "b": "b"} and rows["a"]["runs"] == 1


def test_a_finished_row_is_kept_and_a_longer_run_goes_on(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--sets", "ethanol", "acac", "--starts", "as-it-is", "fine-tuned", "from-scratch")
    assert call(monkeypatch, data, *flags) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("| ethanol |", "| acac |"))]
    rows, files = rows_of(data), written(data / "root")
    assert len(rows) == len(shown) == 6
    for row in rows.values():
        ((test, errors),) = row["errors"].items()
        assert test == {"ethanol": "test", "acac": "300 K"}[row["set"]] and errors["frames"] == 6
        start = f"| {row['set']} | {test} | {row['structures'] or '–'} | {row['steps']} | {row['start']} |"
        (line,) = (line for line in shown if line.startswith(start))
        assert f"| {errors['mae']:.1f} | {errors['mae_12']:.1f} | {errors['rmse']:.1f} |" in line
    # as it is, it is the model itself; fine-tuned, its network learns and keeps its shape
    models = {row["start"]: name for name, row in rows.items() if row["set"] == "acac"}
    folders = {start: data / "root" / "models" / models[start] for start in ("fine-tuned", "from-scratch")}
    before = load_model(data / "tiny").network.state_dict()
    for folder in folders.values():
        after = load_model(folder).network.state_dict()
        changed = [not torch.equal(before[k], after[k]) for k in after if k.startswith("layers")]
        assert (
            any(changed)
            and {k: v.shape for k, v in after.items()}.items() <= {k: v.shape for k, v in before.items()}.items()
        )
    # the same again, and other steps: nothing of what is there is computed or lost
    assert call(monkeypatch, data, *flags) == 0
    monkeypatch.setattr(fine_tuning, "QUICK", {**fine_tuning.QUICK, "steps": [2]})
    assert call(monkeypatch, data, "--sets", "acac", "--starts", "fine-tuned") == 0
    after_all = written(data / "root")
    assert {name: after_all[name] for name in files} == files
    assert len(rows_of(data)) == 7 and rows.items() <= rows_of(data).items()
    # other test frames are another row
    np.savez(data / "acac_test_MD_300K.npz", **shaken(9, seed=3))
    assert call(monkeypatch, data, "--sets", "acac", "--starts", "as-it-is") == 0
    assert len(rows_of(data)) == 8


def test_simulations_are_added_to_a_row_and_made_longer(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--sets", "md17-ethanol", "--starts", "fine-tuned")
    assert call(monkeypatch, data, *flags) == 0 and call(monkeypatch, data, *flags, "--simulate") == 0
    (row,) = rows_of(data).values()
    assert row["runs"]["asked"]["time"] == 0.004 and row["runs"]["stable"][2:] == "of 1"
    assert f"| {row['runs']['stable']} | {row['runs']['stability_ps']['mean']:.4g} |" in capsys.readouterr().out
    (reference,) = (data / "root" / "references").rglob("*.npz")
    assert len(read_trajectory(reference).positions) == 60
    monkeypatch.setattr("mdet_openmm.training.fit.run_training", None)
    monkeypatch.setattr(fine_tuning, "QUICK", {**fine_tuning.QUICK, "time": 0.006})
    assert call(monkeypatch, data, *flags, "--simulate") == 0
    (row,) = rows_of(data).values()
    assert row["runs"]["asked"]["time"] == 0.006 and row["runs"]["stability_ps"]["mean"] == pytest.approx(0.006)


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
    assert call(monkeypatch, data, "--starts", "fine-tuned") == 130
    assert "no errors yet" in capsys.readouterr().out and calls == [2]
    assert call(monkeypatch, data, "--starts", "fine-tuned") == 0
    assert calls == [3] and len(rows_of(data)) == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("file", "rmd17_ethanol_pool.npz does not exist"),
        ("array", "has no array energies"),
        ("test", "has none of the test sets acac_test_MD_300K.npz"),
        ("model", "not a model folder"),
        ("replicas", "--replicas must be"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    spoil: str, message: str, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data / "rmd17_ethanol_pool.npz"
    if spoil == "file":
        path.unlink()
    elif spoil == "array":
        archive = pool()
        del archive["energies"]
        np.savez(path, **archive)
    elif spoil == "test":
        (data / "acac_test_MD_300K.npz").unlink()
    flags = {"model": ["--model", str(data)], "replicas": ["--replicas", "7"], "test": ["--sets", "acac"]}
    assert call(monkeypatch, data, *flags.get(spoil, [])) == 2
    assert message in capsys.readouterr().err and not (data / "root").exists()
