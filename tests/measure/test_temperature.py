"""Verdicts on temperatures drawn from distributions that are right or wrong by construction."""

import numpy as np
import pytest
from fake_run import gamma_temperatures

from mdet_openmm.measure.temperature import BROKEN, HOLDS, UNDECIDED, expected_density, study_temperature

ATOMS = {"H": 6, "C": 2, "O": 1}


def draw(rng: np.random.Generator, rows: int, scale: dict[str, float] | None = None):
    parts = {s: gamma_temperatures(rng, rows, n, 300.0) * (scale or {}).get(s, 1.0) for s, n in ATOMS.items()}
    total = sum(parts[s] * n for s, n in ATOMS.items()) / sum(ATOMS.values())
    return total, parts


def test_expected_density_is_the_distribution_of_kinetic_energies():
    rng = np.random.default_rng(0)
    grid = np.linspace(1e-3, 1500, 20001)
    density = expected_density(grid, 300.0, 9)
    step = grid[1] - grid[0]
    assert density.sum() * step == pytest.approx(1.0, abs=1e-4)
    assert (grid * density).sum() * step == pytest.approx(300.0, rel=1e-3)
    assert np.sqrt(((grid - 300) ** 2 * density).sum() * step) == pytest.approx(300 * np.sqrt(2 / 9), rel=1e-3)
    drawn = np.histogram(gamma_temperatures(rng, 200_000, 3, 300.0), bins=40, range=(0, 900))[0] / 200_000 / 22.5
    middle = (np.arange(40) + 0.5) * 22.5
    assert np.abs(drawn - expected_density(middle, 300.0, 9)).max() < 0.03 * density.max()


@pytest.mark.parametrize("seed", range(8))
def test_canonical_temperatures_pass(seed):
    total, parts = draw(np.random.default_rng(seed), 4000)
    result = study_temperature(total, parts, 300.0, 27, relaxations=100)
    assert (result.mean_verdict, result.spread_verdict, result.equipartition_verdict) == (HOLDS, HOLDS, HOLDS)
    assert result.probability > 1e-3
    assert result.distance < 0.04


def test_hot_hydrogen_is_named():
    total, parts = draw(np.random.default_rng(3), 4000, {"H": 1.1})
    result = study_temperature(total, parts, 300.0, 27, relaxations=100)
    assert result.equipartition_verdict == BROKEN
    assert "H +30" in result.sentence or "H +29" in result.sentence or "H +31" in result.sentence
    assert "O " not in result.sentence.split("(")[1]


def test_wrong_spread_is_found_where_the_mean_is_right():
    rng = np.random.default_rng(4)
    total = 300.0 + 0.5 * (gamma_temperatures(rng, 6000, 9, 300.0) - 300.0)
    result = study_temperature(total, {}, 300.0, 27, relaxations=100)
    assert result.mean_verdict == HOLDS
    assert result.spread_verdict == BROKEN
    assert result.probability < 1e-6


def test_wrong_degrees_of_freedom_are_found():
    total, _ = draw(np.random.default_rng(5), 6000)
    assert study_temperature(total, {}, 300.0, 21, relaxations=100).probability < 1e-3
    assert study_temperature(total, {}, 300.0, 27, relaxations=100).probability > 1e-3


def test_short_runs_are_not_judged():
    total, parts = draw(np.random.default_rng(6), 4000, {"H": 1.5})
    short = study_temperature(total, parts, 300.0, 27, relaxations=3)
    assert (short.mean_verdict, short.equipartition_verdict) == (UNDECIDED, UNDECIDED)
    total, parts = draw(np.random.default_rng(6), 6)
    assert study_temperature(total, parts, 300.0, 27, relaxations=100).mean_verdict == UNDECIDED
