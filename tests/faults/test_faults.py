"""A few of the faults of ``inject.py``, which says what is asserted; many more of them are a command away."""

import os
import subprocess
import sys
from pathlib import Path


def test_broken_runs_end_as_those_that_were_not() -> None:
    words = [sys.executable, str(Path(__file__).with_name("inject.py")), "--count", "3", "--seed", "9"]
    done = subprocess.run(
        [*words, "--only", "nvt", "label", "train"],
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 broken runs, 3 whole in the end" in done.stdout
