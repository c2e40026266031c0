"""Forces of one structure, in ASE's units."""

from pathlib import Path
from typing import Any

from mdet_openmm.export.force_module import bind, chosen_forces
from mdet_openmm.export.force_module import forces as ase_units
from mdet_openmm.export.memory import check_memory
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.molecules.checks import check_elements
from mdet_openmm.molecules.readers import read_molecule


def predict(
    model: str | Path,
    file: str | Path,
    *,
    charge: int | None = None,
    multiplicity: int | None = None,
    precision: str = "double",
    frames: int = 1,
    forces: str | None = None,
    raw: bool = False,
) -> dict[str, Any]:
    """Forces, and the energy if the model has one, of the structure in a file.

    Parameters
    ----------
    model
        Model folder or name of a shipped model.
    file
        PDB, mmCIF, XYZ or SDF.
    charge, multiplicity
        Of the molecule; the file's, else 0 and 1.
    precision, frames, forces, raw
        See `mdet_openmm.export.force_module.bind`; there is no rotation offset, so that the same input gives the
        same output.

    Returns
    -------
    dict
        ``forces_eV_per_A`` (n, 3), ``energy_eV`` (None without an energy head), and what they belong to. Of direct
        forces net force and torque are removed, unless they are asked for ``raw``.

    Raises
    ------
    InputError
        For a file or a model that cannot be used.
    """
    molecule = read_molecule(Path(file), charge=charge, multiplicity=multiplicity)
    loaded = load_model(model)
    check_elements(molecule, loaded.elements, loaded.name)
    kind = chosen_forces(loaded, forces)
    check_memory(loaded, molecule.n_atoms, frames=frames, precision=precision, forces=kind)
    module = bind(
        loaded,
        molecule.atomic_numbers,
        molecule.charge,
        molecule.multiplicity,
        precision=precision,
        frames=frames,
        offset="none",
        forces=kind,
        raw=raw,
    )
    energy, per_angstrom = ase_units(module, molecule.positions)
    return {
        "model": loaded.name,
        "model_sha256": loaded.sha256,
        "charge": molecule.charge,
        "multiplicity": molecule.multiplicity,
        "precision": precision,
        "frames": frames,
        "forces": kind,
        "raw": raw,
        "atomic_numbers": [int(z) for z in molecule.atomic_numbers],
        "notes": loaded.notes(molecule.atomic_numbers, molecule.charge, molecule.multiplicity),
        "energy_eV": energy,
        "forces_eV_per_A": per_angstrom.tolist(),
    }
