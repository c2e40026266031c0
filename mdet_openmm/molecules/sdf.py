"""SDF and MOL files, V2000 and V3000: the connection table by RDKit, and what RDKit takes without a word."""

import re
from itertools import takewhile
from typing import Any

import numpy as np

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.comment_line import charge_and_multiplicity
from mdet_openmm.molecules.elements import atomic_number
from mdet_openmm.molecules.structure import Structure, coordinate

_ISOTOPES = "isotopes are not supported, masses are the natural ones; remove the masses"


def parse_sdf(text: str, file: str) -> Structure:
    """Read the first record of an SDF or MOL file as it stands, without any chemistry perception.

    The charge is the sum of the atoms' charges (``M  CHG``, V3000 ``CHG=``, or the old charge column), 0 if there
    are none. One radical centre (``M  RAD``, ``RAD=``: 1 singlet, 2 doublet, 3 triplet) states the multiplicity;
    several do not, because their spins may be parallel or not. A title or data field that states others is asked
    about.

    Raises
    ------
    InputError
        For a truncated or broken record, a drawing without 3D coordinates, or isotopes.
    """
    record = re.split(r"^\$\$\$\$", text, maxsplit=1, flags=re.MULTILINE)[0]
    lines = record.split("\n")
    if len(lines) < 4:
        raise InputError(f"{file}: ends before the counts line; the file is truncated, write it anew")
    table = re.sub(r"-\nM  V30 ", "", record)  # a line of V3000 that ends so goes on in the next
    radicals = _checked_atoms_v3000(table, file) if "V3000" in lines[3] else _checked_atoms(lines, file)
    if not re.search(r"^M  END", record, re.MULTILINE):
        raise InputError(f"{file}: the first record has no 'M  END'; the file is truncated, write it anew")
    molecule = _read(record, file)
    if any(atom.GetIsotope() for atom in molecule.GetAtoms()):
        raise InputError(f"{file}: {_ISOTOPES}")
    positions = np.array(molecule.GetConformer().GetPositions(), dtype=np.float64).reshape(-1, 3)
    bonds = {tuple(sorted((b.GetBeginAtomIdx(), b.GetEndAtomIdx()))) for b in molecule.GetBonds()}
    _refuse_drawing(positions, bonds, lines[1][20:22].strip().upper() == "2D", file)
    charge = sum(atom.GetFormalCharge() for atom in molecule.GetAtoms())
    multiplicity = radicals[0] if len(radicals) == 1 else None
    charge_question = multiplicity_question = None
    if len(radicals) > 1:
        multiplicity_question = (
            f"{file} has {len(radicals)} radical centres, whose spins can be parallel or not; pass --multiplicity"
        )
    fields = re.findall(r"^>.*<([^>\n]+)>.*\n(.*)$", record, re.MULTILINE)
    for said in (lines[0], lines[2], *(f"{name}={value}" for name, value in fields)):
        stated = charge_and_multiplicity(said, file)
        quoted = f"{file}: '{said.strip():.40}' is not the"
        if stated.charge not in (None, charge):
            charge_question = f"{quoted} charge {charge:+d} of the atoms; pass --charge"
        if stated.multiplicity not in (None, multiplicity or 1):
            multiplicity_question = f"{quoted} multiplicity {multiplicity or 1} of the atoms; pass --multiplicity"
    ends = len(re.findall(r"^M  END", text, re.MULTILINE))
    return Structure(
        atomic_numbers=np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], dtype=np.int64),
        positions=positions,
        charge=charge,
        multiplicity=multiplicity,
        bonds=tuple(sorted(bonds)),
        charge_question=charge_question,
        multiplicity_question=multiplicity_question,
        notes=(f"{file} holds {ends} records; the first is used",) if ends > 1 else (),
    )


def _read(record: str, file: str) -> Any:
    """RDKit's molecule, exactly the atoms of the record."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromMolBlock(record, sanitize=False, removeHs=False, strictParsing=True)
    if molecule is None:
        raise InputError(
            f"{file}: RDKit cannot read the first record: its counts, bonds or properties do not fit its atoms; "
            "write the file anew"
        )
    return molecule


def _checked_atoms(lines: list[str], file: str) -> list[int]:
    """Check the fields of the atoms of a V2000 table, and return the spin multiplicities of its radical centres."""
    count = lines[3][:3].strip()
    if not count.isdecimal():
        raise InputError(f"{file}, line 4: number of atoms '{count}' is not an integer; write the file anew")
    atoms = list(takewhile(lambda line: line.strip() and line[:1] not in "M>", lines[4 : 4 + int(count)]))
    if len(atoms) < int(count):
        raise InputError(f"{file}: ends after {len(atoms)} of {count} atoms; the file is truncated, write it anew")
    block = takewhile(lambda line: not line.startswith("M  END"), lines[4 + len(atoms) :])
    properties = [line for line in block if re.match(r"M\s*(CHG|RAD|ISO)", line)]
    doublets = 0
    for number, line in enumerate(atoms, start=5):
        where = f"{file}, line {number}"
        for start in (0, 10, 20):
            coordinate(line[start : start + 10], where)
        atomic_number(line[31:34], where)
        if line[34:36].strip() not in ("", "0"):
            raise InputError(f"{where}: {_ISOTOPES}")
        if not re.fullmatch(r"(  [0-7])?\s*", line[36:39]):
            raise InputError(f"{where}: '{line[36:39]}' is no charge code (0 to 7); write the file anew")
        doublets += line[36:39].strip() == "4"
    if any(line[:3] != "M  " for line in properties):
        raise InputError(f"{file}: a property line does not begin with 'M  ' and its code; write the file anew")
    if any(line[3:6] in ("CHG", "RAD") for line in properties):
        doublets = 0  # either makes the whole charge column void (CTfile formats, 2020)
    codes = [code for line in properties if line[3:6] == "RAD" for code in line[9:].split()[1::2]]
    return [2] * doublets + [int(code) for code in codes if code in ("1", "2", "3")]  # RDKit refuses others but 0


def _checked_atoms_v3000(table: str, file: str) -> list[int]:
    """The same of a V3000 table."""
    block = re.search(r"^M  V30 BEGIN ATOM\n(.*?)^M  V30 END ATOM", table, re.MULTILINE | re.DOTALL)
    radicals = []
    for number, line in enumerate(block[1].split("\n")[:-1] if block else [], start=1):
        where = f"{file}, atom {number}"
        words = line.split()[2:]
        if len(words) < 5:
            raise InputError(f"{where}: '{line.strip()}' is not an index, an element and three coordinates")
        atomic_number(words[1], where)
        for word in words[2:5]:
            coordinate(word, where)
        for word in words[5:]:
            if word.startswith(("CHG=", "RAD=")) and not re.fullmatch(r"...=-?\d+", word):
                raise InputError(f"{where}: '{word}' is not an integer; write the file anew")
            if word in ("RAD=1", "RAD=2", "RAD=3"):
                radicals.append(int(word[4:]))
    return radicals


def _refuse_drawing(positions: np.ndarray, bonds: set[tuple[int, ...]], flagged_2d: bool, file: str) -> None:
    """A drawing is flat and says so, or is flat although an atom has four neighbours."""
    if len(positions) < 2 or np.any(positions[:, 2] != 0.0):
        return
    degree = np.bincount(np.array(sorted(bonds), dtype=np.int64).reshape(-1), minlength=len(positions))
    if flagged_2d or degree.max() >= 4:
        raise InputError(
            f"{file}: no 3D coordinates (all z are 0, a 2D drawing); make them first, e.g. with RDKit EmbedMolecule"
        )
