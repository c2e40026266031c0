"""How much of the machine labelling uses: the rate of `mdet label` beside that of the bare teacher, in one run.

    python benchmarks/labelling.py --workers 1 2
    python benchmarks/labelling.py --config configs/mdet-gfn2-mini.label.yaml --workers 4

Some molecules of a configuration, spread over it, are labelled by the command itself, with each number of workers: from
its start to the written file. Before that one process of one thread does its tasks (``--sample n``: every n-th group of
them), and then the teacher alone answers what they asked for, in full batches where it takes batches. Its rate in
frames of the data set, times the workers, is what labelling would reach if nothing but the teacher took time. An idle
machine is needed: a neighbour takes from one part of a ratio what it leaves to the other.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")  # before torch or tblite is loaded; workers have one, too

import numpy as np
import torch
import yaml

from mdet_openmm.data.config import LabelConfig, read_config
from mdet_openmm.data.plan import bundles, plan
from mdet_openmm.data.sources import each_entry, read_sources
from mdet_openmm.data.tasks import run_tasks
from mdet_openmm.data.teacher import make_batch_teacher
from mdet_openmm.side_by_side import available_cores


def part_of(path: Path, count: int, to: Path) -> Path:
    """The configuration with some of its molecules, which are given by SMILES."""
    entries = [one for entry in read_config(path).molecules for one in each_entry(entry) if one.smiles is not None]
    chosen = np.unique(np.linspace(0, len(entries) - 1, min(count, len(entries))).round().astype(int))
    names = ("name", "smiles", "weight", "split")
    kept = [{key: getattr(entries[i], key) for key in names if getattr(entries[i], key) is not None} for i in chosen]
    to.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "molecules": kept}))
    return to


def rates_of_one_process(config: LabelConfig, every: int) -> tuple[float, float]:
    """Frames per second of the teacher alone, and of every n-th group of tasks with all that belongs to them."""
    sources = read_sources(config)
    sample = bundles(config, plan(config, sources))[::every]
    teacher, asked = make_batch_teacher(config.teacher), []

    def recorded(requests: Any) -> Any:
        asked.extend(requests)
        return teacher(requests)

    def do(tasks: Any) -> int:
        return sum(len(block.energy) for block in run_tasks(tasks, config, [sources[t.molecule] for t in tasks]))

    do(sample[0])  # loads and compiles what the first call needs
    with patch("mdet_openmm.data.tasks.make_batch_teacher", lambda _: recorded):
        began = time.perf_counter()
        frames = sum(do(tasks) for tasks in sample)
        whole = time.perf_counter() - began
    began = time.perf_counter()
    teacher(asked)
    bare = time.perf_counter() - began
    print(f"one process: {frames} frames of {len(asked)} calculations in {whole:.1f} s, of which {bare:.1f} s teacher")
    return frames / bare, frames / whole


def rate_of_command(path: Path, workers: int) -> tuple[float, float]:
    """Frames per second of `mdet label`, from its start to its end, and its seconds."""
    command = [sys.executable, "-m", "mdet_openmm.cli", "label", str(path), "--workers", str(workers)]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, "--output", str(path.with_name(f"{workers}.h5"))], stdout=subprocess.PIPE, text=True, check=True
    )
    seconds = time.perf_counter() - began
    return json.loads(done.stdout)["frames"] / seconds, seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="the rate of mdet label beside that of its teacher")
    parser.add_argument("--config", type=Path, default=Path("configs/mdet-so3lr-small.label.yaml"))
    parser.add_argument("--molecules", type=int, default=300, help="of the configuration, spread over it")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, available_cores()])
    parser.add_argument("--sample", type=int, default=1, help="one process does every n-th group of tasks")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = part_of(options.config, options.molecules, Path(folder) / "part.label.yaml")
        config = read_config(path)
        load = f"{available_cores()} cores, load average {os.getloadavg()[0]:.2f}"
        print(f"{options.config.name}: {len(config.molecules)} molecules, {load}", flush=True)
        bare, whole = rates_of_one_process(config, options.sample)
        rows = {workers: rate_of_command(path, workers) for workers in options.workers}
    print("\n| | frames/s | of workers × the bare teacher |\n| --- | --- | --- |")
    print(f"| the teacher alone, one thread | {bare:.1f} | |")
    print(f"| tasks in one process, nothing written | {whole:.1f} | {whole / bare:.1%} |")
    for workers, (rate, seconds) in rows.items():
        share = f"{rate / workers / bare:.1%}"
        print(f"| `mdet label --workers {workers}`, {seconds:.0f} s in all | {rate:.1f} | {share} |")


if __name__ == "__main__":
    main()
