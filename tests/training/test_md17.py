"""benchmarks/md17.py on a few structures of water: what it trains on, and that nothing is done twice."""

import json
import sys
from pathlib import Path
from typing import Any

import md17
import numpy as np
import pytest
from numpy.typing import NDArray

from mdet_openmm.data.store import Store

MODEL = Path(__file__).resolve().parents[2] / "models/mdet-gfn2-mini"


def pool(count: int = 60) -> dict[str, NDArray[Any]]:
    """As in shared/data: methanol, shaken; every array tells its row."""
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
        "test_01": row[::3].astype(np.int32),
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    np.savez(tmp_path / "rmd17_methanol_pool.npz", **pool())
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, data: Path, *flags: str) -> int:
    fixed = ["md17.py", "--device", "cpu", "--quick", "--molecules", "methanol", "--data", str(data)]
    fixed += [
        "--model",
        str(MODEL),
        "--root",
        str(data / "root"),
        "--results",
        str(data / "results"),
        "--replicas",
        "1",
    ]
    monkeypatch.setattr(sys, "argv", [*fixed, *flags])
    return md17.main()


def test_splits_do_not_overlap_and_labels_are_those_of_md17(tmp_path: Path) -> None:
    frames = pool()
    rows = md17.splits_of(frames, 10, None)
    assert {k: len(v) for k, v in rows.items()} == {"val": 10, "train": 30, "test": 20}
    assert len(np.unique(np.concatenate(list(rows.values())))) == 60
    assert np.array_equal(rows["test"], frames["test_01"])
    store = Store(md17.write_data(frames, "methanol", tmp_path / "methanol.h5", quick=True))
    for split, chosen in md17.splits_of(frames, 20, 40).items():
        found = store.load(store.indices(split))
        assert np.array_equal(found.forces.astype(np.float32), frames["forces_md17"][chosen])
        assert np.array_equal(found.energy, frames["energies_md17"][chosen])
        apart = found.positions[:, 1:] - found.positions[:, :1]
        expected = frames["positions"][chosen].astype(np.float64)
        np.testing.assert_allclose(apart, expected[:, 1:] - expected[:, :1], atol=1e-6)


@pytest.mark.slow
def test_what_is_done_is_not_done_again(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, data) == 0
    shown = capsys.readouterr().out.strip().splitlines()[-4:]
    (path,) = (data / "results").glob("md17-*.json")
    rows = json.loads(path.read_text())["rows"]
    assert [r["recipe"] for r in rows] == ["fine-tuned", "from scratch"]
    for row, line in zip(rows, shown[2:], strict=True):
        assert f"| {row['mae_meV_A']:.1f} | {row['mae_12_meV_A']:.1f} |" in line and row["runs"] == 1
    files = {p: p.stat().st_mtime_ns for p in (data / "root").rglob("*.safetensors")}
    monkeypatch.setattr("mdet_openmm.training.fit.run_training", None)
    assert call(monkeypatch, data) == 0
    assert json.loads(path.read_text())["rows"] == rows
    assert files == {p: p.stat().st_mtime_ns for p in (data / "root").rglob("*.safetensors")}


def test_out_of_time_is_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(*args: Any, **settings: Any) -> None:
        while True:
            pass

    monkeypatch.setattr("mdet_openmm.training.fit.run_training", endless)
    assert call(monkeypatch, data, "--minutes", "0.005") == 75


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("file", "rmd17_methanol_pool.npz does not exist"),
        ("array", "has no array forces_md17"),
        ("model", "not a model folder"),
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
    flags = ["--model", str(data)] if spoil == "model" else []
    assert call(monkeypatch, data, *flags) == 2
    assert message in capsys.readouterr().err and not (data / "root").exists()
