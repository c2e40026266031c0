"""The mathematics of experiments/torsion.py, spectra.py and drifting_observables.py."""

import numpy as np
import pytest
from drifting_observables import windows_of
from spectra import shape_error
from torsion import BINS, central_torsion, dihedral, turned, wells_of, work_of

from mdet_openmm.molecules.bonds import find_bonds
from mdet_openmm.molecules.smiles import molecule_from_smiles
from mdet_openmm.units import KCAL_PER_MOL_PER_EV

C = 2.99792458e-5  # cm/fs


def test_the_work_of_springs_is_their_energy_and_a_curl_has_work_left_after_a_circle() -> None:
    angles = np.linspace(0, 2 * np.pi, 201)
    circle = 0.3 + np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)[:, None, :]
    energy = 0.5 * 4.0 * (circle**2).sum(axis=(1, 2))
    expected = KCAL_PER_MOL_PER_EV * (energy - energy[0])
    np.testing.assert_allclose(work_of(circle, -4.0 * circle), expected, atol=1e-10)
    curl = np.cross([0.0, 0.0, 1.0], circle)
    # the work of z × x around a circle of radius 1 is twice its area
    assert work_of(circle, curl)[-1] == pytest.approx(-2 * np.pi * KCAL_PER_MOL_PER_EV, rel=1e-3)


def test_turning_butane_sets_its_dihedral_and_nothing_else() -> None:
    molecule = molecule_from_smiles("CCCC", seed=1)
    four, side = central_torsion(molecule)
    assert [molecule.atomic_numbers[i] for i in four] == [6, 6, 6, 6]
    assert len(side) == 7 and four[3] in side and four[1] not in side
    x = turned(molecule.positions, four, side, 40.0)
    change = (dihedral(x, four) - dihedral(molecule.positions, four) + 180.0) % 360.0 - 180.0
    assert float(change) == pytest.approx(40.0, abs=1e-9)
    bonds = find_bonds(molecule.atomic_numbers, molecule.positions)
    before, after = (np.linalg.norm(y[bonds[:, 0]] - y[bonds[:, 1]], axis=1) for y in (molecule.positions, x))
    np.testing.assert_allclose(after, before)


def test_shape_errors() -> None:
    a, b = np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.0, 1.0])
    assert shape_error(a, a) == 0 and shape_error(a, b) == 2
    times, masses = 4.0 * np.arange(1500), np.array([12.0, 12.0])

    def stretching(wavenumber: float) -> np.ndarray:
        x = np.zeros((1500, 2, 3))
        x[:, 1, 0] = 1.5 + 0.05 * np.cos(2 * np.pi * C * wavenumber * times)
        return x

    same = windows_of(stretching(1000.0), masses, 4.0, stretching(1000.0))
    other = windows_of(stretching(2000.0), masses, 4.0, stretching(1000.0))
    assert [w["middle_ps"] for w in same] == [1.0, 3.0, 5.0]
    assert all(w["vdos"] < 0.2 and w["h_r"] < 0.1 for w in same)
    assert all(w["vdos"] > 1.9 and w["h_r"] < 0.1 for w in other)


def test_wells_are_counted_where_the_dihedral_was() -> None:
    molecule = molecule_from_smiles("CCCC", seed=1)
    four, side = central_torsion(molecule)
    start = float(dihedral(molecule.positions, four))
    # anti, over the barrier and back, then gauche: what lies between the wells is no visit
    run = np.array([turned(molecule.positions, four, side, a - start) for a in (180, 120, 175, 100, 65, 60, -65)])
    wells = wells_of([run, run[:3]], four)
    assert wells.crossings == 2 and wells.anti == pytest.approx([2 / 7, 2 / 3])
    assert wells.fractions.shape == (2, len(BINS) - 1) and wells.fractions.sum(axis=1) == pytest.approx(1.0)
    assert wells.fractions[0, 6] == pytest.approx(3 / 7)  # from 60 to 70 degrees, to either side
