"""The force of one molecule as a file that any program with TorchForce reads."""

import json
from dataclasses import replace
from pathlib import Path

import torch

from mdet_openmm import __version__
from mdet_openmm.errors import InputError
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.memory import check_memory
from mdet_openmm.export.model_folder import Model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.export.torchscript import as_bytes
from mdet_openmm.files import check_new_file, write_file
from mdet_openmm.molecules.molecule import Molecule


def export(model: Model, molecule: Molecule, path: Path, options: ForceOptions = ForceOptions()) -> Path:
    """Write the force of one molecule as a TorchScript file that TorchForce (Python or C++) reads.

    Its extra file ``metadata.json`` says what it is: units, atoms, model and its hash, and all options.

    Parameters
    ----------
    model, options
        See `bind`; nothing is compiled, whatever the options say.
    molecule
        Elements, charge and multiplicity; its positions are not used.
    path
        The file to write.

    Returns
    -------
    Path
        The same.

    Raises
    ------
    InputError
        If the file exists, or its folder does not.
    """
    path = Path(path)
    check_new_file(path)
    options = replace(options, compiled=False).resolved(model)
    check_memory(model, molecule.n_atoms, options)
    module = bind(model, molecule, options)
    metadata = {
        "format": "mdet-openmm bound force",
        "package_version": __version__,
        "torch_version": str(torch.__version__),
        "forward": "positions (n, 3) nm -> (energy kJ/mol, forces (n, 3) kJ/mol/nm); call setOutputsForces(True)",
        "model": model.name,
        "model_sha256": model.sha256,
        "has_energy": model.has_energy,
        "forces": options.forces,
        "molecule": molecule.name,
        "atomic_numbers": [int(z) for z in molecule.atomic_numbers],
        "charge": molecule.charge,
        "multiplicity": molecule.multiplicity,
        "precision": options.precision,
        "frames": options.orientations,
        "offset": options.offset,
        "seed": options.seed,
    }
    try:
        write_file(path, as_bytes(module, **{"metadata.json": json.dumps(metadata, indent=1)}))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error}") from None
    return path
