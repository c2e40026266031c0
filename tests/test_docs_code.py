"""The Python code on the pages of the site runs as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHECKS = {
    "library": """
assert system.getNumParticles() == pdb.topology.getNumAtoms() == 9
import mdtraj, numpy
assert len(mdtraj.load("trajectory.dcd", top="simulations/systems/ethanol.pdb")) == 12
assert numpy.linalg.norm(atoms.get_forces(), axis=1).max() < 0.01
""",
    "conservative": """
assert sorted({force.getForceGroup() for force in system.getForces()}) == [0, 1]
simulation.context.setPositions(pdb.positions)
simulation.step(2)
assert simulation.context.getStepCount() == 2
""",
}
"""What is true when all blocks of a page have run, one behind the other."""


def blocks(page: str) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(), flags=re.S))


@pytest.mark.parametrize("page", sorted(CHECKS))
def test_code_of_a_page(page: str, tmp_path: Path) -> None:
    code = blocks(page)
    if "openmmml" in code:
        pytest.importorskip("openmmml", reason="needs the extra 'openmm-ml'")
    # a page that names no file or model of ours means the reader's
    code = code.replace('"octane.pdb"', '"simulations/systems/octane.pdb"')
    if "MODEL" in code:
        code = 'MODEL = "mdet-gfn2-alkanes-energy"\n' + code
    (tmp_path / "simulations").symlink_to(ROOT / "simulations")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code + CHECKS[page]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr
