"""Errors of means against series whose errors are known."""

import numpy as np
import pytest

from mdet_openmm.measure.block_average import blocked_mean


def autoregressive(rng: np.random.Generator, n: int, memory: float) -> np.ndarray:
    """x_k = a x_{k−1} + ξ with unit variance; the mean has the variance (1 + a)/(1 − a)/n."""
    noise = rng.normal(size=n) * np.sqrt(1 - memory**2)
    x = np.empty(n)
    x[0] = rng.normal()
    for k in range(1, n):
        x[k] = memory * x[k - 1] + noise[k]
    return x


def test_independent_samples_have_the_naive_error():
    rng = np.random.default_rng(0)
    result = blocked_mean(rng.normal(5.0, 2.0, size=4000))
    assert result.error == pytest.approx(2.0 / np.sqrt(4000), rel=0.15)
    assert result.converged
    assert result.mean == pytest.approx(5.0, abs=5 * result.error)
    assert result.bound() == pytest.approx(3 * result.error, rel=0.05)  # many blocks: the normal quantile


def test_correlation_is_found():
    rng = np.random.default_rng(1)
    memory, n = 0.95, 20000
    exact = np.sqrt((1 + memory) / (1 - memory) / n)
    errors = [blocked_mean(autoregressive(rng, n, memory)).error for _ in range(12)]
    assert np.mean(errors) == pytest.approx(exact, rel=0.15)
    assert exact > 5 / np.sqrt(n)  # the naive error is six times too small, so the test can tell
    independent = blocked_mean(autoregressive(rng, n, memory)).independent
    assert independent == pytest.approx(n * (1 - memory) / (1 + memory), rel=0.6)


def test_a_drift_longer_than_the_series_is_not_called_converged():
    assert not blocked_mean(np.linspace(0, 1, 100)).converged


def test_few_blocks_widen_the_interval():
    few = blocked_mean([1.0, 2.0, 4.0, 3.0])
    assert few.blocks == 4
    assert few.bound() > 9 * few.error  # Student's t with three degrees of freedom at three sigma: 9.2


def test_what_cannot_be_known_is_nan():
    assert np.isnan(blocked_mean([]).mean)
    single = blocked_mean([3.0])
    assert single.mean == 3.0
    assert np.isnan(single.error)
    assert np.isnan(single.bound())
    assert blocked_mean([2.0] * 50).error == 0.0
