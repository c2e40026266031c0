"""From a molecule and a model to a trajectory: everything is checked, then relaxed, then run."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.digits import shown
from mdet_openmm.errors import InputError, RunStopped
from mdet_openmm.export.force_module import bind
from mdet_openmm.files import locked, write_json
from mdet_openmm.interrupt import Interrupt
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.cause import likely_cause
from mdet_openmm.simulation.checkpoint import check_counted, load_checkpoint, save_checkpoint
from mdet_openmm.simulation.dynamics import Outcome, run_dynamics
from mdet_openmm.simulation.equivariance import EquivarianceWatch
from mdet_openmm.simulation.judgement import problems
from mdet_openmm.simulation.monitor import Problem, started_from
from mdet_openmm.simulation.motion import make_motion
from mdet_openmm.simulation.relax import FMAX_EV_A, force_function, relax
from mdet_openmm.simulation.replica_summary import Measure, finish_replicas, potential_energies
from mdet_openmm.simulation.replicas import read_failures, write_failures
from mdet_openmm.simulation.restart import changed_from_default, check_same_run, continued, stored
from mdet_openmm.simulation.settings import NveSettings, RunSettings, resolved
from mdet_openmm.simulation.setup import Say, Setup, prepare
from mdet_openmm.simulation.summary import summarize
from mdet_openmm.simulation.teacher_energy import cut_back, forget_another
from mdet_openmm.simulation.thermostat import replica_seeds, starting_velocities
from mdet_openmm.system.force import original_errors
from mdet_openmm.units import NM_PER_ANGSTROM
from mdet_openmm.walltime import Deadline


def nothing_more(setup: Setup, outcome: Outcome, interrupt: Interrupt, say: Say) -> tuple[Outcome, dict[str, Any]]:
    """A `Measure` that measures nothing."""
    return outcome, {}


def run(settings: RunSettings, given: Collection[str] | None = None, measure: Measure = nothing_more) -> dict[str, Any]:
    """Run the dynamics of one molecule, or go on with it.

    Parameters
    ----------
    settings
        What to do.
    given
        For a restart: names of the settings that were set on purpose, which must not contradict the stored run.
        Default: those that differ from their defaults.
    measure
        Called when the dynamics has ended, however it ended.

    Returns
    -------
    dict
        The summary, as it is written to ``summary.json``.

    Raises
    ------
    InputError
        For anything that cannot work, before the output folder is touched.
    RunStopped
        If the run was stopped because its physics went wrong; the folder is complete up to there.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM, or with ``max_walltime`` nearly over, once the checkpoint is written.
    """
    deadline = Deadline(settings.max_walltime)
    with deadline.kept():
        return _run(settings, given, measure, Interrupt(deadline))


def _run(
    settings: RunSettings, given: Collection[str] | None, measure: Measure, interrupt: Interrupt
) -> dict[str, Any]:
    say: Say = (lambda text: None) if settings.quiet else (lambda text: print(text, flush=True))
    before = None
    if settings.restart:
        before = run_folder.read_stored(settings.folder, settings.ensemble)
        settings = continued(settings, before["settings"], changed_from_default(settings) if given is None else given)
    else:
        settings = resolved(settings)
        run_folder.check_new_folder(settings.folder)
    setup = prepare(settings, say)
    if before is not None:
        check_same_run(setup, before)
    with locked(setup.settings.folder):
        if before is None:  # another process may have come and gone since
            run_folder.check_new_folder(settings.folder)
        elif run_folder.read_stored(settings.folder, settings.ensemble) != before:
            raise InputError(f"another process has changed the run in {settings.folder} just now; try again")
        step = None
        if _has_checkpoint(setup, before):
            setup, step = _loaded(setup)
        if before is not None and isinstance(setup.settings, NveSettings):
            for folder in setup.settings.folders:
                forget_another(folder, before["settings"], setup.settings)
        write_json(
            setup.settings.folder / run_folder.SETTINGS,
            {"ensemble": settings.ensemble, "settings": stored(setup.settings), **setup.identity},
        )
        with original_errors(*setup.forces):
            setup = _start(setup, say) if step is None else _go_on(setup, step, say)
        with interrupt:
            with original_errors(*setup.forces):
                outcome = run_dynamics(
                    setup.context,
                    setup.settings,
                    setup.schedule,
                    setup.monitor,
                    setup.topology,
                    interrupt,
                    setup.model.has_energy,
                    _watch(setup, say),
                    potential_energies(setup.module, setup.choice.device) if setup.settings.replicas > 1 else None,
                )
            if setup.settings.replicas > 1:
                return finish_replicas(setup, outcome, interrupt, measure, say)
            outcome, measured = measure(setup, outcome, interrupt, say)
        return _finish(setup, outcome, measured, say)


def _has_checkpoint(setup: Setup, before: dict[str, Any] | None) -> bool:
    return before is not None and (setup.settings.folder / run_folder.CHECKPOINT).exists()


def _start(setup: Setup, say: Say) -> Setup:
    """Relax, write the start and its checkpoint; a run killed before that starts over when it is restarted."""
    settings, molecule, folder = setup.settings, setup.molecule, setup.settings.folder
    positions = _relaxed(setup, say) if settings.minimize else molecule.positions
    run_folder.write_start(folder / run_folder.START, molecule.atomic_numbers, positions)
    setup, positions = _with_start(setup)
    for each in settings.folders:
        each.mkdir(exist_ok=True)
        run_folder.replace_pdb(each / run_folder.TOPOLOGY, setup.topology, positions)
    zero_momentum = getattr(settings, "thermostat", None) == "nose-hoover"
    setup.context.setPositions(np.tile(positions, (settings.replicas, 1)))
    masses = setup.monitor.thermometer.masses
    velocities = [
        starting_velocities(masses, settings.temperature, seed, zero_momentum)
        for seed in replica_seeds(settings.seed or 0, settings.replicas)
    ]
    setup.context.setVelocities(np.concatenate(velocities))
    if setup.schedule.equilibrate == 0:
        make_motion(setup.context, settings, setup.monitor).begin()
    save_checkpoint(setup.context, folder)
    return setup


def _relaxed(setup: Setup, say: Say) -> NDArray[np.float64]:
    """The relaxed structure, (n, 3) in Å; RunStopped, with a summary, if there is none."""
    folder, molecule = setup.settings.folder, setup.molecule
    problem = None
    force = force_function(setup.steady, setup.choice.device)
    try:
        relaxed = relax(molecule, force)
        problem = setup.monitor.problem(NM_PER_ANGSTROM * relaxed.positions, np.zeros_like(relaxed.positions))
    except RunStopped as error:
        problem = Problem("nan", str(error), 0)
    if problem is not None:
        cause = likely_cause(setup.model, molecule, force)
        problem = replace(problem, message=f"in the relaxation {problem.message}: {cause}")
        run_folder.replace_pdb(folder / run_folder.LAST_GOOD, setup.topology, NM_PER_ANGSTROM * molecule.positions)
        summary = summarize(setup, Outcome(problem.exit_reason, problem, 0, None))
        write_json(folder / run_folder.SUMMARY, summary)
        raise RunStopped(problem.message)
    say(f"relaxed in {relaxed.steps} steps, largest force {relaxed.largest_force:.3f} eV/Å")
    if not relaxed.converged:
        say(f"warning: the relaxation did not reach {FMAX_EV_A} eV/Å; going on from where it stands")
    return relaxed.positions


def _loaded(setup: Setup) -> tuple[Setup, int]:
    """With the checkpoint loaded, and its step; nothing is touched, so that what cannot go on stays as it is."""
    setup, _ = _with_start(setup)
    folder = setup.settings.folder
    step = load_checkpoint(setup.context, folder)
    failures = read_failures(folder, step) if setup.settings.replicas > 1 else {}
    for k, each in enumerate(setup.settings.folders):
        until = failures[k].step - 1 if k in failures else step
        check_counted(each, setup.schedule, until, setup.molecule.n_atoms)
    return setup, step


def _go_on(setup: Setup, step: int, say: Say) -> Setup:
    """Cut the files back to the checkpoint's step."""
    folder = setup.settings.folder
    if step < setup.schedule.total:  # what was said of the shorter run would be wrong should this one be killed
        failed = read_failures(folder, step) if setup.settings.replicas > 1 else {}
        if (folder / run_folder.FAILURES).exists():
            write_failures(folder, failed)
        sound = [each for k, each in enumerate(setup.settings.folders) if k not in failed]
        for each in {folder, *sound}:
            for name in (run_folder.SUMMARY, run_folder.LAST_GOOD):
                (each / name).unlink(missing_ok=True)
            cut_back(each, step - setup.schedule.equilibrate)
    equilibrated = step >= setup.schedule.equilibrate
    say(
        f"going on after step {step - setup.schedule.equilibrate} of {setup.settings.steps}"
        if equilibrated
        else f"going on after step {step} of the equilibration"
    )
    return setup


def _with_start(setup: Setup) -> tuple[Setup, NDArray[np.float64]]:
    """The setup with what is known from ``start.xyz``, and its (n, 3) positions in nm."""
    positions = run_folder.read_start(setup.settings.folder / run_folder.START, setup.molecule.n_atoms)
    return replace(setup, monitor=started_from(setup.monitor, positions, setup.settings)), positions


def _watch(setup: Setup, say: Say) -> EquivarianceWatch | None:
    """What measures the equivariance error, and a line that says what it costs."""
    interval, rotations = setup.schedule.equivariance, setup.settings.equivariance_rotations
    if not interval:
        return None
    of = " (of the gradient)" if setup.settings.multiple_time_steps is not None else ""
    say(
        f"equivariance error every {interval} steps, {rotations} rotations: {shown(100.0 * rotations / interval)} % "
        f"more force calls{of}"
    )
    module = setup.steady
    if setup.settings.replicas > 1:
        options = replace(setup.settings.force_options, offset="none")
        module = bind(setup.model, setup.molecule, options, [0] * setup.settings.replicas)
    return EquivarianceWatch(setup.settings, force_function(module, setup.choice.device), setup.monitor.name_of)


def _finish(setup: Setup, outcome: Outcome, measured: dict[str, Any], say: Say) -> dict[str, Any]:
    """Write the summary, and end as the outcome asks for."""
    folder = setup.settings.folder
    summary = {**summarize(setup, outcome), **measured}
    write_json(folder / run_folder.SUMMARY, summary)
    if outcome.problem is not None:
        where = f"step {summary['steps']} ({shown(summary['time_ps'], 4)} ps)"
        if outcome.step <= setup.schedule.equilibrate:
            where = f"step {outcome.step} of the equilibration"
        raise RunStopped(f"{outcome.problem.message}, at {where}; last good frame in {folder / run_folder.LAST_GOOD}")
    if outcome.exit_reason == "interrupted":
        raise KeyboardInterrupt
    temperature, pace = summary["temperature_mean_K"], summary["ns_per_day"]
    say(
        f"done: {summary['time_ps']:g} ps"
        + (f", mean temperature {temperature:.1f} K" if temperature is not None else "")
        + (f", {shown(pace)} ns/day" if pace is not None else "")
        + f"; files in {folder}"
    )
    for text in problems(summary):
        say(f"problem: {text}")
    return summary
