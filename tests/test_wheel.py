"""What pip installs: built, looked at, and run in an empty folder outside the repository."""

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ETHANOL = ROOT / "simulations" / "systems" / "ethanol.pdb"


def called(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(c) for c in command], cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="needs the extra 'dev'")
    folder = tmp_path_factory.mktemp("dist")
    called(sys.executable, "-m", "hatchling", "build", "-d", folder, cwd=ROOT)
    return folder


def test_the_wheel_has_the_package_and_the_models_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(n for n in names if n.endswith("METADATA"))).decode()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"mdet_openmm"}
    for model in (ROOT / "models").iterdir():
        assert f"mdet_openmm/shipped/{model.name}/weights.safetensors" in names
    assert "mdet_openmm/py.typed" in names and any(n.endswith("LICENSE") for n in names)
    assert not [n for n in names if "__pycache__" in n or n.endswith((".nbi", ".nbc"))]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra in project["optional-dependencies"]:
        assert f"Provides-Extra: {extra}" in metadata
    for line in ("Requires-Python: >=3.11", "License-Expression: MIT", "Project-URL: Paper", "Classifier: Topic"):
        assert line in metadata, line


def test_the_sdist_builds_by_itself(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "mdet_openmm/cli.py", "models/mdet-gfn2-mini/README.md"} <= names
    assert not [n for n in names if n.startswith(("runs/", "data/", ".venv"))]


def test_a_first_trajectory_by_one_command_far_from_the_repository(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    where = {"PYTHONPATH": str(tmp_path / "installed")}
    found = called(sys.executable, "-c", "import mdet_openmm; print(mdet_openmm.__file__)", cwd=tmp_path, **where)
    assert str(tmp_path) in found
    (tmp_path / "molecule.pdb").write_bytes(ETHANOL.read_bytes())
    run = (
        "run-nvt",
        "molecule.pdb",
        "--time",
        "0.02",
        "--equilibrate",
        "0.01",
        "--output",
        "run",
        "--precision",
        "mixed",
    )
    called(sys.executable, "-m", "mdet_openmm", *run, cwd=tmp_path, **where)
    assert (tmp_path / "run" / "trajectory.dcd").stat().st_size > 0
