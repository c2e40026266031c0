"""SDF and MOL files, V2000 and V3000."""

import re
from dataclasses import dataclass, field

import numpy as np

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.elements import atomic_number
from mdet_openmm.molecules.structure import Structure, coordinate

# The old charge column of V2000 atom lines; 4 is a doublet radical.
_CHARGE_CODES = {1: 3, 2: 2, 3: 1, 5: -1, 6: -2, 7: -3}
_DOUBLET_CODE = 4


@dataclass
class _Record:
    """What accumulates while a record is read."""

    numbers: list[int] = field(default_factory=list)
    positions: list[list[float]] = field(default_factory=list)
    bonds: list[tuple[int, int]] = field(default_factory=list)
    charges: dict[int, int] = field(default_factory=dict)
    radicals: dict[int, int] = field(default_factory=dict)


def parse_sdf(text: str, file: str) -> Structure:
    """Read the first record of an SDF or MOL file as it stands, without any chemistry perception.

    The charge is the sum of the atoms' charges (``M  CHG``, V3000 ``CHG=``, or the old charge column), 0 if there
    are none. One radical centre (``M  RAD``, ``RAD=``: 1 singlet, 2 doublet, 3 triplet) states the multiplicity;
    several do not, because their spins may be parallel or not.

    Raises
    ------
    InputError
        For a truncated or broken record, a drawing without 3D coordinates, or isotopes.
    """
    lines = text.split("\n")
    if len(lines) < 4:
        raise InputError(f"{file}: ends before the counts line; the file is truncated, write it anew")
    record = _read_v3000(lines, file) if "V3000" in lines[3] else _read_v2000(lines, file)
    positions = np.array(record.positions, dtype=np.float64).reshape(-1, 3)
    _refuse_drawing(positions, record.bonds, lines[1][20:22].strip().upper() == "2D", file)
    radicals = [value for value in record.radicals.values() if value]
    return Structure(
        atomic_numbers=np.array(record.numbers, dtype=np.int64),
        positions=positions,
        charge=sum(record.charges.values()),
        multiplicity=radicals[0] if len(radicals) == 1 else None,
        bonds=tuple(sorted({(min(b), max(b)) for b in record.bonds})),
        multiplicity_question=(
            f"{file} has {len(radicals)} radical centres, whose spins can be parallel or not; pass --multiplicity"
            if len(radicals) > 1
            else None
        ),
        notes=_further_records(lines, file),
    )


def _integer(text: str, where: str, what: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{where}: {what} '{text.strip()}' is not an integer; write the file anew") from None


def _read_v2000(lines: list[str], file: str) -> _Record:
    record = _Record()
    counts = f"{file}, line 4 (counts line)"
    n_atoms = _integer(lines[3][:3], counts, "number of atoms")
    n_bonds = _integer(lines[3][3:6], counts, "number of bonds")
    for k in range(n_atoms):
        number = 5 + k
        line = _line(lines, number, file, f"{k} of {n_atoms} atoms")
        where = f"{file}, line {number}"
        record.positions.append([coordinate(line[a : a + 10], where) for a in (0, 10, 20)])
        record.numbers.append(atomic_number(line[31:34], where))
        if line[34:36].strip() not in ("", "0"):
            raise InputError(f"{where}: isotopes are not supported, masses are the natural ones; remove the mass entry")
        code = int(line[36:39]) if line[36:39].strip().isdigit() else 0
        if code in _CHARGE_CODES:
            record.charges[k] = 4 - code
        elif code == _DOUBLET_CODE:
            record.radicals[k] = 2
    for k in range(n_bonds):
        number = 5 + n_atoms + k
        line = _line(lines, number, file, f"{k} of {n_bonds} bonds")
        where = f"{file}, line {number}"
        ends = (_integer(line[:3], where, "bond end"), _integer(line[3:6], where, "bond end"))
        record.bonds.append(_bond(ends, n_atoms, where))
    superseded = False
    for number in range(5 + n_atoms + n_bonds, len(lines) + 1):
        line = lines[number - 1]
        if line.startswith("M  END"):
            return record
        if line.startswith("$$$$"):
            break
        where = f"{file}, line {number}"
        if line.startswith(("M  CHG", "M  RAD")) and not superseded:
            # Either property line makes the whole charge column void (CTfile formats, 2020).
            record.charges, record.radicals, superseded = {}, {}, True
        if line.startswith("M  ISO"):
            raise InputError(f"{where}: isotopes are not supported, masses are the natural ones; remove M  ISO")
        if line.startswith("M  CHG"):
            record.charges.update(_property_pairs(line, n_atoms, where))
        elif line.startswith("M  RAD"):
            record.radicals.update(_property_pairs(line, n_atoms, where))
    raise InputError(f"{file}: the first record has no 'M  END'; the file is truncated, write it anew")


def _property_pairs(line: str, n_atoms: int, where: str) -> dict[int, int]:
    values = [_integer(v, where, "property") for v in line[6:].split()]
    if not values or len(values) != 1 + 2 * values[0]:
        raise InputError(f"{where}: '{line.strip()}' is not a count and that many pairs; write the file anew")
    if any(not 1 <= atom <= n_atoms for atom in values[1::2]):
        raise InputError(f"{where}: '{line.strip()}' names an atom that the record does not have; write the file anew")
    return {atom - 1: value for atom, value in zip(values[1::2], values[2::2], strict=True)}


def _read_v3000(lines: list[str], file: str) -> _Record:
    record = _Record()
    index: dict[str, int] = {}
    counts: list[str] = []
    section = ""
    pending = ""
    for number, line in enumerate(lines[4:], start=5):
        where = f"{file}, line {number}"
        if line.startswith("M  END"):
            break
        if not line.startswith("M  V30 "):
            continue
        content = pending + line[7:].rstrip()
        if content.endswith("-"):
            pending = content[:-1]
            continue
        pending = ""
        words = content.split()
        if not words:
            continue
        if words[0] == "COUNTS":
            counts = words[1:3]
        elif words[0] in ("BEGIN", "END"):
            section = words[1] if words[0] == "BEGIN" and len(words) > 1 else ""
        elif section == "ATOM":
            _read_v3000_atom(words, index, record, where)
        elif section == "BOND":
            if len(words) < 4 or words[2] not in index or words[3] not in index:
                raise InputError(f"{where}: a bond needs two atoms of the record; the file is truncated or broken")
            record.bonds.append((index[words[2]], index[words[3]]))
    else:
        raise InputError(f"{file}: the first record has no 'M  END'; the file is truncated, write it anew")
    found = [str(len(record.numbers)), str(len(record.bonds))]
    if counts != found:
        raise InputError(
            f"{file}: the counts line announces {' atoms and '.join(counts) or 'nothing'} bonds but the record has "
            f"{' atoms and '.join(found)}; the file is truncated or broken, write it anew"
        )
    return record


def _read_v3000_atom(words: list[str], index: dict[str, int], record: _Record, where: str) -> None:
    if len(words) < 5:
        raise InputError(f"{where}: '{' '.join(words)}' is not an index, an element and three coordinates")
    k = len(record.numbers)
    index[words[0]] = k
    record.numbers.append(atomic_number(words[1], where))
    record.positions.append([coordinate(word, where) for word in words[2:5]])
    for word in words[5:]:
        key, _, value = word.partition("=")
        if key == "CHG":
            record.charges[k] = _integer(value, where, "CHG")
        elif key == "RAD":
            record.radicals[k] = _integer(value, where, "RAD")
        elif key == "MASS":
            raise InputError(f"{where}: isotopes are not supported, masses are the natural ones; remove MASS=")


def _line(lines: list[str], number: int, file: str, progress: str) -> str:
    if number > len(lines) or not lines[number - 1].strip() or lines[number - 1].startswith(("M  END", "$$$$")):
        raise InputError(f"{file}: ends after {progress}; the file is truncated or its counts line wrong")
    return lines[number - 1]


def _bond(ends: tuple[int, int], n_atoms: int, where: str) -> tuple[int, int]:
    if not all(1 <= end <= n_atoms for end in ends) or ends[0] == ends[1]:
        raise InputError(f"{where}: a bond needs two atoms between 1 and {n_atoms}; write the file anew")
    return ends[0] - 1, ends[1] - 1


def _refuse_drawing(positions: np.ndarray, bonds: list[tuple[int, int]], flagged_2d: bool, file: str) -> None:
    """A drawing is flat and says so, or is flat although an atom has four neighbours."""
    if len(positions) < 2 or np.any(positions[:, 2] != 0.0):
        return
    degree = np.bincount(np.array(bonds, dtype=np.int64).reshape(-1), minlength=len(positions))
    if flagged_2d or degree.max() >= 4:
        raise InputError(
            f"{file}: no 3D coordinates (all z are 0, a 2D drawing); make them first, e.g. with RDKit EmbedMolecule"
        )


def _further_records(lines: list[str], file: str) -> tuple[str, ...]:
    ends = [k for k, line in enumerate(lines) if line.startswith("$$$$")]
    records = sum(1 for line in lines if re.match(r"M  END", line))
    if records > 1 and ends:
        return (f"{file} holds {records} records; the first is used",)
    return ()
