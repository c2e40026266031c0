"""Means over replicas and their agreement, on series whose answer is known."""

import numpy as np
import pytest

from mdet_openmm.measure.between_replicas import (
    angle_shrink_factor,
    density_with_error,
    mean_over_replicas,
    shrink_factor,
)

RNG = np.random.default_rng(4)


def correlated(replicas: int, length: int, memory: float) -> np.ndarray:
    """AR(1) series of unit variance."""
    kept = np.exp(-1.0 / memory)
    x = np.empty((replicas, length))
    x[:, 0] = RNG.standard_normal(replicas)
    for t in range(1, length):
        x[:, t] = kept * x[:, t - 1] + np.sqrt(1.0 - kept**2) * RNG.standard_normal(replicas)
    return x


def test_the_error_of_a_mean_is_what_it_scatters_by() -> None:
    # 32 correlated replicas, 400 times over: the stated error is the true one, although nobody told the memory
    sets = correlated(400 * 32, 200, 20.0).reshape(400, 32, 200).mean(axis=2)
    found = [mean_over_replicas(means) for means in sets]
    scatter = np.std([f.mean for f in found])
    assert np.sqrt(np.mean([f.error**2 for f in found])) == pytest.approx(scatter, rel=0.1)
    inside = np.mean([abs(f.mean) < f.bound(2.0) for f in found])
    assert inside == pytest.approx(0.954, abs=0.035)


def test_shrink_factor_tells_replicas_apart() -> None:
    alike = correlated(8, 4000, 5.0)
    assert 0.999 < shrink_factor(list(alike)) < 1.02
    # half of them one standard deviation off on either side: pooled variance 2, within 1
    apart = alike + np.repeat([-1.0, 1.0], 4)[:, None]
    assert shrink_factor(list(apart)) == pytest.approx(np.sqrt(1.0 + 16.0 / 15.0), rel=0.03)
    drifting = alike + np.linspace(-3.0, 3.0, 4000)  # all in the same way: only halves show it
    assert shrink_factor(list(drifting)) > 1.2
    assert np.isnan(shrink_factor([alike[0]])) and np.isnan(shrink_factor([np.zeros(3)] * 2))
    assert shrink_factor([np.ones(10)] * 2) == 1.0 and shrink_factor([np.ones(10), np.zeros(10)]) == np.inf


def test_angles_agree_across_the_seam() -> None:
    noise = 5.0 * RNG.standard_normal((4, 2000))
    seam = (noise + 180.0 + 180.0) % 360.0 - 180.0
    assert angle_shrink_factor(list(seam)) < 1.02
    assert angle_shrink_factor([seam[0], seam[1], noise[0], noise[1]]) > 5.0


def test_density_and_its_error() -> None:
    edges = np.linspace(0.0, 1.0, 11)
    series = list(RNG.random((64, 100)))
    density, error = density_with_error(series, edges)
    assert (density * np.diff(edges)).sum() == pytest.approx(1.0)
    # a count of 10 of 100 in a bin has the binomial's standard deviation 3; 64 replicas
    np.testing.assert_allclose(error, 3.0 / (100.0 * 0.1) / 8.0, rtol=0.35)
    assert np.abs(density - 1.0).max() < 4.0 * error.max()
