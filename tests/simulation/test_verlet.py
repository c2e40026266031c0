"""Velocity Verlet against OpenMM's own, its order, its one force call, and what its check can and cannot see."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import openmm
import pytest

from mdet_openmm.simulation import verlet
from mdet_openmm.system.force import make_system

MASSES = np.array([16.0, 1.0, 2.0])
START = np.random.default_rng(0).normal(size=(3, 3)) * 0.1
MOVING = np.random.default_rng(1).normal(size=(3, 3))
STIFFNESS = 2e4

Force = Callable[[np.ndarray], np.ndarray]


def harmonic(positions: np.ndarray) -> np.ndarray:
    return -STIFFNESS * positions


def curl(positions: np.ndarray, strength: float = 2e3) -> np.ndarray:
    """No gradient of anything: it pumps energy into whatever turns about z."""
    whirl = np.stack([-positions[:, 1], positions[:, 0], 0.0 * positions[:, 2]], axis=1)
    return harmonic(positions) + strength * whirl


def weak_curl(positions: np.ndarray) -> np.ndarray:
    return curl(positions, 200.0)


def spring_energy(positions: np.ndarray) -> float:
    return 0.5 * STIFFNESS * float((positions**2).sum())


def make_context(force: Force, timestep: float = 0.0005, integrator: Any = None, hold: float | None = None) -> Any:
    """At START with MOVING, in its Verlet phase, with work counted from here."""
    system = make_system(MASSES)

    def compute(state: Any) -> tuple[float, np.ndarray]:
        positions = state.getPositions(asNumpy=True)._value
        return spring_energy(positions), force(positions)

    system.addForce(openmm.PythonForce(compute))
    both = openmm.CompoundIntegrator()
    both.addIntegrator(openmm.LangevinMiddleIntegrator(300.0, 1.0, timestep))
    both.addIntegrator(verlet.make_verlet(timestep, hold))
    context = openmm.Context(system, integrator or both, openmm.Platform.getPlatform("Reference"))
    context.setPositions(START)
    context.setVelocities(MOVING)
    if integrator is None:
        both.setCurrentIntegrator(verlet.VERLET)
        verlet.begin(context, MASSES)
    return context


def phase(context: Any) -> tuple[np.ndarray, np.ndarray]:
    state = context.getState(positions=True, velocities=True)
    return state.getPositions(asNumpy=True)._value, state.getVelocities(asNumpy=True)._value


@pytest.mark.parametrize("force", [harmonic, curl])
def test_positions_are_those_of_openmms_leapfrog(force: Force) -> None:
    timestep = 0.0005
    ours = make_context(force, timestep)
    theirs = make_context(force, timestep, openmm.VerletIntegrator(timestep))
    # Leapfrog keeps the velocities of half a step before.
    theirs.setVelocities(MOVING - 0.5 * timestep * force(START) / MASSES[:, None])
    for _ in range(5):
        ours.getIntegrator().step(100)
        theirs.getIntegrator().step(100)
        np.testing.assert_allclose(phase(ours)[0], phase(theirs)[0], atol=1e-12)
    assert np.abs(phase(ours)[0] - START).max() > 0.05


def test_the_energy_error_falls_with_the_square_of_the_step() -> None:
    def worst(timestep: float) -> float:
        context = make_context(harmonic, timestep)
        energies = []
        for _ in range(200):
            context.getIntegrator().step(round(0.002 / timestep))
            positions, velocities = phase(context)
            energies.append(verlet.kinetic_energy(MASSES, velocities) + 0.5 * STIFFNESS * (positions**2).sum())
        return float(np.ptp(energies))

    first, second, third = (worst(t) for t in (0.001, 0.0005, 0.00025))
    assert first / second == pytest.approx(4.0, rel=0.05)
    assert second / third == pytest.approx(4.0, rel=0.05)


@pytest.mark.parametrize("force", [harmonic, curl])
def test_the_check_holds_for_any_force_and_so_judges_none(force: Force) -> None:
    context = make_context(force)
    before = verlet.kinetic_energy(MASSES, phase(context)[1]) + 0.5 * STIFFNESS * (START**2).sum()
    context.getIntegrator().step(2000)
    positions, velocities = phase(context)
    kinetic = verlet.kinetic_energy(MASSES, velocities)
    work, check = verlet.work_and_check(context, kinetic)
    after = kinetic + 0.5 * STIFFNESS * (positions**2).sum()
    assert abs(check) < 1e-11 * kinetic
    # The work alone is off by the time step's error, so the check is more than a restatement of K - W.
    assert abs(kinetic - verlet.kinetic_energy(MASSES, MOVING) - work) > 1e-6 * kinetic
    if force is curl:
        assert after > 1.1 * before  # heated, and the check is as good as ever
    else:
        assert after == pytest.approx(before, rel=1e-3)
        assert work == pytest.approx(0.5 * STIFFNESS * ((START**2).sum() - (positions**2).sum()), rel=1e-3)


def test_a_force_that_is_new_at_each_call_is_called_once_a_step_and_used_twice() -> None:
    rng, calls = np.random.default_rng(2), []

    def noisy(positions: np.ndarray) -> np.ndarray:
        calls.append(harmonic(positions) + 300.0 * rng.normal(size=positions.shape))
        return calls[-1]

    context = make_context(noisy)
    assert len(calls) == 1
    for _ in range(50):
        context.getIntegrator().step(4)
        np.testing.assert_array_equal(verlet.held_force(context), calls[-1])
        velocities = phase(context)[1]
        context.getState(energy=True)  # calls the force, but must not change which one the next step starts with
    assert len(calls) == 1 + 200 + 50
    kinetic = verlet.kinetic_energy(MASSES, velocities)
    # By hand: half a kick with the force of the last energy call would have broken this.
    assert abs(verlet.work_and_check(context, kinetic)[1]) < 1e-11 * kinetic


def total_energy(context: Any) -> float:
    positions, velocities = phase(context)
    return verlet.kinetic_energy(MASSES, velocities) + spring_energy(positions)


def test_a_held_energy_stays_where_a_curl_would_raise_it() -> None:
    calls = []

    def counted(positions: np.ndarray) -> np.ndarray:
        calls.append(1)
        return weak_curl(positions)

    free, held = make_context(weak_curl), make_context(counted, hold=0.01)
    start, begun = total_energy(free), len(calls)
    free.getIntegrator().step(2000)
    held.getIntegrator().step(2000)
    assert len(calls) == begun + 2000  # the energy comes with the force
    assert total_energy(free) > 1.1 * start
    # What is left is the power of the curl, at most |curl| / omega per time, times the time constant.
    assert 0.0 < total_energy(held) - start < 200.0 / np.sqrt(STIFFNESS / MASSES.min()) / MASSES.min() * 0.01 * start
    added = verlet.added_energy(held)
    assert added is not None and added < -0.1 * start and verlet.added_energy(free) is None
    kinetic = verlet.kinetic_energy(MASSES, phase(held)[1])
    work, check = verlet.work_and_check(held, kinetic)
    assert abs(check) < 1e-11 * kinetic
    # what the curl did is what was taken away, and springs took the rest
    assert work + added == pytest.approx(kinetic - verlet.kinetic_energy(MASSES, MOVING), rel=1e-3, abs=1e-3 * start)


def test_the_time_constant_is_that_of_the_return() -> None:
    context = make_context(harmonic, hold=0.05)
    target = 1.2 * total_energy(context)
    context.getIntegrator().getIntegrator(verlet.VERLET).setGlobalVariableByName(verlet.TARGET, target)
    missing = [target - total_energy(context)]
    for _ in range(3):
        context.getIntegrator().step(100)  # one time constant
        missing.append(target - total_energy(context))
    for before, after in itertools.pairwise(missing):
        assert after / before == pytest.approx(np.exp(-1.0), rel=0.05)


@pytest.mark.parametrize("hold", [None, 0.01])
def test_a_checkpoint_holds_work_and_force_to_the_bit(hold: float | None) -> None:
    context = make_context(curl, hold=hold)
    context.getIntegrator().step(37)
    ours, theirs = verlet.saved_state(context), context.createCheckpoint()
    assert len(ours) == verlet.saved_bytes(context)
    context.getIntegrator().step(50)
    expected = (*map(bytes, phase(context)), verlet.work_and_check(context, 0.0), verlet.saved_state(context))
    other = make_context(curl, hold=hold)
    other.loadCheckpoint(theirs)
    verlet.restore_state(other, ours)
    other.getIntegrator().step(50)
    assert (*map(bytes, phase(other)), verlet.work_and_check(other, 0.0), verlet.saved_state(other)) == expected
