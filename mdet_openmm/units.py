"""Unit conversions, CODATA 2018; the only place where conversion constants stand.

Atomic units inside the network, ASE's (Å, eV) at the ASE surface and in files, OpenMM's (nm, ps, kJ/mol) at
the OpenMM surface.
"""

from typing import Final

ANGSTROM_PER_BOHR: Final = 0.529177210903
EV_PER_HARTREE: Final = 27.211386245988
KJ_PER_MOL_PER_HARTREE: Final = 2625.4996394799
KCAL_PER_MOL_PER_EV: Final = KJ_PER_MOL_PER_HARTREE / EV_PER_HARTREE / 4.184

BOHR_PER_ANGSTROM: Final = 1.0 / ANGSTROM_PER_BOHR
BOHR_PER_NM: Final = 10.0 * BOHR_PER_ANGSTROM
NM_PER_ANGSTROM: Final = 0.1
ANGSTROM_PER_NM: Final = 10.0

EV_PER_ANGSTROM_PER_ATOMIC_FORCE: Final = EV_PER_HARTREE / ANGSTROM_PER_BOHR
"""eV/Å in one Ha/bohr (51.42207)."""

KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE: Final = KJ_PER_MOL_PER_HARTREE * BOHR_PER_NM
"""kJ/mol/nm in one Ha/bohr (49614.75)."""

DEBYE_PER_E_ANGSTROM: Final = 1.602176634 * 2.99792458
"""4.80320; 1 D is 1e-21 C m²/s over the speed of light."""

KJ_PER_MOL_PER_EV: Final = KJ_PER_MOL_PER_HARTREE / EV_PER_HARTREE
KJ_PER_MOL_PER_NM_PER_EV_PER_ANGSTROM: Final = KJ_PER_MOL_PER_EV * 10.0

BOLTZMANN_KJ_PER_MOL_K: Final = 8.31446261815324e-3
BOLTZMANN_EV_PER_K: Final = 8.617333262e-5
