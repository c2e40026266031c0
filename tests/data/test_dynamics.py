"""Langevin dynamics against the canonical distribution of a system whose answer is known."""

import numpy as np
import pytest

from mdet_openmm.data.dynamics import as_stored, langevin
from mdet_openmm.data.teacher import Label, TeacherFailure
from mdet_openmm.units import BOLTZMANN_EV_PER_K


def cluster(stiffness):
    """Every atom in a harmonic well about the centroid of all."""

    def teacher(x):
        away = x - x.mean(axis=0)
        return Label(0.5 * stiffness * float((away**2).sum()), -stiffness * away, np.zeros(3))

    return teacher


@pytest.mark.parametrize("timestep", [0.5, 2.0])
def test_spread_in_harmonic_wells_is_that_of_equipartition_whatever_the_time_step(timestep):
    n, stiffness, temperature = 300, 5.0, 450.0
    rng = np.random.default_rng(3)
    masses = rng.choice([1.008, 12.011, 15.999], size=n)
    frames = langevin(cluster(stiffness), np.zeros((n, 3)), masses, temperature=temperature, timestep=timestep,
                      friction=50.0, equilibrate=round(400 / timestep), interval=round(40 / timestep),
                      rng=rng)  # fmt: skip
    taken = np.array([next(frames)[0] for _ in range(60)])
    expected = BOLTZMANN_EV_PER_K * temperature / stiffness
    for mass in np.unique(masses):  # equipartition holds for each mass: velocities and noise are scaled rightly
        assert (taken[:, masses == mass] ** 2).mean() == pytest.approx(expected, rel=0.06)


def test_frequency_is_that_of_the_mass_and_force_constant():
    """Without friction a stretched H2 swings with the period 2π sqrt(μ/k); 1 eV/Å on 1 amu is 0.0096485 Å/fs²."""
    stiffness, mass = 35.0, 1.008

    def teacher(x):
        d = x[1] - x[0]
        r = np.linalg.norm(d)
        pull = stiffness * (r - 0.74) * d / r
        return Label(0.0, np.array([pull, -pull]), np.zeros(3))

    start = np.array([[0.0, 0, 0], [0.80, 0, 0]])
    frames = langevin(teacher, start, np.full(2, mass), temperature=1e-6, timestep=0.05, friction=0.0,
                      equilibrate=1, interval=1, rng=np.random.default_rng(0))  # fmt: skip
    stretch = np.array([np.linalg.norm(x[1] - x[0]) - 0.74 for x, _ in (next(frames) for _ in range(1200))])
    crossings = np.flatnonzero((stretch[:-1] < 0) & (stretch[1:] >= 0))
    period = np.diff(crossings).mean() * 0.05
    assert period == pytest.approx(2 * np.pi * np.sqrt(mass / 2 / (stiffness * 96.48533212e-4)), rel=0.01)


def test_frames_are_labelled_at_exactly_the_positions_that_are_stored():
    teacher = cluster(3.0)
    frames = langevin(teacher, np.eye(3), np.ones(3), temperature=300.0, timestep=1.0, friction=10.0, equilibrate=5,
                      interval=7, rng=np.random.default_rng(1))  # fmt: skip
    for _ in range(5):
        x, label = next(frames)
        np.testing.assert_array_equal(x, x.astype(np.float32))
        np.testing.assert_array_equal(label.forces, teacher(x).forces)
        np.testing.assert_allclose(x.mean(axis=0), 0.0, atol=1e-7)


def test_a_failing_teacher_ends_the_trajectory():
    calls = 0

    def teacher(x):
        nonlocal calls
        calls += 1
        if calls > 10:
            raise TeacherFailure("no")
        return Label(0.0, np.zeros_like(x), np.zeros(3))

    frames = langevin(teacher, np.eye(3), np.ones(3), temperature=300.0, timestep=1.0, friction=10.0, equilibrate=2,
                      interval=2, rng=np.random.default_rng(1))  # fmt: skip
    with pytest.raises(TeacherFailure):
        for _ in range(6):
            next(frames)
    assert calls == 11


def test_stored_positions_survive_storing():
    x = np.random.default_rng(2).normal(size=(9, 3)) * 3 + 100
    stored = as_stored(x, compact=False)
    np.testing.assert_array_equal(stored.astype(np.float32).astype(np.float64), stored)
    np.testing.assert_allclose(stored - stored[0], x - x[0], atol=1e-6)
