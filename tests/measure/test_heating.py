"""The heat of noisy forces: the formulas against dynamics with noise of known size."""

import numpy as np
import pytest

from mdet_openmm.measure.definitions import langevin_heating, nve_heating
from mdet_openmm.measure.heating import heating_of
from mdet_openmm.units import BOLTZMANN_KJ_PER_MOL_K

MASS, FREQUENCY, TIMESTEP = 1.008, 300.0, 5e-4
"""A hydrogen atom in a bond of some 1600/cm; dalton, rad/ps, ps."""


def oscillators(sigma: float, friction: float, steps: int, temperature: float = 300.0, count: int = 4000) -> np.ndarray:
    """Mean kinetic temperature after each step of independent harmonic oscillators, with OpenMM's middle scheme."""
    rng = np.random.default_rng([3, int(1000 * sigma)])
    thermal = BOLTZMANN_KJ_PER_MOL_K * temperature / MASS
    keep = np.exp(-friction * TIMESTEP)
    v = np.sqrt(thermal) * rng.standard_normal(count)
    x = np.sqrt(thermal) / FREQUENCY * rng.standard_normal(count)
    found = np.empty(steps)
    for step in range(steps):
        force = -MASS * FREQUENCY**2 * x + sigma * rng.standard_normal(count)
        v += TIMESTEP * force / MASS
        x += 0.5 * TIMESTEP * v
        v = keep * v + np.sqrt((1.0 - keep**2) * thermal) * rng.standard_normal(count)
        x += 0.5 * TIMESTEP * v
        found[step] = MASS * np.mean(v * v) / BOLTZMANN_KJ_PER_MOL_K
    return found


@pytest.mark.parametrize("sigma", [200.0, 400.0, 800.0])
def test_langevin_dynamics_heats_by_the_formula(sigma: float) -> None:
    friction = 20.0  # so that 200 relaxation times fit into 0.5 s of work
    series = oscillators(sigma, friction, steps=12000)
    measured = series[2000:].mean() - oscillators(0.0, friction, steps=12000)[2000:].mean()
    assert measured == pytest.approx(langevin_heating(sigma, TIMESTEP, MASS, friction), rel=0.2)


def test_at_constant_energy_springs_take_half() -> None:
    steps, sigma = 6000, 300.0
    series = oscillators(sigma, 0.0, steps, count=8000)
    rate = np.polyfit(TIMESTEP * np.arange(steps), series, 1)[0]
    assert rate == pytest.approx(0.5 * nve_heating(sigma, TIMESTEP, MASS), rel=0.2)


def test_elements_and_molecule() -> None:
    numbers, masses = np.array([8, 1, 1]), np.array([16.0, 1.0, 1.0])
    heat = heating_of(np.array([16.0, 4.0, 4.0]), numbers, masses, timestep=0.5, friction=2.0)
    assert heat.sigma == pytest.approx({"O": 4.0, "H": 2.0})
    assert heat.langevin["O"] == pytest.approx(langevin_heating(4.0, 5e-4, 16.0, 2.0))
    assert heat.langevin["H"] == pytest.approx(4.0 * heat.langevin["O"])
    assert heat.worst == heat.langevin["H"]
    assert heat.langevin_mean == pytest.approx((heat.langevin["O"] + 2 * heat.langevin["H"]) / 3)
    assert heat.nve_mean == pytest.approx(2.0 * 2.0 * heat.langevin_mean)
