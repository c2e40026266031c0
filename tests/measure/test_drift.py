"""Slopes of series whose slope and noise are known."""

import numpy as np
import pytest

from mdet_openmm.measure.drift import linear_drift

TIMES = 0.01 * np.arange(2000)


def correlated(rng: np.random.Generator, memory: int) -> np.ndarray:
    """Unit variance, correlation exp(-k/memory)."""
    keep = np.exp(-1.0 / memory)
    noise = rng.normal(size=len(TIMES)) * np.sqrt(1.0 - keep**2)
    series = np.empty(len(TIMES))
    value = rng.normal()
    for i, step in enumerate(noise):
        value = keep * value + step
        series[i] = value
    return series


def test_a_line_is_found_exactly() -> None:
    drift = linear_drift(TIMES, 3.0 - 0.25 * TIMES)
    assert drift is not None
    assert drift.slope == pytest.approx(-0.25) and drift.start == pytest.approx(3.0)
    assert drift.spread < 1e-12 and drift.error < 1e-12


@pytest.mark.parametrize("memory", [1, 20])
def test_the_error_is_the_scatter_of_slopes(memory: int) -> None:
    rng = np.random.default_rng(memory)
    drifts = [linear_drift(TIMES, 0.1 * TIMES + correlated(rng, memory)) for _ in range(200)]
    slopes = np.array([d.slope for d in drifts if d])
    scatter = slopes.std(ddof=1)
    assert slopes.mean() == pytest.approx(0.1, abs=4.0 * scatter / np.sqrt(200))
    assert np.mean([d.error for d in drifts if d]) == pytest.approx(scatter, rel=0.25)
    assert np.mean([d.spread for d in drifts if d]) == pytest.approx(1.0, rel=0.05)
    if memory > 1:  # the textbook error of independent samples would be several times too small
        assert scatter > 4.0 * 1.0 / np.sqrt(np.sum((TIMES - TIMES.mean()) ** 2))


def test_two_points_say_nothing() -> None:
    assert linear_drift([0.0, 1.0], [0.0, 1.0]) is None
