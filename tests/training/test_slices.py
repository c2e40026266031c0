"""benchmarks/gpu_pretrain.sh: a training that is cut into slices on different machines is one training."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mdet_openmm.export.model_folder import load_model

SCRIPT = Path(__file__).parents[2] / "benchmarks/gpu_pretrain.sh"


def write_config(path: Path, data: Path, name: str, steps: int) -> Path:
    network = {"n_layers": 1, "embd_dim": 16, "n_heads": 2, "n_radial": 16, "l_max": 2}
    settings = {"name": name, "data": str(data), "network": network, "steps": steps, "batch_size": 4, "threads": 1}
    path.write_text(yaml.safe_dump({**settings, "checkpoint_every": 5, "accelerator": "cpu"}))
    return path


def slice_of(config: Path, machine: Path, out: Path, before: Path | None = None, seconds: int = 20) -> int:
    env = {**os.environ, "PYTHON": sys.executable, "CONFIG": str(config), "FOLDER": str(machine), "OUT": str(out)}
    env |= {"MINUTES": "2", "SPARE": str(120 - seconds), "FROM": str(before or "")}
    return subprocess.run(["bash", str(SCRIPT)], env=env, check=False, capture_output=True).returncode


def losses(out: Path, name: str) -> list[tuple[int, str]]:
    """Unpack what came back of a run."""
    folder = out / "unpacked"
    folder.mkdir()
    subprocess.run(f"cat run.tar.* | tar -x -C {folder}", shell=True, cwd=out, check=True)
    with (folder / name / "loss.csv").open() as file:
        return [(int(row["step"]), row["loss"]) for row in csv.DictReader(file) if row["loss"]]


@pytest.mark.slow
def test_slices_on_two_machines_are_one_run(tmp_path: Path, small_data: Path) -> None:
    config = write_config(tmp_path / "long.yaml", small_data, "long", 1_000_000)
    one, two = tmp_path / "out-1", tmp_path / "out-2"
    assert slice_of(config, tmp_path / "machine-1", one) == 75
    assert all(part.stat().st_size <= 15 * 2**20 for part in one.iterdir())
    assert slice_of(config, tmp_path / "machine-2", two, before=one) == 75
    first, both = losses(one, "long"), losses(two, "long")
    assert len(first) > 0 and both[: len(first)] == first
    assert [step for step, _ in both] == list(range(len(both))) and len(both) > len(first)
    (part,) = one.glob("run.tar.*")
    part.write_bytes(part.read_bytes()[:-512])
    assert slice_of(config, tmp_path / "machine-3", tmp_path / "out-3", before=one) == 2


@pytest.mark.slow
def test_the_last_slice_brings_the_model(tmp_path: Path, small_data: Path) -> None:
    config, out = write_config(tmp_path / "short.yaml", small_data, "short", 3), tmp_path / "out"
    assert slice_of(config, tmp_path, out, seconds=100) == 0
    subprocess.run(f"cat model.tar.* | tar -x -C {tmp_path}", shell=True, cwd=out, check=True)
    assert load_model(tmp_path / "short").sha256 == load_model(tmp_path / "models/short").sha256
    assert slice_of(config, tmp_path, out) == 2  # nothing is trained again over a model
