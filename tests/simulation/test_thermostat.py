"""Temperatures, degrees of freedom and starting velocities against statistics written out by hand."""

import numpy as np
import pytest

from mdet_openmm.simulation.thermostat import derived_seeds, make_thermometer, starting_velocities
from mdet_openmm.units import BOLTZMANN_KJ_PER_MOL_K

NUMBERS = np.array([8, 1, 1, 6])
MASSES = np.array([15.999, 1.008, 1.008, 12.011])


def test_reads_the_temperature_of_known_velocities() -> None:
    speed = np.sqrt(3.0 * BOLTZMANN_KJ_PER_MOL_K * np.array([300.0, 100.0, 200.0, 600.0]) / MASSES)
    velocities = np.zeros((4, 3))
    velocities[np.arange(4), [0, 1, 2, 0]] = speed
    total, by_element = make_thermometer(NUMBERS, MASSES, False).read(velocities)
    assert total == pytest.approx(300.0)
    assert list(by_element) == ["H", "C", "O"]
    assert by_element == pytest.approx({"H": 150.0, "C": 600.0, "O": 300.0})


@pytest.mark.parametrize("zero_momentum", [False, True])
def test_each_element_has_the_bath_temperature_on_average(zero_momentum: bool) -> None:
    thermometer = make_thermometer(NUMBERS, MASSES, zero_momentum)
    assert thermometer.degrees_of_freedom == (9 if zero_momentum else 12)
    reads = [thermometer.read(starting_velocities(MASSES, 300.0, s, zero_momentum)) for s in range(4000)]
    for name, freedom in {"H": 6, "C": 3, "O": 3}.items():
        error = 300.0 * np.sqrt(2.0 / freedom / 4000)
        assert np.mean([e[name] for _, e in reads]) == pytest.approx(300.0, abs=5.0 * 1.7 * error)
    assert np.var([t for t, _ in reads]) == pytest.approx(2.0 * 300.0**2 / thermometer.degrees_of_freedom, rel=0.15)


def test_zero_momentum() -> None:
    velocities = starting_velocities(MASSES, 300.0, 3, True)
    np.testing.assert_allclose(MASSES @ velocities, 0.0, atol=1e-12)


def test_seeds() -> None:
    np.testing.assert_array_equal(
        starting_velocities(MASSES, 300.0, 7, False), starting_velocities(MASSES, 300.0, 7, False)
    )
    assert not np.array_equal(
        starting_velocities(MASSES, 300.0, 7, False), starting_velocities(MASSES, 300.0, 8, False)
    )
    # 0 would make OpenMM draw a seed of its own.
    assert all(0 < derived_seeds(s)[1] < 2**31 for s in range(1000))
