"""Relaxation on springs, whose rest lengths are known."""

import numpy as np
import pytest
from spring_mock import WATER_NM, springs

from mdet_openmm.errors import RunStopped
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.simulation.relax import force_function, relax


def water(scale: float) -> Molecule:
    return Molecule(np.array([8, 1, 1]), 10.0 * scale * WATER_NM)


def lengths(positions: np.ndarray) -> np.ndarray:
    return np.linalg.norm(positions[[0, 0, 1]] - positions[[1, 2, 2]], axis=1)


def test_springs_go_back_to_their_lengths() -> None:
    relaxed = relax(water(1.1), force_function(springs(k=4e5)))
    assert relaxed.converged and 0 < relaxed.steps < 500
    # 0.05 eV/Å on a spring of 4e5 kJ/mol/nm² (41.5 eV/Å²) is 0.0012 Å.
    np.testing.assert_allclose(lengths(relaxed.positions), lengths(10.0 * WATER_NM), atol=0.0025)


def test_a_force_is_reported_in_ev_per_angstrom() -> None:
    # Far too soft to move in 500 steps, so the force that is left is the one at the start.
    relaxed = relax(water(1.0), force_function(springs(k=1e-9, push=96.4853321)))
    assert not relaxed.converged and relaxed.largest_force == pytest.approx(0.1, rel=1e-4)
    assert relaxed.steps == 500


def test_not_finite_forces_stop_it() -> None:
    with pytest.raises(RunStopped, match="not finite"):
        relax(water(1.1), force_function(springs(nan_at=-1.0)))
