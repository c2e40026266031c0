"""From a structure file or a SMILES to a checked molecule."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.checks import check_charge, check_geometry, check_molecule
from mdet_openmm.molecules.files import names_file, read_text, structure_format
from mdet_openmm.molecules.hydrogens import shown_charge
from mdet_openmm.molecules.mmcif import parse_mmcif
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.pdb import parse_pdb
from mdet_openmm.molecules.sdf import parse_sdf
from mdet_openmm.molecules.smiles import is_smiles, left_open, molecule_from_smiles
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


def read_molecule(source: str | Path, charge: int | None = None, multiplicity: int | None = None) -> Molecule:
    """Read a molecule from a PDB, mmCIF, XYZ, extended XYZ or SDF file, or make one of a SMILES, and check it.

    Of several models, frames or records the first is read, and a note is logged. A periodic box is refused. Of a SMILES
    RDKit makes one structure, the same at every call; a note says so.

    Parameters
    ----------
    source
        .pdb .ent, .cif .mmcif .pdbx, .xyz .extxyz, .sdf .mol, in any case; what has another ending and is no file is
        taken for a SMILES.
    charge
        Total charge in e. None: the file's (SDF ``M  CHG``, comment line of an XYZ), else 0. A PDB or mmCIF file
        whose formal charges do not cancel needs it, and so does a molecule whose bonds show another charge
        (`check_charge`); one that is given against the bonds is taken with a note, one against a SMILES is refused.
    multiplicity
        2S + 1. None: the file's (SDF ``M  RAD`` of one centre, comment line of an XYZ), else 1; high spin of the
        radical electrons of a SMILES.

    Returns
    -------
    Molecule
        Atoms in the order of the file (of a SMILES, hydrogens behind), positions in Å.

    Raises
    ------
    InputError
        In one line, if the file or the molecule in it cannot be used.
    """
    if not names_file(source):
        return _from_smiles(str(source), charge, multiplicity)
    path = Path(source)
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


def _from_smiles(smiles: str, charge: int | None, multiplicity: int | None) -> Molecule:
    if not is_smiles(smiles):
        raise InputError(f"{smiles}: no such file, and no SMILES that RDKit can read; check the path")
    molecule = molecule_from_smiles(smiles)
    if charge is not None and charge != molecule.charge:
        raise InputError(
            f"the SMILES {smiles} has the charge {molecule.charge:+d}, not {charge:+d}; correct one of them"
        )
    molecule = replace(molecule, multiplicity=_first(multiplicity, molecule.multiplicity, 1))
    check_molecule(molecule)
    log.warning(
        "%s is no file but a SMILES: RDKit's structure of %d atoms (seed 0), charge %+d, multiplicity %d%s",
        smiles,
        molecule.n_atoms,
        molecule.charge,
        molecule.multiplicity,
        "; it leaves the stereoisomer open, and one was chosen" if left_open(smiles) else "",
    )
    return molecule


def _first(given: int | None, stated: int | None, default: int) -> int:
    if given is not None:
        return int(given)
    return default if stated is None else stated
