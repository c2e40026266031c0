"""A training under `timeout`, slice by slice, as docs/training.md has it, is one training."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml


def slice_of(config: Path, seconds: int) -> int:
    """The status of one call that may take so long."""
    command = ["timeout", "--signal=TERM", "--kill-after=60", str(seconds), sys.executable, "-m", "mdet_openmm.cli"]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    arguments = ["train", str(config), "--restart"]
    return subprocess.run([*command, *arguments], cwd=config.parent, env=environment, check=False).returncode


def losses(config: Path, name: str) -> list[tuple[int, str]]:
    with (config.parent / "runs" / name / "loss.csv").open() as file:
        return [(int(row["step"]), row["loss"]) for row in csv.DictReader(file) if row["loss"]]


def write_config(path: Path, data: Path, name: str, steps: int) -> Path:
    network = {"n_layers": 1, "embd_dim": 16, "n_heads": 2, "n_radial": 16, "l_max": 2}
    settings = {"name": name, "data": str(data), "network": network, "steps": steps, "batch_size": 4, "threads": 1}
    path.write_text(yaml.safe_dump({**settings, "checkpoint_every": 5, "accelerator": "cpu"}))
    return path


@pytest.mark.slow
def test_slices_are_one_run(tmp_path: Path, small_data: Path) -> None:
    config = write_config(tmp_path / "long.yaml", small_data, "long", 1_000_000)
    assert slice_of(config, 20) == 124
    first = losses(config, "long")
    assert slice_of(config, 20) == 124
    both = losses(config, "long")
    assert len(first) > 0 and both[: len(first)] == first
    assert [step for step, _ in both] == list(range(len(both))) and len(both) > len(first)


@pytest.mark.slow
def test_the_last_slice_writes_the_model(tmp_path: Path, small_data: Path) -> None:
    config = write_config(tmp_path / "short.yaml", small_data, "short", 3)
    assert slice_of(config, 200) == 0
    assert (tmp_path / "models/short/manifest.json").is_file()
    assert slice_of(config, 200) == 2  # nothing is trained again over a model
