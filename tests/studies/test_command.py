"""The scripts in simulations/."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("script", ["ablate_nve.py", "map_stability.py", "benchmark_nvt.py"])
def test_doors(script: str, tmp_path: Path) -> None:
    def call(*flags: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "simulations" / script), *flags]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)

    shown = call("--help")
    assert shown.returncode == 0
    for flag in ("--replicas", "--workers", "--scheduler", "--restart", "--timestep"):
        assert flag in shown.stdout
    wrong = call("--replica", "3")  # no abbreviations
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: ") and len(wrong.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_help_says_that_fp32_is_not_recommended() -> None:
    from mdet_openmm.export.options import PRECISION_HELP

    shown = subprocess.run(
        [sys.executable, str(ROOT / "simulations" / "benchmark_nvt.py"), "--help"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "ablations only, not recommended" in PRECISION_HELP
    assert PRECISION_HELP in " ".join(shown.stdout.split())
