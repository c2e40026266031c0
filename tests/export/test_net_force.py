import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mdet_openmm.export.net_force import remove_net_force_and_torque

project = torch.jit.script(remove_net_force_and_torque)


def constraints(positions: np.ndarray) -> np.ndarray:
    """The (6, 3n) matrix that maps forces to net force and net torque."""
    columns = []
    for r in positions - positions.mean(axis=0):
        columns.append(np.vstack([np.eye(3), np.cross(r, np.eye(3)).T]))
    return np.hstack(columns)


def least_change(positions: np.ndarray, forces: np.ndarray) -> np.ndarray:
    """The same by linear algebra on the constraints alone: remove the row space of the constraints."""
    a = constraints(positions)
    return (forces.ravel() - np.linalg.pinv(a, rcond=1e-10) @ (a @ forces.ravel())).reshape(-1, 3)


def projected(positions: np.ndarray, forces: np.ndarray) -> np.ndarray:
    return project(torch.as_tensor(positions)[None], torch.as_tensor(forces)[None])[0].numpy()


def shapes() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    turn = Rotation.random(random_state=1).as_matrix()
    planar = rng.normal(size=(6, 3)) * [1, 1, 0]
    return {
        "random": rng.normal(size=(9, 3)) * 3 + 40,
        "large": rng.normal(size=(80, 3)) * 12,
        "planar": planar @ turn,
        "water": np.array([[0, 0, 0], [1.8, 0, 0], [-0.5, 1.7, 0]]) @ turn,
        "CO2": np.array([[-2.2, 0, 0], [0, 0, 0], [2.2, 0, 0]]) @ turn + 3,
        "HCCH along z": np.array([[0, 0, z] for z in (-3.1, -1.1, 1.1, 3.1)]),
        "needle": rng.normal(size=(5, 3)) * [30, 0.5, 0.5] @ turn,
        "two atoms": rng.normal(size=(2, 3)),
        "one atom": rng.normal(size=(1, 3)),
        "two atoms at one place": np.ones((2, 3)),
    }


@pytest.mark.parametrize("name", shapes())
def test_is_the_least_change_that_removes_force_and_torque(name):
    positions = shapes()[name]
    forces = np.random.default_rng(0).normal(size=positions.shape)
    result = projected(positions, forces)
    assert np.abs(result - least_change(positions, forces)).max() < 1e-12
    scale = np.abs(constraints(positions)).sum(axis=1).max()
    assert np.abs(constraints(positions) @ result.ravel()).max() < 1e-13 * scale
    assert np.abs(projected(positions, result) - result).max() < 1e-12  # nothing left to remove


def test_one_atom_has_no_force_and_two_keep_the_bond_part():
    assert np.array_equal(projected(np.ones((1, 3)), np.ones((1, 3))), np.zeros((1, 3)))
    r = np.array([[0.0, 0, 0], [1, 2, 2]])
    f = np.random.default_rng(0).normal(size=(2, 3))
    along = r[1] / 3
    expected = np.outer([-0.5, 0.5], along) * ((f[1] - f[0]) @ along)
    assert np.abs(projected(r, f) - expected).max() < 1e-15


@pytest.mark.parametrize("bend", [1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1])
def test_nearly_linear_molecules_are_well_behaved(bend):
    rng = np.random.default_rng(2)
    turn = Rotation.random(random_state=3).as_matrix()
    positions = np.array([[-2.2, 0, 0], [0, bend, 0], [2.2, 0, 0]]) @ turn
    forces = rng.normal(size=(3, 3))
    result = projected(positions, forces)
    assert np.linalg.norm(result) <= np.linalg.norm(forces)  # a projection, even a damped one, never amplifies
    net = constraints(positions) @ result.ravel()
    assert np.abs(net[:3]).max() < 1e-13
    assert np.abs(net[3:]).max() < min(4 * bend, 2e-5) + 1e-12  # what is left about the axis: force times bend at most
    if bend >= 1e-2:
        assert np.abs(result - least_change(positions, forces)).max() < 1e-10
    # Smooth: a bend that is 1e-4 larger (relative) changes little, at every size of the bend.
    nearby = np.array([[-2.2, 0, 0], [0, bend * (1 + 1e-4), 0], [2.2, 0, 0]]) @ turn
    assert np.abs(projected(nearby, forces) - result).max() < 1e-2


def test_batches_scripts_equivariance_and_linearity():
    rng = np.random.default_rng(8)
    x = rng.normal(size=(7, 3))
    turns = Rotation.random(12, random_state=0).as_matrix()
    batch, forces = x @ turns, rng.normal(size=(12, 7, 3))
    result = project(torch.as_tensor(batch), torch.as_tensor(forces)).numpy()
    for k in range(12):
        assert np.abs(result[k] - projected(batch[k], forces[k])).max() < 1e-13
    # The mean of the projections of orientations is the projection of their mean: done once is enough.
    back = turns.transpose(0, 2, 1)
    assert np.abs((result @ back).mean(axis=0) - projected(x, (forces @ back).mean(axis=0))).max() < 1e-13
