"""The structures that a molecule is judged on."""

from pathlib import Path
from typing import Any

import ase.io
import mdtraj
import numpy as np
import pytest
from ase import Atoms

from mdet_openmm.errors import InputError
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.molecules.bonds import find_bonds, pair_distances
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.simulation.structures import model_structures, trajectory_structures

SYSTEMS = Path(__file__).resolve().parents[2] / "simulations/systems"
METHANOL = read_molecule(SYSTEMS / "methanol.sdf")


def test_relaxed_and_thermal() -> None:
    model, ticks = load_model("mdet-gfn2-mini"), []
    common: dict[str, Any] = {"count": 2, "timestep": 0.5, "precision": "mixed", "tick": lambda: ticks.append(1)}
    found = model_structures(model, METHANOL, temperature=300.0, seed=1, **common)
    assert found.positions.shape == (3, 6, 3) and found.relaxed and not found.problem and len(ticks) == 3
    bonds = find_bonds(METHANOL.atomic_numbers, METHANOL.positions)
    still, first, second = (pair_distances(x, bonds) for x in found.positions)
    assert 0.005 < np.abs(first - still).max() < 0.4 and np.abs(first - second).max() > 0.005
    again = model_structures(model, METHANOL, temperature=300.0, seed=1, **common)
    assert np.array_equal(found.positions, again.positions)
    torn = model_structures(model, METHANOL, temperature=60000.0, seed=1, **common)
    assert "bond" in torn.problem and len(torn.positions) < 3


@pytest.mark.parametrize("name", ["run.xyz", "run.dcd", "run.xtc", "folder"])
def test_frames_of_a_trajectory(name: str, tmp_path: Path) -> None:
    frames = METHANOL.positions + 0.01 * np.arange(9)[:, None, None]
    path = tmp_path / name
    if name == "run.xyz":
        ase.io.write(path, [Atoms(METHANOL.atomic_numbers, x) for x in frames], format="extxyz")
    else:
        file = path / "trajectory.dcd" if name == "folder" else path
        file.parent.mkdir(exist_ok=True)
        mdtraj.Trajectory((0.1 * frames).astype(np.float32), None).save(str(file))
    found = trajectory_structures(path, METHANOL, 3)
    assert found.positions == pytest.approx(frames[[0, 4, 8]], abs=0.01) and not found.relaxed
    assert found.positions[2, 0, 0] - found.positions[0, 0, 0] == pytest.approx(0.08, abs=0.005)


def test_wrong_trajectories(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "other.xyz", Atoms("CH4", np.random.default_rng(0).random((5, 3))))
    (tmp_path / "text.dcd").write_text("no trajectory")
    ase.io.write(tmp_path / "nan.xyz", Atoms(METHANOL.atomic_numbers, METHANOL.positions * np.nan))
    for name, word in (("absent.dcd", "exist"), ("other.xyz", "atoms"), ("text.dcd", "DCD"), ("nan.xyz", "finite")):
        with pytest.raises(InputError, match=word):
            trajectory_structures(tmp_path / name, METHANOL, 3)
