"""Momentum, angular momentum and the degrees of freedom that are left without them."""

import numpy as np
import pytest

from mdet_openmm.simulation.rigid_motion import internal_freedom, without_rigid_motion

RNG = np.random.default_rng(4)
MASSES = np.array([15.999, 1.008, 12.011, 14.007])
BENT = RNG.normal(size=(4, 3))
LINEAR = np.array([[-1.0, -1.0, 0.0], [0.0, 0.0, 0.0], [0.5, 0.5, 0.0], [2.0, 2.0, 0.0]]) + 3.0


def momenta(positions: np.ndarray, velocities: np.ndarray) -> np.ndarray:
    masses = MASSES[: len(positions), None]
    return np.concatenate([(masses * velocities).sum(axis=0), np.cross(positions, masses * velocities).sum(axis=0)])


@pytest.mark.parametrize("positions", [BENT, LINEAR], ids=["bent", "linear"])
def test_no_momentum_is_left_and_nothing_else_is_taken(positions: np.ndarray) -> None:
    drawn = RNG.normal(size=(4, 3))
    left = without_rigid_motion(MASSES, positions, drawn)
    assert np.abs(momenta(positions, left)).max() < 1e-13 < np.abs(momenta(positions, drawn)).max()
    np.testing.assert_allclose(without_rigid_motion(MASSES, positions, left), left, atol=1e-14)
    # What was taken is the motion of a rigid body: it changes no distance between atoms.
    taken = drawn - left
    between, moving = positions[:, None] - positions[None], taken[:, None] - taken[None]
    assert np.abs((between * moving).sum(axis=-1)).max() < 1e-13


def test_degrees_of_freedom() -> None:
    assert internal_freedom(MASSES, BENT).sum() == pytest.approx(6)
    assert internal_freedom(MASSES, LINEAR).sum() == pytest.approx(7)
    assert internal_freedom(MASSES[:2], BENT[:2]).sum() == pytest.approx(1)
    assert np.abs(internal_freedom(MASSES[:1], BENT[:1])).max() < 1e-12
    # Of two atoms each moves with the other's mass: K_i is proportional to 1/m_i.
    share = internal_freedom(MASSES[:2], BENT[:2])
    assert share[1] / share[0] == pytest.approx(MASSES[0] / MASSES[1])


def test_an_atoms_freedom_is_its_share_of_the_kinetic_energy() -> None:
    samples = 4000
    drawn = RNG.normal(size=(samples, 4, 3)) / np.sqrt(MASSES)[:, None]  # k_B T = 1
    twice = [MASSES * np.square(without_rigid_motion(MASSES, BENT, v)).sum(axis=1) for v in drawn]
    freedom = internal_freedom(MASSES, BENT)
    np.testing.assert_allclose(np.mean(twice, axis=0), freedom, atol=5.0 * np.sqrt(2.0 * freedom.max() / samples))
