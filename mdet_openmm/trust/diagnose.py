"""One report on one molecule: numbers as JSON and a page, with a verdict in words."""

import json
from collections.abc import Callable
from typing import Any

import torch
from tqdm import tqdm

from mdet_openmm.cores import threads_asked_for
from mdet_openmm.errors import InputError
from mdet_openmm.export.memory import check_memory
from mdet_openmm.export.model_folder import Model, load_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.files import write_file
from mdet_openmm.molecules.checks import check_elements
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.simulation.run_folder import check_new_folder
from mdet_openmm.simulation.structures import Samples, model_structures, trajectory_structures
from mdet_openmm.trust.diagnosis import measure_molecule, steps_of
from mdet_openmm.trust.settings import DiagnoseSettings, resolved

JSON_NAME, PAGE_NAME = "diagnosis.json", "diagnosis.html"
LARGEST_ON_ONE_THREAD = 60
"""Atoms; one structure of more is large enough for several threads to help."""


def diagnose(settings: DiagnoseSettings) -> dict[str, Any]:
    """Diagnose a model on a molecule and write ``diagnosis.json`` and ``diagnosis.html``.

    Parameters
    ----------
    settings
        What the command line takes.

    Returns
    -------
    dict
        The contents of the JSON file; ``verdicts`` is a list of ``{"state", "text"}``.

    Raises
    ------
    InputError
        For a model, molecule, trajectory or setting that cannot be used, or an output folder that is not empty.
    RunStopped
        If the model's forces are not finite.
    """
    check_new_folder(settings.folder)
    model = load_model(settings.model)
    molecule = read_molecule(settings.system, charge=settings.charge, multiplicity=settings.multiplicity)
    check_elements(molecule, model.elements, model.name)
    settings = resolved(settings, molecule.n_atoms)
    check_memory(model, molecule.n_atoms, ForceOptions())
    if threads_asked_for() is None and molecule.n_atoms <= LARGEST_ON_ONE_THREAD:
        torch.set_num_threads(1)
    frames = None
    if settings.trajectory is not None:
        frames = trajectory_structures(settings.trajectory, molecule, settings.structures)
    count = settings.structures + 1 if frames is None else len(frames.positions)
    total = steps_of(count) + (count if frames is None else 0)
    with tqdm(total=total, desc=molecule.name, unit="part", disable=settings.quiet) as bar:
        structures = frames or _own_structures(settings, model, molecule, bar.update)
        diagnosis = measure_molecule(settings, model, molecule, structures, bar.update)

    # Late: matplotlib and rdkit take a second to load, which bad input need not wait for.
    from mdet_openmm.analysis.page import render
    from mdet_openmm.trust.contents import make_page, numbers_of
    from mdet_openmm.trust.verdicts import judge

    verdicts = judge(diagnosis)
    numbers = numbers_of(diagnosis, verdicts)
    page = render(make_page(diagnosis, verdicts))
    try:
        settings.folder.mkdir(parents=True, exist_ok=True)
        write_file(settings.folder / JSON_NAME, json.dumps(numbers, indent=1, allow_nan=False) + "\n")
        write_file(settings.folder / PAGE_NAME, page)
    except OSError as error:
        raise InputError(f"cannot write {settings.folder}: {error.strerror}; give another --output") from None
    return numbers


def _own_structures(
    settings: DiagnoseSettings, model: Model, molecule: Molecule, tick: Callable[[], object]
) -> Samples:
    return model_structures(
        model,
        molecule,
        count=settings.structures,
        temperature=settings.temperature,
        timestep=settings.timestep,
        precision=settings.precision,
        seed=settings.seed,
        tick=tick,
    )
