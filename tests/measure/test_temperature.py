"""Verdicts on temperatures drawn from distributions that are right or wrong by construction."""

import numpy as np
import pytest
from fake_run import gamma_temperatures

from mdet_openmm.measure.temperature import (
    BROKEN,
    HOLDS,
    UNDECIDED,
    analyze_temperature,
    expected_density,
    widest_means,
)

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
    middle = np.linspace(11.25, 888.75, 40)
    assert np.abs(drawn - expected_density(middle, 300.0, 9)).max() < 0.03 * density.max()


@pytest.mark.parametrize("seed", range(8))
def test_canonical_temperatures_pass(seed):
    total, parts = draw(np.random.default_rng(seed), 4000)
    result = analyze_temperature(total, parts, 300.0, 27, relaxations=100)
    assert (result.mean_verdict, result.spread_verdict, result.equipartition_verdict) == (HOLDS, HOLDS, HOLDS)
    assert result.probability > 1e-3
    assert result.distance < 0.04


def test_hot_hydrogen_is_named():
    total, parts = draw(np.random.default_rng(3), 4000, {"H": 1.1})
    result = analyze_temperature(total, parts, 300.0, 27, relaxations=100)
    assert result.equipartition_verdict == BROKEN
    assert "H +30" in result.sentence or "H +29" in result.sentence or "H +31" in result.sentence
    assert "O " not in result.sentence.split("(")[1]


def test_wrong_spread_is_found_where_the_mean_is_right():
    rng = np.random.default_rng(4)
    total = 300.0 + 0.5 * (gamma_temperatures(rng, 6000, 9, 300.0) - 300.0)
    result = analyze_temperature(total, {}, 300.0, 27, relaxations=100)
    assert result.mean_verdict == HOLDS
    assert result.spread_verdict == BROKEN
    assert result.probability < 1e-6


def test_wrong_degrees_of_freedom_are_found():
    total, _ = draw(np.random.default_rng(5), 6000)
    assert analyze_temperature(total, {}, 300.0, 21, relaxations=100).probability < 1e-3
    assert analyze_temperature(total, {}, 300.0, 27, relaxations=100).probability > 1e-3


def test_short_runs_are_not_judged():
    total, parts = draw(np.random.default_rng(6), 4000, {"H": 1.5})
    short = analyze_temperature(total, parts, 300.0, 27, relaxations=3)
    assert (short.mean_verdict, short.equipartition_verdict) == (UNDECIDED, UNDECIDED)
    total, parts = draw(np.random.default_rng(6), 6)
    assert analyze_temperature(total, parts, 300.0, 27, relaxations=100).mean_verdict == UNDECIDED


def correlated(rng: np.random.Generator, runs: int, rows: int, freedom: int, memory: float) -> np.ndarray:
    """Means of canonical runs at 300 K: squares of velocities that remember themselves for so many rows."""
    keep = np.exp(-1.0 / memory) if memory else 0.0
    v = rng.normal(size=(runs, freedom))
    total = (v**2).mean(axis=1)
    for _ in range(rows - 1):
        v = keep * v + np.sqrt(1.0 - keep**2) * rng.normal(size=v.shape)
        total += (v**2).mean(axis=1)
    return 300.0 * total / rows


@pytest.mark.parametrize(("rows", "memory"), [(1, 0.0), (20, 1e9), (20, 100.0), (20, 5.0), (20, 0.0)])
@pytest.mark.parametrize("freedom", [3, 9, 27, 90])
def test_canonical_runs_of_any_length_are_not_called_hot(freedom: int, rows: int, memory: float) -> None:
    """At most 1 of 5,000; of 40,000, 8 are expected at that rate, and 20 have a probability of 3e-4."""
    means = correlated(np.random.default_rng(freedom), 40_000, rows, freedom, memory)
    lowest, highest = widest_means(300.0, freedom)
    assert ((means < lowest) | (means > highest)).sum() <= 20


@pytest.mark.parametrize("freedom", [3, 9, 27, 90, 300])
def test_the_bounds_have_the_tails_of_four_standard_deviations(freedom: int) -> None:
    """By integrating the density itself; for many degrees of freedom they are those four standard deviations."""
    lowest, highest = widest_means(300.0, freedom)
    above = np.linspace(highest, 20.0 * highest, 200_001)
    below = np.linspace(0.0, lowest, 200_001)
    for grid in (above, below):
        assert np.trapezoid(expected_density(grid, 300.0, freedom), grid) == pytest.approx(3.167e-5, rel=2e-3)
    std = 300.0 * np.sqrt(2.0 / 1e6)
    assert widest_means(300.0, 10**6) == pytest.approx((300.0 - 4.0 * std, 300.0 + 4.0 * std), abs=0.02 * std)


@pytest.mark.parametrize("rows", [1, 2, 7, 200])
@pytest.mark.parametrize("relaxations", [0.1, 100.0])
@pytest.mark.parametrize("temperature", [605.0, 60.0])
def test_a_hot_or_cold_run_fails_at_any_length(rows: int, relaxations: float, temperature: float) -> None:
    """605 K at 300 K are six standard deviations of one sample of 70 degrees of freedom; 60 K are 4.7."""
    series = np.full(rows, temperature)
    result = analyze_temperature(series, {}, 300.0, 70, relaxations=relaxations)
    assert result.mean_verdict == BROKEN and result.equipartition_verdict == UNDECIDED
    assert f"off by {temperature - 300.0:+.1f}" in result.sentence and "nan" not in result.sentence
    if relaxations < 1.0:
        assert f"{abs(temperature - 300.0) / 300.0 / np.sqrt(2 / 70):.1f} standard deviations" in result.sentence
    fair = analyze_temperature(np.full(rows, 380.0), {}, 300.0, 70, relaxations=0.1)
    assert fair.mean_verdict == UNDECIDED and "too short" in fair.sentence
