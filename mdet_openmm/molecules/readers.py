"""From a structure file to a checked molecule."""

import logging
from collections.abc import Callable
from pathlib import Path

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.checks import check_charge, check_geometry, check_molecule
from mdet_openmm.molecules.files import read_text, structure_format
from mdet_openmm.molecules.hydrogens import shown_charge
from mdet_openmm.molecules.mmcif import parse_mmcif
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.pdb import parse_pdb
from mdet_openmm.molecules.sdf import parse_sdf
from mdet_openmm.molecules.structure import Structure
from mdet_openmm.molecules.xyz import parse_xyz

log = logging.getLogger("mdet_openmm")

_PARSERS: dict[str, Callable[[str, str], Structure]] = {
    "PDB": parse_pdb,
    "mmCIF": parse_mmcif,
    "XYZ": parse_xyz,
    "SDF": parse_sdf,
}


def read_structure(path: Path) -> Structure:
    """What a PDB, mmCIF, XYZ, extended XYZ or SDF file says, by its extension; only the first of several frames.

    Raises
    ------
    InputError
        If the file cannot be read as its format.
    """
    path = Path(path)
    text = read_text(path)
    structure = _PARSERS[structure_format(path, text)](text, str(path))
    if len(structure.atomic_numbers) == 0:
        raise InputError(f"{path}: no atoms; is the file complete?")
    return structure


def read_molecule(path: Path, charge: int | None = None, multiplicity: int | None = None) -> Molecule:
    """Read a molecule from a PDB, mmCIF, XYZ, extended XYZ or SDF file and check it.

    Of several models, frames or records the first is read, and a note is logged. A periodic box is refused.

    Parameters
    ----------
    path
        .pdb .ent, .cif .mmcif .pdbx, .xyz .extxyz, .sdf .mol, in any case.
    charge
        Total charge in e. None: the file's (SDF ``M  CHG``, comment line of an XYZ), else 0. A PDB or mmCIF file
        whose formal charges do not cancel needs it, and so does a molecule whose bonds show another charge
        (`check_charge`); one that is given against the bonds is taken with a note.
    multiplicity
        2S + 1. None: the file's (SDF ``M  RAD`` of one centre, comment line of an XYZ), else 1.

    Returns
    -------
    Molecule
        Atoms in the order of the file, positions in Å.

    Raises
    ------
    InputError
        In one line, if the file or the molecule in it cannot be used.
    """
    path = Path(path)
    structure = read_structure(path)
    # What the file's contents are wrong in comes before what the user has to decide about them.
    check_geometry(Molecule(structure.atomic_numbers, structure.positions, name=path.stem))
    if charge is None and structure.charge_question is not None:
        raise InputError(structure.charge_question)
    if multiplicity is None and structure.multiplicity_question is not None:
        raise InputError(structure.multiplicity_question)
    for note in structure.notes:
        log.warning(note)
    molecule = Molecule(
        atomic_numbers=structure.atomic_numbers,
        positions=structure.positions,
        charge=_first(charge, structure.charge, 0),
        multiplicity=_first(multiplicity, structure.multiplicity, 1),
        name=path.stem,
        structure=structure,
    )
    check_molecule(molecule)
    if charge is None:
        check_charge(molecule)
    elif (shown := shown_charge(molecule)) is not None:
        log.warning("%s: its bonds show the charge %+d, not %+d as was given", molecule.name, shown, charge)
    return molecule


def _first(given: int | None, stated: int | None, default: int) -> int:
    if given is not None:
        return int(given)
    return default if stated is None else stated
