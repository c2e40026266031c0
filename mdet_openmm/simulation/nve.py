"""Dynamics at constant energy, if the forces allow it: what drifts, by how much, and by whose energy."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from mdet_openmm.data.teacher import NAMES
from mdet_openmm.digits import shown
from mdet_openmm.interrupt import Interrupt
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.conservation import EnergySource, conservation, integrator_check, sentences
from mdet_openmm.simulation.dynamics import Outcome
from mdet_openmm.simulation.log_file import ADDED, POTENTIAL, read_table
from mdet_openmm.simulation.protocol import SOFT_LIMIT
from mdet_openmm.simulation.run import run
from mdet_openmm.simulation.settings import NveSettings
from mdet_openmm.simulation.setup import Say, Setup
from mdet_openmm.simulation.teacher_energy import evaluate, largest_position_error, total_energy


def run_nve(settings: NveSettings, given: Collection[str] | None = None) -> dict[str, Any]:
    """Run NVE dynamics of one molecule, or go on with it.

    Parameters, result and errors are those of `mdet_openmm.simulation.run.run`; the summary has the entries of
    `mdet_openmm.simulation.conservation.conservation` beside the others.
    """
    return run(settings, given, _measure)


def _measure(setup: Setup, outcome: Outcome, interrupt: Interrupt, say: Say) -> tuple[Outcome, dict[str, Any]]:
    """Judge the energy up to the last row of the log, evaluating the teacher first where that was asked for."""
    folder, n_atoms = setup.settings.folder, setup.molecule.n_atoms
    log = read_table(folder / run_folder.LOG)
    source, error = None, None
    if setup.teacher is not None:
        # A run that was interrupted is to end now; what it has is evaluated when it has gone on to its end.
        if interrupt.asked or not evaluate(folder, setup.teacher, n_atoms, log, interrupt, setup.settings.quiet):
            outcome = outcome if outcome.problem else replace(outcome, exit_reason="interrupted")
        else:
            assert isinstance(setup.settings, NveSettings) and setup.settings.teacher is not None
            source, error = EnergySource(NAMES[setup.settings.teacher]), largest_position_error(folder, n_atoms)
    elif POTENTIAL in log:
        source = EnergySource.HELD if ADDED in log else EnergySource.HEAD
    measured = {
        **integrator_check(log),
        **conservation(log, total_energy(folder, log, source), n_atoms),
        "energy_source": source,
        "reference_position_error_meV_per_atom": error,
    }
    for line in sentences(measured):
        say(line)
    protocol, ratio = getattr(setup.settings, "protocol", None), measured["drift_ratio"]
    if protocol is not None and isinstance(ratio, float):
        verdict = "below" if ratio < SOFT_LIMIT else "above"
        say(f"{protocol}: drift ratio {shown(ratio)}, {verdict} its soft limit of {SOFT_LIMIT:g}")
    return outcome, measured
