"""XYZ and extended XYZ files."""

import re

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.comment_line import charge_and_multiplicity
from mdet_openmm.molecules.elements import NAMES_OF_ATOMS, atomic_number, refuse_isotopes
from mdet_openmm.molecules.structure import Structure, coordinate, refuse_cell

_KEY_VALUE = re.compile(r"([A-Za-z_][\w-]*)\s*=\s*(\"[^\"]*\"|'[^']*'|\{[^}]*\}|\[[^\]]*\]|[^\s,;]+)")
_PLAIN = "species:S:1:pos:R:3"
# Columns of the same content that programs name in different ways.
_COLUMN = {
    "z": "species",
    "numbers": "species",
    "mass": "masses",
    "charge": "charges",
    "initial_charges": "charges",
    "formal_charges": "charges",
    "initial_magmoms": "magmoms",
}


def parse_xyz(text: str, file: str) -> Structure:
    """Read the first frame of an XYZ or extended XYZ file, in Å.

    The comment line may state the charge and the multiplicity (`charge_and_multiplicity`). ``Properties=`` tells
    which columns hold the elements and positions; charges and magnetic moments of the atoms that do not cancel are
    asked about. A ``Lattice=`` is refused unless ``pbc="F F F"`` says that it is none. The three lines that QM9 has
    behind the atoms and its numbers like ``1.4*^-2`` are understood.

    Raises
    ------
    InputError
        For a broken count or line, a truncated file, masses of isotopes, or a periodic box.
    """
    lines = text.split("\n")
    header = lines[0].split()
    if len(header) != 1 or not re.fullmatch(r"\d+", header[0]):
        raise InputError(f"{file}, line 1: an XYZ file begins with the number of atoms, not '{lines[0].strip()[:40]}'")
    n = int(header[0])
    comment = lines[1] if len(lines) > 1 else ""
    where = f"{file}, line 2"
    keys = {key.lower(): value.strip("\"'{}[]") for key, value in _KEY_VALUE.findall(comment)}
    _refuse_lattice(keys, where)
    columns = _columns(keys.get("properties", _PLAIN), where)
    rows = _rows(lines[2 : 2 + n], n, max(columns["species"] + 1, columns["pos"] + 3), file)
    symbols = [row[columns["species"]] for row in rows]
    if comment.startswith("Atoms. Timestep") and any(symbol.isdigit() for symbol in symbols):
        raise InputError(f"{file}: LAMMPS numbers its types of atoms, which are no elements; write element symbols")
    named = [k for k, symbol in enumerate(symbols) if symbol in NAMES_OF_ATOMS]
    if named:
        name, place = symbols[named[0]], f"{file}, line {named[0] + 3}"
        raise InputError(
            f"{place}: '{name}' can be the element {name.capitalize()} or an atom's name; write the element"
        )
    numbers = np.array([atomic_number(s, f"{file}, line {k}") for k, s in enumerate(symbols, start=3)], dtype=np.int64)
    stated = charge_and_multiplicity(comment, where)
    charge_question, multiplicity_question = stated.charge_question, stated.multiplicity_question
    if "masses" in columns:
        refuse_isotopes(numbers, _numbers(rows, columns["masses"], file), file)
    if "charges" in columns:
        total = round(float(_numbers(rows, columns["charges"], file).sum()))
        if total not in (0, stated.charge):
            charge_question = f"{file}: the charges of the atoms sum to {total:+d}; pass --charge {total}"
    if "magmoms" in columns:
        total = 1 + abs(round(float(_numbers(rows, columns["magmoms"], file).sum())))
        if total not in (1, stated.multiplicity):
            multiplicity_question = (
                f"{file}: the magnetic moments of the atoms make the multiplicity {total}; pass --multiplicity {total}"
            )
    return Structure(
        atomic_numbers=numbers,
        positions=np.stack([_numbers(rows, columns["pos"] + axis, file) for axis in range(3)], axis=1),
        charge=stated.charge,
        multiplicity=stated.multiplicity,
        charge_question=charge_question,
        multiplicity_question=multiplicity_question,
        notes=stated.notes + _behind_the_atoms(lines[2 + n :], n, file),
    )


def _rows(lines: list[str], n: int, width: int, file: str) -> list[list[str]]:
    """The fields of each atom's line."""
    rows: list[list[str]] = []
    for k, line in enumerate(lines):
        fields = line.split()
        if not fields or (len(fields) < width and not any(lines[k + 1 :])):
            break  # the end of a truncated file
        if len(fields) < width:
            raise InputError(f"{file}, line {k + 3}: '{line.strip()[:40]}' is not an element and three coordinates")
        rows.append(fields)
    if len(rows) < n:
        raise InputError(f"{file}: ends after {len(rows)} of {n} atoms; the file is truncated, write it anew")
    return rows


def _numbers(rows: list[list[str]], column: int, file: str) -> NDArray[np.float64]:
    """One column; (n,). QM9 writes 1.4*^-2 for 1.4e-2."""
    texts = [row[column].replace("*^", "e") if column < len(row) else "" for row in rows]
    return np.array([coordinate(text, f"{file}, line {k}") for k, text in enumerate(texts, start=3)], dtype=np.float64)


def _refuse_lattice(keys: dict[str, str], where: str) -> None:
    flags = keys.get("pbc", "").replace(",", " ").split()
    periodic = [flag.upper() in ("T", "TRUE", "1") for flag in flags]
    if "lattice" in keys and not (flags and not any(periodic)):
        try:
            vectors = np.array(keys["lattice"].replace(",", " ").split(), dtype=np.float64).reshape(3, 3)
        except ValueError:
            raise InputError(f"{where}: Lattice is not nine numbers; delete it, boxes are not supported") from None
        refuse_cell(
            [float(x) for x in np.linalg.norm(vectors, axis=1)],
            [0.0, 0.0, 0.0],
            where + ' (Lattice without pbc="F F F")',
        )
    elif any(periodic):
        raise InputError(f'{where}: periodic boxes are not supported (pbc="{keys["pbc"]}"); write pbc="F F F"')


def _columns(properties: str, where: str) -> dict[str, int]:
    """The first column of each property, 'species' and 'pos' among them."""
    parts = properties.split(":")
    columns: dict[str, int] = {}
    start = 0
    try:
        for name, kind, width in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            name = _COLUMN.get(name.lower(), name.lower())
            if kind not in ("S", "R", "I", "L") or int(width) < 1 or (name == "pos" and int(width) != 3):
                raise ValueError
            columns[name] = start
            start += int(width)
    except ValueError:
        raise InputError(f"{where}: Properties={properties} is broken; write name:type:columns triples") from None
    if not {"species", "pos"} <= columns.keys():
        raise InputError(f"{where}: Properties={properties} lacks species or pos; add them")
    return columns


def _behind_the_atoms(rest: list[str], n: int, file: str) -> tuple[str, ...]:
    """A note on further frames; what is neither a frame nor the lines of QM9 is refused."""
    filled = [(k, line.split()) for k, line in enumerate(rest) if line.strip()]
    if len(filled) >= 3 and filled[2][1][0].startswith("InChI="):
        filled = filled[3:]  # QM9: frequencies, SMILES, InChI
    if not filled:
        return ()
    k, fields = filled[0]
    if len(fields) == 1 and fields[0].isdecimal():
        return (f"{file} holds more than one frame; the first is used",)
    raise InputError(
        f"{file}, line {n + 3 + k}: more lines than the {n} atoms that line 1 announces, here "
        f"'{rest[k].strip()[:40]}'; correct the count, or delete what is no atom"
    )
