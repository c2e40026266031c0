"""The scripts in simulations/."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from mdet_openmm.export.options import PRECISION_HELP

SCRIPTS = Path(__file__).resolve().parents[2] / "simulations"


@pytest.mark.parametrize("script", ["ablate_nve.py", "map_stability.py", "benchmark_nvt.py"])
def test_doors(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, str(SCRIPTS / script), "--replica", "3"]  # no abbreviations
    wrong = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: ") and len(wrong.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPTS / script), run_name="__main__")
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    for flag in ("--replicas", "--workers", "--scheduler", "--restart", "--timestep"):
        assert flag in shown
    assert "ablations only, not recommended" in PRECISION_HELP
    assert script != "benchmark_nvt.py" or PRECISION_HELP in " ".join(shown.split())
