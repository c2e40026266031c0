"""Forces, energy and dipole of one structure, in ASE's units."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from mdet_openmm.export.dipoles import dipoles
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.force_module import forces as ase_units
from mdet_openmm.export.memory import check_memory
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.export.standing import sentences
from mdet_openmm.molecules.checks import check_elements
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.units import DEBYE_PER_E_ANGSTROM


def predict(
    model: str | Path,
    file: str | Path,
    *,
    charge: int | None = None,
    multiplicity: int | None = None,
    options: ForceOptions = ForceOptions(),
) -> dict[str, Any]:
    """Forces, and energy and dipole if the model has them, of the structure in a file.

    Parameters
    ----------
    model
        Model folder or name of a shipped model.
    file
        PDB, mmCIF, XYZ or SDF.
    charge, multiplicity
        Of the molecule; the file's, else 0 and 1.
    options
        How the forces are computed, but for the rotation offset: there is none, so that the same input gives the same
        output.

    Returns
    -------
    dict
        ``forces_eV_per_A`` (n, 3), ``energy_eV`` (None without an energy head), ``dipole_e_A`` (3,) and its length
        ``dipole_D`` (None without a dipole head; about the centroid of the atoms), and what they belong to. Of direct
        forces net force and torque are removed, unless they are asked for raw.

    Raises
    ------
    InputError
        For a file or a model that cannot be used.
    """
    molecule = read_molecule(Path(file), charge=charge, multiplicity=multiplicity)
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
        "notes": sentences(loaded, molecule),
        "energy_eV": energy,
        "dipole_e_A": None if dipole is None else dipole.tolist(),
        "dipole_D": None if dipole is None else float((dipole**2).sum() ** 0.5) * DEBYE_PER_E_ANGSTROM,
        "forces_eV_per_A": per_angstrom.tolist(),
    }
