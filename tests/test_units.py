"""Conversion constants against the values of the literature."""

import pytest
from openmm import unit

from mdet_openmm import units


def test_against_openmm() -> None:
    assert (1.0 * unit.bohr).value_in_unit(unit.angstrom) == pytest.approx(units.ANGSTROM_PER_BOHR, rel=1e-6)
    hartree = (1.0 * unit.hartree * unit.AVOGADRO_CONSTANT_NA).value_in_unit(unit.kilojoule_per_mole)
    assert hartree == pytest.approx(units.KJ_PER_MOL_PER_HARTREE, rel=1e-6)
    k = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
    assert k == pytest.approx(units.BOLTZMANN_KJ_PER_MOL_K, rel=1e-6)


def test_against_ase() -> None:
    from ase import units as ase_units

    assert pytest.approx(ase_units.Hartree / ase_units.Bohr, rel=1e-6) == units.EV_PER_ANGSTROM_PER_ATOMIC_FORCE
    assert pytest.approx(ase_units.kB, rel=1e-6) == units.BOLTZMANN_EV_PER_K


def test_published_values() -> None:
    # shared definitions: 1 Ha/bohr = 51.42207 eV/Å = 1185.82 kcal/mol/Å = 49614.75 kJ/mol/nm
    assert pytest.approx(51.42207, rel=1e-6) == units.EV_PER_ANGSTROM_PER_ATOMIC_FORCE
    assert pytest.approx(49614.75, rel=1e-6) == units.KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE
    kcal = units.EV_PER_ANGSTROM_PER_ATOMIC_FORCE * units.KCAL_PER_MOL_PER_EV
    assert kcal == pytest.approx(1185.82, rel=1e-5)
    assert pytest.approx(964.853, rel=1e-6) == units.KJ_PER_MOL_PER_NM_PER_EV_PER_ANGSTROM
