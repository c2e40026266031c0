"""Element symbols and the names of PDB atoms."""

import pytest

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.elements import atomic_number, atomic_number_from_pdb_name


@pytest.mark.parametrize(("symbol", "number"), [("H", 1), ("c", 6), ("CL", 17), (" br ", 35), ("8", 8), ("Og", 118)])
def test_symbols(symbol: str, number: int):
    assert atomic_number(symbol, "here") == number


@pytest.mark.parametrize("symbol", ["", "X", "*", "Xx", "C1", "0", "119", "-6", "R#", "Lp", "EP", "²"])
def test_what_is_no_element(symbol: str):
    with pytest.raises(InputError, match="here: unknown element"):
        atomic_number(symbol, "here")


@pytest.mark.parametrize(
    ("name", "number"),
    [
        (" CA ", 6),  # alpha carbon
        (" C  ", 6),
        (" HB1", 1),
        ("1HB ", 1),
        ("HG11", 1),
        ("HO5'", 1),
        (" OXT", 8),
        ("CL1 ", 17),
        ("BR  ", 35),
        ("C1  ", 6),  # left-adjusted, but no element C1
        ("H12 ", 1),
        ("FE  ", None),  # F or Fe
        ("CA  ", None),  # C or Ca
        ("NA  ", None),
        ("HG  ", None),
        (" X  ", None),
        ("    ", None),
        ("ZN  ", 30),  # there is no element Z
        (" D1 ", None),  # deuterium
        (" CL1", None),  # written as many programs do, or carbon L1
        (" BR ", None),
    ],
)
def test_pdb_names_without_an_element_column(name: str, number: int | None):
    if number is None:
        with pytest.raises(InputError):
            atomic_number_from_pdb_name(name, "here")
    else:
        assert atomic_number_from_pdb_name(name, "here") == number
