"""What the monitor stops, and what it lets pass."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import chi2

from mdet_openmm.simulation.monitor import Monitor, bond_lengths, runaway_temperature
from mdet_openmm.simulation.thermostat import make_thermometer, starting_velocities

NUMBERS = np.array([6, 8, 1])
MASSES = np.array([12.011, 15.999, 1.008])
POSITIONS = np.array([[0.0, 0.0, 0.0], [0.12, 0.0, 0.0], [0.0, 0.11, 0.0]])
BONDS = np.array([[0, 1], [0, 2]])
VELOCITIES = starting_velocities(MASSES, 300.0, 1, False)


def monitor() -> Monitor:
    return Monitor(BONDS, bond_lengths(BONDS, POSITIONS), make_thermometer(NUMBERS, MASSES, False), 3000.0)


def test_a_sound_state_passes() -> None:
    moved = POSITIONS.copy()
    moved[2, 1] += 0.049
    assert monitor().problem(moved, VELOCITIES) is None
    assert monitor().largest_stretch(moved) == pytest.approx(0.49)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite_names_the_atom(bad: float) -> None:
    for which in (0, 1):
        arrays = [POSITIONS.copy(), VELOCITIES.copy()]
        arrays[which][1, 2] = bad
        problem = monitor().problem(arrays[0], arrays[1])
        assert problem is not None and problem.exit_reason == "nan"
        assert problem.atom == 1 and "atom 2 (O)" in problem.message


@pytest.mark.parametrize("shift", [0.051, -0.051])
def test_a_bond_that_changes_by_more_than_half_an_angstrom_is_broken(shift: float) -> None:
    moved = POSITIONS.copy()
    moved[2, 1] += shift
    problem = monitor().problem(moved, VELOCITIES)
    assert problem is not None and problem.exit_reason == "broken_bond"
    assert "atom 1 (C) and atom 3 (H)" in problem.message


def test_runaway_temperature() -> None:
    problem = monitor().problem(POSITIONS, 6.0 * VELOCITIES)
    assert problem is not None and problem.exit_reason == "runaway_temperature"


@pytest.mark.parametrize("freedom", [3, 9, 27, 300])
def test_the_limit_lies_beyond_what_chance_gives(freedom: int) -> None:
    limit = runaway_temperature(300.0, freedom)
    assert limit >= 1500.0
    assert chi2.sf(limit / 300.0 * freedom, freedom) <= 1.001e-15


def test_without_bonds_there_is_no_stretch() -> None:
    none = np.zeros((0, 2), dtype=np.int64)
    free = Monitor(none, bond_lengths(none, POSITIONS), make_thermometer(NUMBERS, MASSES, False), 3000.0)
    assert free.largest_stretch(POSITIONS) == 0.0
    assert free.problem(2.0 * POSITIONS, VELOCITIES) is None


@pytest.mark.parametrize("watch", [True, False])
def test_the_look_at_all_molecules_suspects_those_that_have_a_problem(watch: bool) -> None:
    one = dataclasses.replace(monitor(), watch=watch)
    positions, velocities = np.stack([POSITIONS] * 6), np.stack([VELOCITIES] * 6)
    positions[1, 1, 2] = np.nan
    velocities[2, 0, 0] = -np.inf
    positions[3, 2, 1] += 0.051
    positions[4, 2, 1] += 0.049
    velocities[5] *= 6.0
    problems = [one.problem(x, v) is not None for x, v in zip(positions, velocities, strict=True)]
    assert one.suspects(positions, velocities) == list(np.flatnonzero(problems))
    assert problems == [False, True, True, watch, False, watch]
    assert one.largest_stretch(positions[3:5]) == pytest.approx([0.51, 0.49])
