"""XYZ and extended XYZ files."""

import re

import numpy as np

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.elements import atomic_number
from mdet_openmm.molecules.structure import Structure, coordinate, refuse_cell, whole_number

_KEY_VALUE = re.compile(r"([A-Za-z_][\w-]*)\s*=\s*(\"[^\"]*\"|'[^']*'|\{[^}]*\}|\[[^\]]*\]|[^\s,;]+)")
_CHARGE_KEYS = ("charge", "total_charge")
_MULTIPLICITY_KEYS = ("multiplicity", "spin_multiplicity", "mult", "spin")


def parse_xyz(text: str, file: str) -> Structure:
    """Read the first frame of an XYZ or extended XYZ file, in Å.

    The comment line may state ``charge=`` (or ``total_charge=``) and ``multiplicity=`` (or ``spin_multiplicity=``,
    ``mult=``, ``spin=``; all of them are 2S + 1, as in ASE-based data sets). ``Properties=`` tells which columns
    hold the elements and positions. A ``Lattice=`` is refused unless ``pbc="F F F"`` says that it is none.

    Raises
    ------
    InputError
        For a broken count or line, a truncated file, or a periodic box.
    """
    lines = text.split("\n")
    header = lines[0].split()
    if len(header) != 1 or not re.fullmatch(r"\d+", header[0]):
        raise InputError(f"{file}, line 1: an XYZ file begins with the number of atoms, not '{lines[0].strip()[:40]}'")
    n = int(header[0])
    comment = lines[1] if len(lines) > 1 else ""
    keys = {key.lower(): value.strip("\"'{}[]") for key, value in _KEY_VALUE.findall(comment)}
    where = f"{file}, line 2"
    _refuse_lattice(keys, where)
    symbol_column, position_column = _columns(keys.get("properties"), where)
    body = lines[2 : 2 + n]
    numbers: list[int] = []
    positions: list[list[float]] = []
    for number, line in enumerate(body, start=3):
        fields = line.split()
        if not fields:
            break
        if len(fields) < max(symbol_column + 1, position_column + 3):
            if not lines[number:] or not any(lines[number:]):
                break  # the last line of a truncated file
            raise InputError(f"{file}, line {number}: '{line.strip()[:40]}' is not an element and three coordinates")
        here = f"{file}, line {number}"
        numbers.append(atomic_number(fields[symbol_column], here))
        positions.append([coordinate(f, here) for f in fields[position_column : position_column + 3]])
    if len(numbers) < n:
        raise InputError(f"{file}: ends after {len(numbers)} of {n} atoms; the file is truncated, write it anew")
    return Structure(
        atomic_numbers=np.array(numbers, dtype=np.int64),
        positions=np.array(positions, dtype=np.float64).reshape(-1, 3),
        charge=_stated(keys, _CHARGE_KEYS, where),
        multiplicity=_stated(keys, _MULTIPLICITY_KEYS, where),
        notes=_further_frames(lines[2 + n :], n, file),
    )


def _stated(keys: dict[str, str], names: tuple[str, ...], where: str) -> int | None:
    for name in names:
        if name in keys:
            value = whole_number(keys[name], where, name)
            if name == "spin" and value < 1:
                raise InputError(f"{where}: spin={value} is no multiplicity 2S + 1; write multiplicity={value + 1}")
            return value
    return None


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


def _columns(properties: str | None, where: str) -> tuple[int, int]:
    """Columns of the element and of x; species:S:1:pos:R:3 unless stated."""
    if properties is None:
        return 0, 1
    parts = properties.split(":")
    columns: dict[str, int] = {}
    start = 0
    try:
        for name, width in zip(parts[::3], parts[2::3], strict=True):
            columns[name.lower()] = start
            start += int(width)
    except ValueError:
        raise InputError(f"{where}: Properties={properties} is broken; write name:type:columns triples") from None
    symbol = columns.get("species", columns.get("z", columns.get("numbers")))
    if symbol is None or "pos" not in columns:
        raise InputError(f"{where}: Properties={properties} lacks species or pos; add them")
    return symbol, columns["pos"]


def _further_frames(rest: list[str], n: int, file: str) -> tuple[str, ...]:
    filled = [k for k, line in enumerate(rest) if line.strip()]
    if not filled:
        return ()
    if not re.fullmatch(r"\s*\d+\s*", rest[filled[0]]):
        raise InputError(
            f"{file}, line {n + 3 + filled[0]}: more lines than the {n} atoms that line 1 announces; correct the count"
        )
    return (f"{file} holds more than one frame; the first is used",)
