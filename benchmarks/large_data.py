"""How fast structures come from a data set that does not fit into memory: ``python benchmarks/large_data.py``.

Makes a synthetic data set of ``--structures`` in the layout of ``mdet label`` in ``--folder``, opens it in a process of
its own as a training does, and takes random batches from the file, not from memory: seconds to open it, structures a
second, and memory before, after opening and after reading. The file is removed at the end. It is then in the memory of
the operating system, as one of QCML's size would be on a machine with a GPU; from a cold disk it takes what that takes.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from mdet_openmm.data.layout import FAILURES, KINDS, SPLITS, FrameBlock, MoleculeRow, write_dataset

SIZES = np.arange(6, 23)
"""Atoms: 14 on average, as in QCML."""


def write(path: Path, structures: int, each: int, compact: bool) -> None:
    """A data set of that many structures of random numbers, so many of each molecule."""
    rng = np.random.default_rng(0)
    count = -(-structures // each)
    sizes = rng.choice(SIZES, size=count)
    rows = [MoleculeRow(f"molecule {k}", "", "synthetic", 0, 1, "train", int(n)) for k, n in enumerate(sizes)]
    numbers = {int(n): rng.choice((1, 6, 7, 8), size=n).astype(np.int64) for n in SIZES}
    arrays = {int(n): rng.normal(size=(2, each, n, 3)).astype(np.float32) for n in SIZES}

    def blocks() -> Iterator[FrameBlock]:
        for k, n in enumerate(sizes):
            positions, forces = arrays[int(n)]
            yield FrameBlock(
                molecule=k,
                task=k,
                split=SPLITS.index("train"),
                atomic_numbers=numbers[int(n)],
                positions=positions,
                forces=forces,
                energy=np.zeros(each),
                dipole=np.zeros((each, 3), dtype=np.float32),
                temperature=np.full(each, 300.0, dtype=np.float32),
                kind=np.full(each, KINDS.index("dynamics"), dtype=np.uint8),
                failures=np.zeros(len(FAILURES), dtype=np.int64),
                message="",
            )

    source = {"teacher": "none", "teacher_version": "", "package_version": "", "seed": 0, "config": {"teacher": None}}
    write_dataset(path, rows, blocks(), {**source, "start_structures_sha256": ""}, compact=compact)


def memory() -> float:
    """MB that this process has, without what the operating system holds of files."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024


def read(path: Path, batch: int, seconds: float) -> dict[str, Any]:
    """Open a data set and take random batches of it; in a fresh process."""
    from mdet_openmm.data.store import Store
    from mdet_openmm.training import batches

    before, began = memory(), time.perf_counter()
    store = Store(path)
    count = len(store.indices("train"))
    opened = time.perf_counter() - began
    with patch.object(batches, "LARGEST_IN_MEMORY", 0):
        source = batches.TrainingBatches(store, batch_size=batch, copies=1, seed=0, n_batches=1_000_000)
    ready = time.perf_counter() - began
    first = memory()
    for number in range(20):  # the shuffled order of every size is made once
        source.batch(number)
    warm, used, number = memory(), time.process_time(), 20
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        source.batch(number)
        number += 1
    found = (number - 20) * batch
    return {
        "structures": count,
        "seconds_to_open": round(opened, 3),
        "seconds_to_first_batch": round(ready, 3),
        "structures_per_second": round(found / (time.perf_counter() - began)),
        "structures_per_cpu_second": round(found / (time.process_time() - used)),
        "memory_MB": [round(x) for x in (before, first, warm, memory())],
        "peak_memory_MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Reading of a data set larger than memory")
    parser.add_argument("--structures", type=int, default=1_000_000)
    parser.add_argument("--each", type=int, default=500, help="structures of a molecule")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0, help="of reading")
    parser.add_argument("--compact", action="store_true", help="a compressed file")
    parser.add_argument("--folder", type=Path, help="where the file is made, and removed [the system's temporary one]")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)  # the process that reads
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read(options.read, options.batch, options.seconds)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path, began = Path(folder) / "large.h5", time.process_time()
        write(path, options.structures, options.each, options.compact)
        made = {"structures_written_per_cpu_second": round(options.structures / (time.process_time() - began))}
        command = [sys.executable, __file__, "--read", str(path), "--batch", str(options.batch)]
        done = subprocess.run([*command, "--seconds", str(options.seconds)], check=True, capture_output=True, text=True)
        size = {"bytes_per_structure": round(path.stat().st_size / options.structures)}
        print(json.dumps({**size, **made, **json.loads(done.stdout)}, indent=1))


if __name__ == "__main__":
    main()
