"""Element symbols as files write them, turned into atomic numbers."""

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.errors import InputError

_SAME_MASS = 0.1
"""u; tables of natural masses differ by less, isotopes by more."""

_ISOTOPES = {"D": "deuterium", "T": "tritium"}
# Two-letter elements that organic PDB files do contain and write from column 13 on, as the format asks.
_HALOGENS = {"CL": "Cl", "BR": "Br"}
NAMES_OF_ATOMS = ("CA", "CD", "CE", "HE", "HG", "HO", "ND", "NE", "PA", "PB", "SG")
"""Atoms of residues (alpha, beta, gamma ... of C, H, N, P, S) that in capitals look like elements."""
# Two-letter elements that many programs write from column 14 on, where the format has one-letter elements.
_MISALIGNED = ("CL", "BR", "SI", "SE")


def hill_formula(atomic_numbers: NDArray[np.integer]) -> str:
    """Such as C2H6O."""
    from ase.data import chemical_symbols
    from ase.formula import Formula

    return str(Formula.from_list([chemical_symbols[z] for z in atomic_numbers]).format("hill"))


def atomic_number(symbol: str, where: str) -> int:
    """Atomic number of an element symbol in any case, or of a number written instead.

    Parameters
    ----------
    symbol
        'C', 'cl', 'BR' or '6'.
    where
        Names the place in the error message, e.g. 'ethanol.xyz, line 3'.

    Raises
    ------
    InputError
        For isotopes, dummy atoms and anything else that is not an element.
    """
    from ase.data import atomic_numbers, chemical_symbols

    text = symbol.strip()
    if text.isascii() and text.isdigit() and 0 < int(text) < len(chemical_symbols):
        return int(text)
    if text.upper() in _ISOTOPES:
        raise InputError(
            f"{where}: {_ISOTOPES[text.upper()]} ('{text}') is not supported, masses are the natural ones; write H"
        )
    number = int(atomic_numbers.get(text.capitalize(), 0))
    if number == 0:
        raise InputError(
            f"{where}: unknown element '{text}' (dummy atoms and labels such as C1 are none); write an element symbol"
        )
    return number


def atomic_number_from_pdb_name(name: str, where: str) -> int:
    """Element of a PDB atom whose element column is empty, from its name in columns 13 to 16.

    The format puts one-letter elements in column 14 (' CA ' is a carbon) and two-letter ones in columns 13 and 14
    ('CA  ' is calcium). Many programs start every name in column 13, so a name that could be either is refused
    rather than guessed, except chlorine and bromine, and four-character names of hydrogens ('HG11').

    Parameters
    ----------
    name
        The four characters, not stripped.
    where
        Names the place in the error message.

    Raises
    ------
    InputError
        If the name fits no element or fits two.
    """
    from ase.data import atomic_numbers

    def known(text: str) -> bool:
        return atomic_numbers.get(text.capitalize(), 0) > 0

    letters = "".join(c for c in name.lstrip(" 0123456789'\"") if c.isalpha() or c.isdigit())
    prefix = ""
    for character in letters:
        if not character.isalpha():
            break
        prefix += character
    one, two = prefix[:1], prefix[:2]
    advice = "fill the element column (columns 77-78)"
    if not prefix:
        raise InputError(f"{where}: atom name '{name.strip()}' shows no element; {advice}")
    starts_in_13 = name[:1].isalpha()
    if starts_in_13 and two.upper() in _HALOGENS:
        return atomic_number(_HALOGENS[two.upper()], where)
    if starts_in_13 and one.upper() == "H" and len(name.strip()) == 4:
        return 1
    if len(two) == 2 and (known(two) if starts_in_13 else two.upper() in _MISALIGNED):
        if known(one):
            raise InputError(
                f"{where}: atom name '{name.strip()}' can be {one.upper()} or {two.capitalize()}, "
                f"and the element column is empty; {advice}"
            )
        return atomic_number(two, where)
    if known(one) or one.upper() in _ISOTOPES:
        return atomic_number(one, where)
    raise InputError(f"{where}: atom name '{name.strip()}' shows no element; {advice}")


def refuse_isotopes(numbers: NDArray[np.int64], masses: NDArray[np.float64], where: str) -> None:
    """Refuse masses that are not those of the elements as they occur in nature.

    Parameters
    ----------
    numbers
        (n,) atomic numbers.
    masses
        (n,) in u.
    where
        Names the file in the error message.

    Raises
    ------
    InputError
        Naming the first that is not.
    """
    from ase.data import atomic_masses, chemical_symbols

    other = np.flatnonzero(~(np.abs(masses - atomic_masses[numbers]) < _SAME_MASS))
    if len(other):
        k = int(other[0])
        raise InputError(
            f"{where}: atom {k + 1} ({chemical_symbols[numbers[k]]}) has the mass {masses[k]:g}; isotopes are not "
            "supported, masses are the natural ones; remove the masses"
        )
