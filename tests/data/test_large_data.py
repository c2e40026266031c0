"""benchmarks/large_data.py: what it makes is a data set of that size, and what it reads are its structures."""

import json
import subprocess
import sys
from pathlib import Path

import large_data
import numpy as np

from mdet_openmm.data.store import Store


def test_what_is_written_has_the_sizes_and_the_number_that_were_asked_for(tmp_path: Path) -> None:
    large_data.write(tmp_path / "set.h5", 120, each=20, compact=False)
    store = Store(tmp_path / "set.h5")
    assert len(store.indices("train")) == 120 and len(store.molecules) == 6
    assert np.isin(store.sizes, large_data.SIZES).all()


def test_it_prints_its_numbers_and_removes_its_file(tmp_path: Path) -> None:
    command = [sys.executable, large_data.__file__, "--structures", "600", "--each", "20", "--batch", "8"]
    done = subprocess.run(
        [*command, "--seconds", "0.2", "--folder", str(tmp_path)], check=True, capture_output=True, text=True
    )
    found = json.loads(done.stdout)
    assert found["structures"] == 600 and found["structures_per_second"] > 0
    assert found["bytes_per_structure"] > 25 * large_data.SIZES.min() and not list(tmp_path.iterdir())
