"""mmCIF (PDBx) files, and the chemical-component files of the wwPDB."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.elements import atomic_number
from mdet_openmm.molecules.structure import Residue, Structure, coordinate, refuse_cell, whole_number

Items = dict[str, list[str | None]]
_TOKEN = re.compile(r"'(.*?)'(?=\s|$)|\"(.*?)\"(?=\s|$)|(#.*)|(\S+)")
_KEYWORDS = ("data_", "loop_", "save_", "stop_", "global_")


def parse_mmcif(text: str, file: str) -> Structure:
    """Read the first model of an mmCIF file, or the coordinates of a chemical-component file.

    Of several data blocks the first that has atoms is read. Bonds are those of `_chem_comp_bond` and the covalent
    ones of `_struct_conn`. Formal charges are asked about when they do not cancel, as in PDB files.

    Raises
    ------
    InputError
        For broken or truncated tables, alternate locations, or a periodic cell.
    """
    blocks = read_cif_blocks(text, file)
    with_atoms = [block for block in blocks if "_atom_site.cartn_x" in block or "_chem_comp_atom.atom_id" in block]
    if not with_atoms:
        if any("_atom_site_fract_x" in block or "_cell_length_a" in block for block in blocks):
            raise InputError(
                f"{file}: this is a crystal structure (core CIF, a periodic cell); periodic boxes are not supported, "
                "write one molecule as mmCIF, PDB, XYZ or SDF"
            )
        raise InputError(f"{file}: no atoms (no _atom_site table with Cartn_x); is it an mmCIF file, and complete?")
    for block in blocks:
        _refuse_cell_items(block, file)
    items = with_atoms[0]
    read = _from_atom_site if "_atom_site.cartn_x" in items else _from_component
    structure = read(items, file)
    if len(with_atoms) == 1:
        return structure
    note = f"{file} holds {len(with_atoms)} data blocks with atoms; the first is used"
    return replace(structure, notes=(*structure.notes, note))


def read_cif_blocks(text: str, file: str) -> list[Items]:
    """The items of each data block by lower-case name; '.' and '?' become None.

    Raises
    ------
    InputError
        If a table is incomplete, or an item stands twice in a block.
    """
    blocks: list[Items] = [{}]
    tokens = list(_tokens(text, file))
    k = 0
    while k < len(tokens):
        word, bare = tokens[k]
        lowered = word.lower()
        if bare and lowered.startswith("data_"):
            blocks.append({})
            k += 1
        elif bare and lowered == "loop_":
            k = _read_loop(tokens, k + 1, blocks[-1], file)
        elif bare and word.startswith("_"):
            if k + 1 >= len(tokens) or _is_name(tokens[k + 1]):
                raise InputError(f"{file}: {word} has no value; the file is truncated or broken, write it anew")
            _add(blocks[-1], lowered, [_value(tokens[k + 1])], file)
            k += 2
        else:
            k += 1
    return blocks


def _add(items: Items, name: str, values: list[str | None], file: str) -> None:
    if name in items:
        raise InputError(f"{file}: {name} stands twice in one data block; write the file anew")
    items[name] = values


def _read_loop(tokens: Sequence[tuple[str, bool]], k: int, items: Items, file: str) -> int:
    names = []
    while k < len(tokens) and tokens[k][1] and tokens[k][0].startswith("_"):
        names.append(tokens[k][0].lower())
        k += 1
    start = k
    while k < len(tokens) and not _is_name(tokens[k]):
        k += 1
    values = [_value(token) for token in tokens[start:k]]
    if not names or len(values) % len(names):
        category = names[0].split(".")[0] if names else "a loop"
        raise InputError(f"{file}: the last row of {category} is incomplete; the file is truncated, write it anew")
    for column, name in enumerate(names):
        _add(items, name, values[column :: len(names)], file)
    return k


def _tokens(text: str, file: str) -> Iterator[tuple[str, bool]]:
    """Words of the file and whether they stand without quotes."""
    lines = iter(text.split("\n"))
    for line in lines:
        if line.startswith(";"):
            field = [line[1:]]
            for following in lines:
                if following.startswith(";"):
                    break
                field.append(following)
            else:
                raise InputError(f"{file}: a text field is not closed; the file is truncated, write it anew")
            yield "\n".join(field), False
            line = following[1:]
        for match in _TOKEN.finditer(line):
            single, double, comment, bare = match.groups()
            if comment is not None:
                break
            if bare is not None:
                yield bare, True
            else:
                yield single if single is not None else double, False


def _is_name(token: tuple[str, bool]) -> bool:
    word, bare = token
    return bare and (word.startswith("_") or word.lower().startswith(_KEYWORDS))


def _value(token: tuple[str, bool]) -> str | None:
    word, bare = token
    return None if bare and word in (".", "?") else word


def _column(items: Items, names: Sequence[str], n: int) -> list[str]:
    """The first of the columns that is there; empty text where it has no value."""
    for name in names:
        values = items.get(name, [])
        if len(values) == n:
            return [value or "" for value in values]
    return [""] * n


def _from_atom_site(items: Items, file: str) -> Structure:
    site = "_atom_site."
    n = len(items[site + "cartn_x"])
    models = _column(items, (site + "pdbx_pdb_model_num",), n)
    rows = [k for k in range(n) if models[k] == models[0]]

    def column(*names: str) -> list[str]:
        whole = _column(items, [site + name for name in names], n)
        return [whole[k] for k in rows]

    names = column("label_atom_id", "auth_atom_id")
    residues = [
        Residue(*key)
        for key in zip(
            column("label_asym_id", "auth_asym_id"),
            column("label_comp_id", "auth_comp_id"),
            column("auth_seq_id", "label_seq_id"),
            column("pdbx_pdb_ins_code"),
            strict=True,
        )
    ]
    _refuse_alternates(names, residues, column("label_alt_id"), file)
    formal_charge = sum(whole_number(c, file, "pdbx_formal_charge") for c in column("pdbx_formal_charge") if c)
    symbols = column("type_symbol")
    different = len(set(models))
    return Structure(
        atomic_numbers=_elements(symbols, file),
        positions=_positions([column(f"cartn_{axis}") for axis in "xyz"], file),
        bonds=_site_bonds(items, names, residues),
        atom_names=tuple(names),
        residues=tuple(residues),
        charge_question=_charge_question(formal_charge, items, file),
        notes=(f"{file} holds {different} models; the first is used",) if different > 1 else (),
    )


def _from_component(items: Items, file: str) -> Structure:
    """A component file lists model coordinates and ideal ones; the ideal ones are complete more often."""
    atom = "_chem_comp_atom."
    ids = [value or "" for value in items[atom + "atom_id"]]
    n = len(ids)
    for names in (
        [f"{atom}pdbx_model_cartn_{axis}_ideal" for axis in "xyz"],
        [f"{atom}model_cartn_{axis}" for axis in "xyz"],
    ):
        columns = [_column(items, (name,), n) for name in names]
        if n and all(all(column) for column in columns):
            break
    else:
        raise InputError(f"{file}: the component has no complete set of coordinates; make 3D coordinates first")
    component = _column(items, (atom + "comp_id",), n)
    residues = tuple(Residue("A", name, "1") for name in component)
    formal_charge = sum(whole_number(c, file, "charge") for c in _column(items, (atom + "charge",), n) if c)
    return Structure(
        atomic_numbers=_elements(_column(items, (atom + "type_symbol",), n), file),
        positions=_positions(columns, file),
        bonds=_site_bonds(items, ids, residues),
        atom_names=tuple(ids),
        residues=residues,
        charge_question=_charge_question(formal_charge, items, file),
    )


def _elements(symbols: Sequence[str], file: str) -> np.ndarray:
    numbers = []
    for k, symbol in enumerate(symbols, start=1):
        if not symbol:
            raise InputError(f"{file}, atom {k}: no type_symbol; add the elements")
        if symbol.isdigit():  # XYZ files have atomic numbers there, mmCIF files never
            raise InputError(f"{file}, atom {k}: type_symbol {symbol} is not the symbol of an element")
        numbers.append(atomic_number(symbol, f"{file}, atom {k}"))
    return np.array(numbers, dtype=np.int64)


def _positions(columns: Sequence[Sequence[str]], file: str) -> np.ndarray:
    rows = [
        [coordinate(text, f"{file}, atom {k}") for text in row]
        for k, row in enumerate(zip(*columns, strict=True), start=1)
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def _charge_question(formal_charge: int, items: Items, file: str) -> str | None:
    """Of the atoms' formal charges, else of the component's."""
    of_component = items.get("_chem_comp.pdbx_formal_charge", [])
    if formal_charge == 0 and len(of_component) == 1 and of_component[0]:
        formal_charge = whole_number(of_component[0], file, "pdbx_formal_charge")
    if formal_charge == 0:
        return None
    return (
        f"{file} has formal charges that sum to {formal_charge:+d}, which the format does not settle; "
        f"pass --charge {formal_charge} (or what is right)"
    )


def _refuse_cell_items(items: Items, file: str) -> None:
    lengths = [items.get(f"_cell.length_{axis}", [None])[0] for axis in "abc"]
    angles = [items.get(f"_cell.angle_{name}", [None])[0] or "90" for name in ("alpha", "beta", "gamma")]
    if any(length is None for length in lengths):
        return
    try:  # standard uncertainties stand in brackets
        values = [float(str(text).split("(")[0]) for text in (*lengths, *angles)]
    except ValueError:
        raise InputError(f"{file}: the _cell values are not numbers; delete them if the molecule is free") from None
    refuse_cell(values[:3], values[3:], f"{file} (_cell)")


def _refuse_alternates(names: Sequence[str], residues: Sequence[Residue], codes: Sequence[str], file: str) -> None:
    seen: dict[tuple[str, str, str, str], str] = {}
    for name, residue, code in zip(names, residues, codes, strict=True):
        before = seen.setdefault((residue.chain, residue.number, residue.insertion_code, name), code)
        if before != code:
            raise InputError(
                f"{file}: atom {name} of residue {residue.name} {residue.number} has alternate locations "
                f"('{before}' and '{code}'); keep one of them"
            )


def _site_bonds(items: Items, names: Sequence[str], residues: Sequence[Residue]) -> tuple[tuple[int, int], ...]:
    """Bonds of the component tables within each residue, and covalent connections between residues."""
    bonds: set[tuple[int, int]] = set()
    atoms_of: dict[Residue, dict[str, int]] = {}
    for k, (name, residue) in enumerate(zip(names, residues, strict=True)):
        atoms_of.setdefault(residue, {})[name] = k
    bond = "_chem_comp_bond."
    n = len(items.get(bond + "comp_id", []))
    templates = zip(*(_column(items, (bond + c,), n) for c in ("comp_id", "atom_id_1", "atom_id_2")), strict=True)
    for component, first, second in templates:
        for residue, atoms in atoms_of.items():
            if residue.name == component and first in atoms and second in atoms:
                bonds.add((min(atoms[first], atoms[second]), max(atoms[first], atoms[second])))
    conn = "_struct_conn."
    n = len(items.get(conn + "id", []))
    kinds = _column(items, (conn + "conn_type_id",), n)
    ends = []
    for end in ("ptnr1_", "ptnr2_"):
        fields = ("label_asym_id", "label_comp_id", "auth_seq_id", "label_atom_id")
        columns = [_column(items, (conn + end + f, conn + end + f.replace("auth", "label")), n) for f in fields]
        ends.append(list(zip(*columns, strict=True)))
    place = {(r.chain, r.name, r.number, name): k for k, (r, name) in enumerate(zip(residues, names, strict=True))}
    for kind, one, two in zip(kinds, *ends, strict=True):
        if kind.lower().startswith(("cov", "disulf")) and one in place and two in place:
            bonds.add((min(place[one], place[two]), max(place[one], place[two])))
    return tuple(sorted(bonds))
