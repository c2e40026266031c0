"""h(r): normalisation, known errors, and the reference implementation written out."""

import numpy as np
import pytest

from mdet_openmm.measure.pair_distances import BIN_WIDTH, CENTRES, density_error, pair_density


def test_normalised_and_equal_to_the_plain_histogram():
    rng = np.random.default_rng(0)
    positions = 1.5 * rng.normal(size=(50, 6, 3))
    distances = [np.linalg.norm(f[i] - f[j]) for f in positions for i in range(6) for j in range(i)]
    plain = np.histogram(distances, bins=np.arange(501) * 0.02, density=True)[0]
    density = pair_density(positions)
    assert density.sum() * BIN_WIDTH == pytest.approx(1.0)
    assert density == pytest.approx(plain, abs=1e-9)
    assert CENTRES[0] == pytest.approx(0.01)
    assert CENTRES[-1] == pytest.approx(9.99)


def test_zero_against_itself_two_where_apart():
    pair = np.zeros((3, 2, 3))
    pair[:, 1, 0] = 1.01
    density = pair_density(pair)
    assert density_error(density, density) == 0.0
    assert density_error(density, pair_density(2 * pair)) == pytest.approx(2.0)


def test_known_error_of_a_shift():
    """Uniform distances on [1, 2] against the same on [1 + s, 2 + s]: Σ|Δh|·0.02 = 2 s."""
    lengths = np.linspace(1, 2, 100_000, endpoint=False) + 5e-6
    positions = np.zeros((len(lengths), 2, 3))
    positions[:, 1, 2] = lengths
    shifted = positions.copy()
    shifted[:, 1, 2] += 0.1
    assert density_error(pair_density(shifted), pair_density(positions)) == pytest.approx(0.2, abs=1e-3)


def test_chunks_do_not_change_it(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(1)
    positions = rng.normal(size=(2_100, 2, 3))
    whole = pair_density(positions)
    parts = (pair_density(positions[:700]) + 2 * pair_density(positions[700:])) / 3
    assert whole == pytest.approx(parts)


def test_single_atom_and_far_atoms_have_none():
    assert not pair_density(np.zeros((4, 1, 3))).any()
    far = np.zeros((4, 2, 3))
    far[:, 1, 0] = 11.0
    assert not pair_density(far).any()
