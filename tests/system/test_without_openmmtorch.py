"""Where openmmtorch has no wheel: PythonForce does everything, and TorchForce is refused in one line."""

import os
import subprocess
import sys
from pathlib import Path

from mdet_openmm import doctor
from mdet_openmm.system import force

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
sys.modules["openmmtorch"] = None  # its import fails, as where it is not installed
import mdet_openmm as mdet
import openmm
from openmm import app, unit
from mdet_openmm.cli import main

pdb = app.PDBFile("simulations/systems/ethanol.pdb")
system = mdet.create_system(pdb.topology, "mdet-gfn2-mini", positions=pdb.positions)
assert [type(f).__name__ for f in system.getForces()] == ["PythonForce"]
simulation = app.Simulation(pdb.topology, system, openmm.VerletIntegrator(0.0005), *mdet.platform())
simulation.context.setPositions(pdb.positions)
simulation.step(2)
forces = simulation.context.getState(forces=True).getForces(asNumpy=True)._value
assert abs(forces).max() > 1 and abs(forces.sum(axis=0)).max() < 1e-6
try:
    mdet.create_system(pdb.topology, "mdet-gfn2-mini", backend="torch")
except ValueError as error:
    print("refused:", error)
run = ["run-nvt", "simulations/systems/ethanol.pdb", "--steps", "8", "--equilibrate", "0", "--no-minimize"]
assert main([*run, "--output", sys.argv[1]]) == 0
assert main([*run, "--backend", "torch", "--output", sys.argv[1] + "-2"]) == 2
"""


def test_everything_runs_without_it(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr
    told = "TorchForce does not work here (openmmtorch is not installed)"
    assert f"python backend: PythonForce: {told}" in done.stdout
    refusal = "the torch backend does not work here: openmmtorch is not installed; use --backend python"
    assert f"refused: {refusal}\n" in done.stdout and f"error: {refusal}\n" in done.stderr
    assert not (tmp_path / "run-2").exists()


def test_the_doctor_takes_it_for_no_problem(monkeypatch) -> None:
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "openmmtorch" else version(name))
    monkeypatch.setattr(force, "torch_problem", lambda: force.NOT_INSTALLED)
    for machine, cure in (("x86_64", "pip install 'openmmtorch>=1.5,<1.6'"), ("aarch64", "")):
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        about = [f for f in doctor.examine() if "openmmtorch" in f.text]
        assert [f.state for f in about] == [doctor.NOTE, doctor.NOTE]
        assert about[0].cure == cure and "PythonForce" in about[0].text
