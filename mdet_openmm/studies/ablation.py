"""The paper's ablation of dynamics at constant energy: precision and random rotations, and ours beside them."""

import hashlib
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from mdet_openmm.dask_cluster import check_scheduler
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.files import write_file
from mdet_openmm.molecules.checks import check_elements
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.conservation import MEV_PER_KJ_MOL, energy_source
from mdet_openmm.simulation.ended_run import read_summary
from mdet_openmm.simulation.log_file import TEMPERATURE, TIME, read_table
from mdet_openmm.simulation.teacher_energy import total_energy
from mdet_openmm.studies import folder
from mdet_openmm.studies.conditions import read_conditions
from mdet_openmm.studies.molecules import StudyMolecule
from mdet_openmm.studies.nve_figures import Curve, curves_against_time
from mdet_openmm.studies.nve_runs import NveResult, check_runs, run_conditions
from mdet_openmm.studies.nve_table import COLUMNS, notes_of, rows_of, runs_of
from mdet_openmm.studies.settings import AblationSettings
from mdet_openmm.studies.table import write_tables


def ablate(settings: AblationSettings, given: Collection[str] | None = None) -> list[NveResult]:
    """Run one molecule at constant energy under several conditions, and compare.

    Writes a folder with ``table.md``, ``table.csv``, ``table.json``, ``curves.png`` and a run folder for each run.

    Parameters
    ----------
    settings
        What to do.
    given
        For a restart: names of the settings that were set on purpose; by default those that differ from their
        defaults.

    Raises
    ------
    InputError
        For anything that cannot work, before anything is written.
    KeyboardInterrupt
        After Ctrl-C; go on with ``restart``.
    """
    settings = folder.go_on(replace(settings, output=settings.folder), given)
    say = speaker(settings.quiet)
    conditions = read_conditions(settings.conditions)
    model = load_model(settings.model)
    molecule = read_molecule(settings.system, settings.charge, settings.multiplicity)
    check_elements(molecule, model.elements, model.name)
    members = [StudyMolecule("given", molecule)]
    check_runs(members, conditions, model, settings)
    check_scheduler(settings.scheduler)
    folder.store(settings, {"model": model.sha256, "system": digest(molecule)})
    results = run_conditions(members, conditions, settings, say)
    output = Path(settings.folder)
    text = write_tables(output, COLUMNS, rows_of(results), runs_of(results), notes_of(results))
    curves: dict[str, list[Curve]] = {}
    for result in results:
        if result.summary is not None and result.summary["steps"]:
            curves.setdefault(result.condition.name, []).append(read_curve(result.folder, molecule.n_atoms))
    if curves:
        write_file(output / "curves.png", curves_against_time(curves))
    say(f"\n{text}\ntable.md, table.csv, table.json and curves.png are in {output}")
    return results


def read_curve(run: Path, n_atoms: int) -> Curve:
    """Temperature and total energy of a run at constant energy, the energy by what its summary judges."""
    log = read_table(run / run_folder.LOG)
    energy = total_energy(run, log, energy_source(read_summary(run)))
    if energy is not None:
        energy = energy[0], energy[1] * MEV_PER_KJ_MOL / n_atoms
    return Curve((log[TIME], log[TEMPERATURE]), energy)


def digest(*molecules: Molecule) -> str:
    """A hash of elements and positions."""
    content = hashlib.sha256()
    for molecule in molecules:
        content.update(np.ascontiguousarray(molecule.atomic_numbers).tobytes())
        content.update(np.ascontiguousarray(molecule.positions).tobytes())
    return content.hexdigest()


def speaker(quiet: bool) -> Callable[[str], None]:
    """Prints lines, or nothing."""
    return (lambda text: None) if quiet else (lambda text: print(text, flush=True))
