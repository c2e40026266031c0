"""The benchmark measures what it says, before a GPU is spent on it."""

import functools
import json
import sys
from pathlib import Path
from typing import Any

import gpu
import numpy as np
import published_size
import pytest
import torch
import training_speed
import yaml
from ase import Atoms
from gpu_floors import Rates, floors
from published_size import LAYERS, PUBLISHED, WIDTH, atoms

from mdet_openmm.export.force_module import bind, forces
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.units import ANGSTROM_PER_NM


def test_the_textbook_network_under_ase_has_the_forces_of_ours(device: str) -> None:
    x = ANGSTROM_PER_NM * atoms(5).numpy()
    molecule = Atoms(numbers=[6] * 5, positions=x)
    molecule.calc = gpu.Textbook(5, torch.float64, device)
    expected = forces(bind(gpu.published()[1], Species([6] * 5), ForceOptions(raw=True, offset="none")), x)[1]
    assert np.abs(molecule.get_forces() - expected).max() < 1e-9 * np.abs(expected).max()


def test_the_floors_are_counts_over_rates() -> None:
    rates = Rates(fp64=2.0, fp32=4.0, bandwidth=8.0)
    arithmetic, moved = floors(rates, 10, 3, "double")
    assert arithmetic == LAYERS * (9 * 300 * WIDTH**2 + 3 * 3000 * WIDTH) / 2.0
    assert moved == LAYERS * (15 * 300 * WIDTH + 9 * WIDTH**2)
    assert floors(rates, 10, 3, "mixed") == (arithmetic / 2, moved / 2)


def test_results_grow_row_by_row_and_are_not_measured_twice(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*flags: str) -> dict[str, dict[str, float]]:
        fixed = ["gpu.py", "--output", str(tmp_path)]
        fixed += f"--device {device} --orientations 1 --seconds 0.01 --replicas 3".split()
        monkeypatch.setattr(sys, "argv", [*fixed, *flags])
        gpu.main()
        (path,) = tmp_path.glob("*.json")
        return json.loads(path.read_text())["rows"]

    # one narrow layer: how fast the published twelve are is the benchmark's to say
    small = {**PUBLISHED, "n_layers": 1, "embd_dim": 16, "num_heads": 2, "num_3d_kernels": 8}
    for module in (gpu, published_size):
        monkeypatch.setattr(module, "PUBLISHED", small)
    monkeypatch.setattr(gpu, "published", functools.cache(published_size.network))
    monkeypatch.setattr(gpu, "module_of", functools.lru_cache(maxsize=1)(gpu.module_of.__wrapped__))
    monkeypatch.setattr(gpu, "RESULTS", tmp_path / "none")
    monkeypatch.setattr(gpu, "PRECISIONS", ("mixed",))
    first = call("--sizes", "3")
    assert set(first) == {case.key for case in gpu.cases([3], [1], [3])} and len(first) == 10
    measured = [row for row in first.values() if "skipped" not in row]
    assert len(measured) >= 6  # without TorchForce
    for row in measured:
        assert row["steps_per_s"] == pytest.approx(1.0 / row["step_s"])
        assert row["ns_per_day"] == pytest.approx(row["replicas"] * row["steps_per_s"] * 86400 * 0.5e-6)
        assert row["first_step_s"] > 0 and row["arithmetic_s"] > 0 and row["bytes_s"] > 0 and row["warnings"] == []
    assert call("--sizes", "3", "4", "--minutes", "0") == first
    shown = capsys.readouterr().out
    assert "| 3 | mixed | 1 |" in shown and "| 3 | python graph |" in shown


def test_training_is_timed_row_by_row_and_what_failed_again(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*flags: str) -> list[dict[str, Any]]:
        fixed = ["training_speed.py", "--device", device, "--config", str(small), "--atoms", "4", "--batch", "2"]
        monkeypatch.setattr(sys, "argv", [*fixed, "--steps", "1", "--output", str(tmp_path), *flags])
        training_speed.main()
        (path,) = tmp_path.glob("training-*.json")
        rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"]
        return rows

    def out_of_memory(*arguments: Any) -> dict[str, Any]:
        raise RuntimeError("out of memory\nand more")

    network: dict[str, Any] = {"n_layers": 1, "embd_dim": 16, "n_heads": 2, "n_radial": 8, "l_max": 2}
    small = tmp_path / "small.train.yaml"
    small.write_text(yaml.safe_dump({"name": "small", "data": "none.h5", "network": network}))
    theirs = {**PUBLISHED, "n_layers": 1, "embd_dim": 16, "num_heads": 2, "num_3d_kernels": 8}
    assert training_speed.shapes(small) == (theirs, NetworkConfig(**network))
    monkeypatch.setattr(training_speed, "WAYS", (("textbook", False), ("ours", False)))
    step = training_speed.ours
    monkeypatch.setattr(training_speed, "ours", out_of_memory)
    first = call()
    assert [r["network"] for r in first] == ["textbook", "ours"] * 2
    assert first[1]["failed"] == "RuntimeError: out of memory" and first[1]["samples_per_s"] is None
    monkeypatch.setattr(training_speed, "ours", step)
    monkeypatch.setattr(training_speed, "textbook", out_of_memory)  # whose rows are there
    second = [r for precision in ("fp32", "bf16") for r in call() if r["precision"] == precision]
    assert [second[0], second[2]] == [first[0], first[2]]
    for row in second:
        assert row["samples_per_s"] == pytest.approx(2 / row["step_s"]) and (row["peak_bytes"] is None) == (
            device == "cpu"
        )
    ratio = second[1]["samples_per_s"] / second[0]["samples_per_s"]
    shown = capsys.readouterr().out
    assert f"| fp32 | ours, compile: false | {second[1]['samples_per_s']:.2f} | {ratio:.2f} | – |" in shown
    call("--atoms", "5")
    assert len(call()) == 8
