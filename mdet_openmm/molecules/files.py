"""Opening a structure file: what can be wrong with it before its contents are looked at."""

import os
import re
from pathlib import Path

from mdet_openmm.errors import InputError

EXTENSIONS = {
    ".pdb": "PDB",
    ".ent": "PDB",
    ".cif": "mmCIF",
    ".mmcif": "mmCIF",
    ".pdbx": "mmCIF",
    ".xyz": "XYZ",
    ".extxyz": "XYZ",
    ".sdf": "SDF",
    ".mol": "SDF",
}
SYSTEM_HELP = "PDB, mmCIF, XYZ or SDF file, or a SMILES"
"""What a structure may be given as."""
_COMPRESSED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}


def names_file(source: str | Path) -> bool:
    """Whether this is a structure file, there or not, and no SMILES."""
    return Path(source).suffix.lower() in EXTENSIONS or os.path.lexists(source)


def name_of(source: str | Path) -> str:
    """A name for a file's or SMILES' own files and folders."""
    return Path(source).stem if names_file(source) else as_file_name(str(source))


def as_file_name(text: str) -> str:
    """A text without the characters that make trouble in names of files."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("_") or "molecule"


def read_text(path: Path) -> str:
    """Contents of a text file with line endings made uniform.

    Raises
    ------
    InputError
        If the file is missing, a directory, unreadable, empty, compressed, or not UTF-8 text.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a directory; name a structure file in it") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions") from None
    except ValueError as error:
        raise InputError(f"{path!s:.80} is not a usable path ({error})") from None
    for magic, kind in _COMPRESSED.items():
        if data.startswith(magic):
            raise InputError(f"{path} is {kind}-compressed; unpack it first")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InputError(f"{path} is not a text file (binary, or not UTF-8); give PDB, mmCIF, XYZ or SDF as UTF-8 text")
    if not text.strip():
        raise InputError(f"{path} is empty; write it anew")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def structure_format(path: Path, text: str) -> str:
    """'PDB', 'mmCIF', 'XYZ' or 'SDF': from the extension, refused if the contents are clearly another of them.

    Raises
    ------
    InputError
        For an unknown extension, or contents that belong to another one.
    """
    extension = path.suffix.lower()
    if extension not in EXTENSIONS:
        raise InputError(
            f"{path}: unknown extension '{path.suffix}'; give PDB (.pdb .ent), mmCIF (.cif .mmcif .pdbx), "
            "XYZ (.xyz .extxyz) or SDF (.sdf .mol)"
        )
    expected, found = EXTENSIONS[extension], _format_of_contents(text)
    if found not in (None, expected):
        raise InputError(f"{path}: the extension says {expected} but the contents are {found}; rename the file")
    return expected


def _format_of_contents(text: str) -> str | None:
    """What the contents certainly are, else None."""
    head = text[:200_000]
    first_line = head.split("\n", 1)[0]
    if re.search(r"^.{30,36}V[23]000", head, re.MULTILINE) or re.search(r"^M  (END|V30)", head, re.MULTILINE):
        return "SDF"
    if re.search(r"^_(atom_site|chem_comp_atom|cell)[._]", head, re.MULTILINE | re.IGNORECASE):
        return "mmCIF"
    if re.search(r"^(ATOM  |HETATM)[ \d]", head, re.MULTILINE):
        return "PDB"
    if re.fullmatch(r"\s*\d+\s*", first_line):
        return "XYZ"
    return None
