"""What a structure file says, before anything is concluded from it."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.errors import InputError


@dataclass(frozen=True)
class Residue:
    """The residue an atom belongs to in a PDB or mmCIF file."""

    chain: str
    name: str
    number: str
    insertion_code: str = ""


@dataclass(frozen=True)
class Structure:
    """The first frame of a structure file.

    Attributes
    ----------
    atomic_numbers
        (n,) int64.
    positions
        (n, 3) float64 in Å.
    charge, multiplicity
        If the file states them, else None.
    bonds
        Index pairs that the file states; may be incomplete (PDB), empty if it states none.
    atom_names, residues
        One per atom for PDB and mmCIF, else empty.
    charge_question, multiplicity_question
        If the file hints at a charge or multiplicity without being a source to rely on: what to tell a user who
        gave none.
    notes
        What was left out on reading (further frames), one line each.
    """

    atomic_numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    charge: int | None = None
    multiplicity: int | None = None
    bonds: tuple[tuple[int, int], ...] = ()
    atom_names: tuple[str, ...] = ()
    residues: tuple[Residue, ...] = ()
    charge_question: str | None = None
    multiplicity_question: str | None = None
    notes: tuple[str, ...] = ()


def coordinate(text: str, where: str) -> float:
    """A coordinate as files write it.

    Raises
    ------
    InputError
        If the text is not a finite number.
    """
    try:
        if "_" in text:  # float() takes 1_000, no structure file does
            raise ValueError
        value = float(text)
    except ValueError:
        raise InputError(f"{where}: '{text.strip()}' is not a coordinate; correct it or write the file anew") from None
    if not math.isfinite(value):
        raise InputError(f"{where}: coordinate '{text.strip()}' is not finite; write the file anew")
    return value


def whole_number(text: str, where: str, what: str) -> int:
    """An integer, also when it is written as 1.0.

    Raises
    ------
    InputError
        If it is not one.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value != int(value):
        raise InputError(f"{where}: {what} '{text.strip()}' is not a whole number; correct it")
    return int(value)


def refuse_cell(lengths: list[float], angles: list[float], where: str) -> None:
    """Refuse a periodic box; the 1 x 1 x 1 Å or zero placeholder means that there is none.

    Raises
    ------
    InputError
        If the cell is a real one.
    """
    if all(length == 0.0 for length in lengths):
        return
    if all(abs(length - 1.0) < 1e-6 for length in lengths) and all(abs(angle - 90.0) < 1e-6 for angle in angles):
        return
    size = " x ".join(f"{length:g}" for length in lengths)
    raise InputError(
        f"{where}: periodic boxes are not supported ({size} Å): the models describe one free molecule; "
        "take it out of the box and delete the cell"
    )
