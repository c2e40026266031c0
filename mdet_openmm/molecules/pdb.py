"""PDB files: fixed columns, the first model, no guessing where the format leaves doubt."""

import re

import numpy as np

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.comment_line import charge_and_multiplicity
from mdet_openmm.molecules.elements import NAMES_OF_ATOMS, atomic_number, atomic_number_from_pdb_name
from mdet_openmm.molecules.structure import Residue, Structure, coordinate, refuse_cell

_FORMAL_CHARGE = re.compile(r"^(?:(\d)([+-])|([+-])(\d))$")


def parse_pdb(text: str, file: str) -> Structure:
    """Read the first model of a PDB file.

    Columns follow wwPDB format 3.3. Elements come from columns 77-78, else (in old files the line number stands
    there) from the atom name where that is unambiguous. Formal charges (79-80) and what titles and remarks state are
    not trusted as those of the molecule, but asked about when they are not 0 and 1. Bonds are the CONECT records.

    Parameters
    ----------
    text
        The file's contents, lines ending in a newline.
    file
        Its name, for messages.

    Raises
    ------
    InputError
        For broken columns, alternate locations, a periodic box, or CONECT records of missing atoms.
    """
    numbers: list[int] = []
    positions: list[list[float]] = []
    names: list[str] = []
    residues: list[Residue] = []
    index_of_serial: dict[str, int] = {}
    seen: dict[tuple[Residue, str], str] = {}
    connections: list[tuple[int, str]] = []
    formal_charge = 0
    charge_question: str | None = None
    multiplicity_question: str | None = None
    models = 1
    model_ended = False
    for number, line in enumerate(text.split("\n"), start=1):
        record = line[:6].strip().upper()
        where = f"{file}, line {number}"
        if record in ("ATOM", "HETATM"):
            if model_ended:
                models, model_ended = models + 1, False
            if models > 1:
                continue
            residue = Residue(line[21:22].strip(), line[17:21].strip(), line[22:26].strip(), line[26:27].strip())
            name = line[12:16]
            _refuse_alternate(seen, residue, name.strip(), line[16:17].strip(), where)
            positions.append(_coordinates(line, where))
            numbers.append(_element(name, line[76:80], where))
            formal_charge += _formal_charge(line[78:80].strip())
            index_of_serial.setdefault(line[6:11].strip(), len(numbers) - 1)
            names.append(name.strip())
            residues.append(residue)
        elif record in ("END", "ENDMDL", "MODEL"):
            model_ended = bool(numbers)
        elif record == "CRYST1":
            _refuse_box(line, where)
        elif record == "CONECT":
            connections.append((number, line))
        elif record in ("TITLE", "REMARK"):
            stated = charge_and_multiplicity(re.sub(r"^\s*\d*\s", "", line[6:]), where)
            if stated.charge:
                charge_question = f"{where} speaks of the charge {stated.charge:+d}; pass --charge {stated.charge}"
            if stated.multiplicity not in (None, 1):
                multiplicity_question = f"{where} speaks of the multiplicity {stated.multiplicity}; pass --multiplicity"
    if formal_charge:
        charge_question = (
            f"{file} has formal charges that sum to {formal_charge:+d}, which a PDB file does not settle; "
            f"pass --charge {formal_charge} (or what is right)"
        )
    return Structure(
        atomic_numbers=np.array(numbers, dtype=np.int64),
        positions=np.array(positions, dtype=np.float64).reshape(-1, 3),
        bonds=_bonds(connections, index_of_serial, file),
        atom_names=tuple(names),
        residues=tuple(residues),
        charge_question=charge_question,
        multiplicity_question=multiplicity_question,
        notes=(f"{file} holds {models} models; the first is used",) if models > 1 else (),
    )


def _element(name: str, field: str, where: str) -> int:
    """Element from columns 77-80, or from the atom name in columns 13-16 if there is none."""
    symbol = field[:2].strip()
    if symbol == "" or symbol.isdigit():  # digits are a line number, which files before 1996 have in columns 77-80
        return atomic_number_from_pdb_name(name, where)
    if field[2:3].isalpha():
        raise InputError(f"{where}: columns 77-80 hold '{field.strip()}', no element and its charge; mend the columns")
    if symbol.upper() in NAMES_OF_ATOMS and name[:1] == " " and name[1:3].upper() == symbol.upper():
        raise InputError(
            f"{where}: atom '{name.strip()}' is {symbol[0]} by the column of its name but {symbol.capitalize()} by its "
            "element; correct columns 77-78"
        )
    return atomic_number(symbol, where)


def _coordinates(line: str, where: str) -> list[float]:
    fields = (line[30:38], line[38:46], line[46:54])
    if len(line.rstrip()) < 54 and not fields[2].strip():
        raise InputError(f"{where}: the line is cut short before column 54; the file is truncated, write it anew")
    values = []
    for axis, field in zip("xyz", fields, strict=True):
        # A shifted or free-format line can leave digits of two numbers in one field, still readable as a number;
        # the format demands a decimal point in each, which such a piece seldom has.
        if field.strip() and "." not in field and re.fullmatch(r"\s*[+-]?\d+\s*", field):
            raise InputError(f"{where}: columns 31-54 do not hold x, y and z of 8 columns each; write the file anew")
        values.append(coordinate(field, f"{where} ({axis}, fixed columns 31-54)"))
    return values


def _refuse_alternate(seen: dict[tuple[Residue, str], str], residue: Residue, name: str, code: str, where: str) -> None:
    key = (Residue(residue.chain, "", residue.number, residue.insertion_code), name)
    before = seen.setdefault(key, code)
    if before != code:
        raise InputError(
            f"{where}: atom {name} of residue {residue.name} {residue.number} has alternate locations "
            f"('{before}' and '{code}'); keep one of them"
        )


def _refuse_box(line: str, where: str) -> None:
    try:
        values = [float(line[a:b]) for a, b in ((6, 15), (15, 24), (24, 33), (33, 40), (40, 47), (47, 54))]
    except ValueError:
        raise InputError(f"{where}: the CRYST1 record is broken; delete it if the molecule is free") from None
    refuse_cell(values[:3], values[3:], f"{where} (CRYST1)")


def _formal_charge(text: str) -> int:
    match = _FORMAL_CHARGE.match(text)
    if match is None:
        return 0  # these columns also carry other things in old files
    digit = match.group(1) or match.group(4)
    sign = match.group(2) or match.group(3)
    return int(digit) if sign == "+" else -int(digit)


def _bonds(
    connections: list[tuple[int, str]], index_of_serial: dict[str, int], file: str
) -> tuple[tuple[int, int], ...]:
    bonds: set[tuple[int, int]] = set()
    for number, line in connections:
        line = line.rstrip()
        serials = [line[a : a + 5].strip() for a in range(6, min(len(line), 31), 5)]
        indices = []
        for serial in filter(None, serials):
            if serial not in index_of_serial:
                raise InputError(
                    f"{file}, line {number}: CONECT names atom {serial}, which the file does not have; "
                    "it is truncated or broken, write it anew"
                )
            indices.append(index_of_serial[serial])
        bonds.update((min(indices[0], j), max(indices[0], j)) for j in indices[1:] if j != indices[0])
    return tuple(sorted(bonds))
