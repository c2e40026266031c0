"""Spherical harmonics against closed forms and against SciPy."""

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from mdet_openmm.network.directions import HarmonicDirections, harmonic_coefficients, monomial_exponents


def harmonics(degree: int, points: np.ndarray) -> np.ndarray:
    exponents = np.array(monomial_exponents(degree))
    monomials = np.prod(points[:, None, :] ** exponents[None], axis=-1)
    return monomials @ harmonic_coefficients(degree).T


@pytest.fixture
def directions() -> np.ndarray:
    v = np.random.default_rng(1).normal(size=(200, 3))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


@pytest.mark.parametrize("degree", range(7))
def test_against_scipy(degree: int, directions: np.ndarray) -> None:
    # polar axis y, azimuth from z towards x
    polar, azimuth = np.arccos(directions[:, 1]), np.arctan2(directions[:, 0], directions[:, 2])
    for m in range(-degree, degree + 1):
        y = sph_harm_y(degree, abs(m), polar, azimuth)
        # SciPy's Y carries the Condon-Shortley sign
        expected = y.real if m == 0 else np.sqrt(2) * (-1) ** m * (y.real if m > 0 else y.imag)
        np.testing.assert_allclose(harmonics(degree, directions)[:, m + degree], expected, atol=2e-14)


@pytest.mark.parametrize("degree", range(1, 7))
def test_sum_rule_and_zero_vector(degree: int, directions: np.ndarray) -> None:
    total = (harmonics(degree, directions) ** 2).sum(axis=1)
    np.testing.assert_allclose(total, (2 * degree + 1) / (4 * np.pi), rtol=1e-13)
    assert (harmonics(degree, np.zeros((1, 3))) == 0).all()


def test_published_test_vector() -> None:
    y3 = harmonics(3, np.array([[0.6, -0.48, 0.64]]))[0]
    np.testing.assert_allclose(y3[:3], [0.307577923, -0.532797501, 0.041682577], atol=1e-9)


def test_module_uses_them_all(directions: np.ndarray) -> None:
    torch.manual_seed(0)
    module = HarmonicDirections(8, 4, 5).float().double()
    radial = torch.rand(len(directions), 5, dtype=torch.float64)
    features = np.concatenate([harmonics(d, directions) for d in range(1, 5)], axis=1)
    expected = torch.from_numpy(features) @ module.project.weight.T * module.gate(radial)
    torch.testing.assert_close(module(torch.from_numpy(directions), radial, torch.float64), expected)
