"""Forces, energy and dipole of one structure, in ASE's units."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mdet_openmm.errors import InputError
from mdet_openmm.export.dipoles import dipoles
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.force_module import forces as ase_units
from mdet_openmm.export.memory import check_memory
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.export.standing import sentences
from mdet_openmm.files import check_new_file, write_file
from mdet_openmm.molecules.checks import check_elements
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.units import DEBYE_PER_E_ANGSTROM

FORMATS = (".xyz", ".extxyz", ".json")


def predict(
    model: str | Path,
    system: str | Path,
    *,
    charge: int | None = None,
    multiplicity: int | None = None,
    options: ForceOptions = ForceOptions(),
) -> dict[str, Any]:
    """Forces, and energy and dipole if the model has them, of one structure.

    Parameters
    ----------
    model
        Model folder or name of a shipped model.
    system
        PDB, mmCIF, XYZ or SDF file, or a SMILES.
    charge, multiplicity
        Of the molecule; the file's, else 0 and 1.
    options
        How the forces are computed, but for the rotation offset: there is none, so that the same input gives the same
        output.

    Returns
    -------
    dict
        ``positions_A`` and ``forces_eV_per_A`` (n, 3), ``energy_eV`` (None without an energy head), ``dipole_e_A``
        (3,) and its length ``dipole_D`` (None without a dipole head; about the centroid of the atoms), and what they
        belong to. Of direct forces net force and torque are removed, unless they are asked for raw.

    Raises
    ------
    InputError
        For a file or a model that cannot be used.
    """
    molecule = read_molecule(system, charge=charge, multiplicity=multiplicity)
    loaded = load_model(model)
    check_elements(molecule, loaded.elements, loaded.name)
    options = replace(options, offset="none").resolved(loaded)
    check_memory(loaded, molecule.n_atoms, options)
    module = bind(loaded, molecule, options)
    energy, per_angstrom = ase_units(module, molecule.positions)
    dipole = None
    if loaded.network.has_dipole:
        centred = molecule.positions - molecule.positions.mean(axis=0)
        dipole = dipoles(loaded, molecule, centred[None], options)[0]
    return {
        "model": loaded.name,
        "model_sha256": loaded.sha256,
        "charge": molecule.charge,
        "multiplicity": molecule.multiplicity,
        "precision": options.precision,
        "frames": options.orientations,
        "forces": options.forces,
        "raw": options.raw,
        "atomic_numbers": [int(z) for z in molecule.atomic_numbers],
        "positions_A": molecule.positions.tolist(),
        "notes": sentences(loaded, molecule),
        "energy_eV": energy,
        "dipole_e_A": None if dipole is None else dipole.tolist(),
        "dipole_D": None if dipole is None else float((dipole**2).sum() ** 0.5) * DEBYE_PER_E_ANGSTROM,
        "forces_eV_per_A": per_angstrom.tolist(),
    }


def check_output(path: Path) -> None:
    """Refuse a file that `write` could not write.

    Raises
    ------
    InputError
        For another ending than those of `FORMATS`, a file that exists, or a folder that does not.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"--output {path}: give a name that ends in {', '.join(FORMATS)}")
    check_new_file(path)


def write(path: Path, result: dict[str, Any]) -> None:
    """Write what `predict` gave, by the file's ending: JSON, or extended XYZ as ASE and those who train on it read it.

    The latter has energy (eV), forces (eV/Å) and dipole (e Å) where there are such, ``charge`` and ``spin`` (2S + 1).
    """
    check_output(path)
    text = json.dumps(result, indent=1) + "\n" if path.suffix.lower() == ".json" else _extended_xyz(result)
    try:
        write_file(path, text)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error}") from None


def _extended_xyz(result: dict[str, Any]) -> str:
    import ase.io
    from ase.calculators.singlepoint import SinglePointCalculator

    names = {"energy": "energy_eV", "forces": "forces_eV_per_A", "dipole": "dipole_e_A"}
    atoms = ase.Atoms(result["atomic_numbers"], result["positions_A"])
    atoms.info = {"charge": result["charge"], "spin": result["multiplicity"], "model": result["model"]}
    known = {name: result[key] for name, key in names.items() if result[key] is not None}
    atoms.calc = SinglePointCalculator(atoms, **known)
    text = io.StringIO()
    ase.io.write(text, atoms, format="extxyz")
    return text.getvalue()
