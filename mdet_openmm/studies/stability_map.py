"""How stable dynamics at constant energy is, over many molecules."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from mdet_openmm.dask_cluster import check_scheduler
from mdet_openmm.errors import InputError
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.files import write_file
from mdet_openmm.studies import folder
from mdet_openmm.studies.ablation import digest, speaker
from mdet_openmm.studies.conditions import read_conditions
from mdet_openmm.studies.molecules import known_to, listed, series
from mdet_openmm.studies.nve_figures import drift_against_size
from mdet_openmm.studies.nve_runs import NveResult, check_runs, run_conditions
from mdet_openmm.studies.nve_table import COLUMNS, STRUCTURE_COLUMNS, notes_of, rows_of, runs_of
from mdet_openmm.studies.settings import MapSettings
from mdet_openmm.studies.table import write_tables

DRIFTS = {
    "energy_drift.png": ("energy_drift_meV_per_atom_ps", "energy drift / meV per atom and ps"),
    "temperature_drift.png": ("temperature_drift_K_per_ps", "temperature drift / K per ps"),
}


def map_stability(settings: MapSettings, given: Collection[str] | None = None) -> list[NveResult]:
    """Run many molecules at constant energy, and draw their drift against their size.

    Molecules with elements or charges that the model was not trained on are skipped with a note.

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
    words = settings.structures
    molecules = series() if words is None else listed(words, settings.charge, settings.multiplicity)
    members, skipped = known_to(model, molecules)
    if not members:
        raise InputError(f"nothing to run: {'; '.join(skipped)}")
    check_runs(members, conditions, model, settings)
    check_scheduler(settings.scheduler)
    identity = {f"structure {s.folder}": digest(s.molecule) for s in members}
    folder.store(settings, {"model": model.sha256, **identity})
    for note in skipped:
        say(f"note: {note}")
    results = run_conditions(members, conditions, settings, say)
    output, rows = Path(settings.folder), rows_of(results)
    text = write_tables(
        output, {**STRUCTURE_COLUMNS, **COLUMNS}, rows, runs_of(results), [*skipped, *notes_of(results)]
    )
    for name, (key, label) in DRIFTS.items():
        write_file(output / name, drift_against_size(rows, key, label))
    say(f"\n{text}\ntable.md, table.csv, table.json, {' and '.join(DRIFTS)} are in {output}")
    return results
