"""What the README shows works as it stands there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mdet_openmm.simulation.command import main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_python_example(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    checked = code + (
        "\nimport mdtraj, numpy as np\n"
        "from openmm import unit\n"
        "state = simulation.context.getState(positions=True)\n"
        "x, start = (p.value_in_unit(unit.angstrom) for p in (state.getPositions(asNumpy=True), pdb.positions))\n"
        "assert np.isfinite(x).all() and 0.001 < np.abs(x - np.array(start)).max() < 1.0\n"
        "del simulation\n"
        "assert len(mdtraj.load('trajectory.dcd', top='simulations/systems/ethanol.pdb')) == 12\n"
    )
    (tmp_path / "simulations").symlink_to(ROOT / "simulations")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", checked]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr


def test_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, flags=re.M):
        assert re.search(rf"^{target}:", makefile, flags=re.M)
    for script in set(re.findall(r"simulations/\w+\.py", README)):
        assert (ROOT / script).is_file()


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_run_and_analyse_as_shown(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "simulations/run_nvt.py", "simulations/systems/ethanol.pdb", "--time", "0.05", "--seed", "1"]
    out = tmp_path / "my-run"
    flags = ["--equilibrate", "0.02", "--output", str(out), "--quiet"]
    done = subprocess.run([*run, *flags], cwd=ROOT, capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr
    for file in ("trajectory.dcd", "topology.pdb", "log.csv", "checkpoint.chk", "state.xml", "summary.json"):
        assert (out / file).stat().st_size > 0
    analyse = [sys.executable, "simulations/analyze.py", str(out)]
    shown = subprocess.run(analyse, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=200)
    assert shown.returncode == 0, shown.stderr
    assert Path(shown.stdout.strip().splitlines()[-1].removeprefix("report: ")).is_file()


@pytest.mark.parametrize("name", ["ethanol.cif", "ethanol.xyz", "ethanol.sdf"])
def test_every_format_of_the_example_runs(name: str, tmp_path: Path) -> None:
    flags = ["--steps", "10", "--equilibrate", "0", "--no-minimize", "--output", str(tmp_path / "out"), "--quiet"]
    assert main([str(ROOT / "simulations/systems" / name), *flags]) == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["steps"] == 10
