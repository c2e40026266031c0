"""The loop of a run: step, check, report, checkpoint.

Everything is keyed on the number of steps since the very first one, which OpenMM keeps in its checkpoints, so a
checkpoint alone says where a run stands: in the equilibration or after it, and how many frames and rows it has.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mdet_openmm.digits import shown
from mdet_openmm.interrupt import Interrupt
from mdet_openmm.simulation.checkpoint import save_checkpoint
from mdet_openmm.simulation.equivariance import EquivarianceWatch
from mdet_openmm.simulation.monitor import Monitor, Problem
from mdet_openmm.simulation.motion import make_motion
from mdet_openmm.simulation.replicas import Failure, Replicas
from mdet_openmm.simulation.schedule import Schedule
from mdet_openmm.simulation.settings import RunSettings
from mdet_openmm.simulation.state import potential_energy, read_phase

CHECKPOINT_SECONDS = 300.0
"""A checkpoint is also written when the last is this old; when they are written changes nothing in the run."""


@dataclass(frozen=True)
class Outcome:
    """How the loop ended.

    Attributes
    ----------
    exit_reason
        "completed", "interrupted", or that of the problem.
    problem
        What ended the run; of replicas, that of the last of them, when all had failed.
    step
        The last, of all.
    seconds_per_step
        Its pace; None if there was no step.
    failures
        Of replicas, by their index.
    """

    exit_reason: str
    problem: Problem | None
    step: int
    seconds_per_step: float | None
    failures: Mapping[int, Failure] = field(default_factory=dict)


def run_dynamics(
    context: Any,
    settings: RunSettings,
    schedule: Schedule,
    monitor: Monitor,
    topology: Any,
    interrupt: Interrupt,
    has_energy: bool = False,
    watch: EquivarianceWatch | None = None,
    energies: Callable[[NDArray[np.float64]], Sequence[float]] | None = None,
) -> Outcome:
    """Run from the context's step to the last one, until nothing is left that is sound, or until asked to stop.

    Parameters
    ----------
    context
        ``openmm.Context`` with positions, velocities and step number set.
    settings
        Resolved settings.
    schedule
        When what happens.
    monitor
        What to look for.
    topology
        ``openmm.app.Topology`` for ``last_good.pdb``.
    interrupt
        Asked between steps.
    has_energy
        Log the potential energy too, which costs one more call of the network at each report.
    watch
        What measures the equivariance error where the schedule says so; None: nothing does.
    energies
        Potential energies of the replicas in kJ/mol from (R n, 3) positions in nm; None: the context knows that of one.
    """
    integrator = context.getIntegrator()
    motion = make_motion(context, settings, monitor)
    timestep = 1e-3 * settings.timestep
    step = int(context.getStepCount())
    replicas = Replicas(settings, schedule, monitor, topology, watch, step, motion.added() is not None, has_energy)
    good, clock = read_phase(context), _Clock()
    pause = 0.5 if sys.stderr.isatty() else 30.0  # in a log file each update is a line
    bar = tqdm(total=schedule.total, initial=step, unit="step", disable=settings.quiet, mininterval=pause, leave=False)
    saved = time.monotonic()

    def save() -> None:
        replicas.sync()
        save_checkpoint(context, settings.folder)

    with contextlib.closing(replicas), contextlib.closing(bar):
        while step < schedule.total and replicas.alive and not interrupt.asked:
            equilibrating = step < schedule.equilibrate
            motion.enter(equilibrating)
            stop = schedule.next_stop(step)
            start, before = step, good
            failure = ""
            if motion.looks_back and stop - 1 > step and schedule.reports(stop):
                failure = _advance(integrator, stop - 1 - step)
                before, step = read_phase(context), stop - 1
            failure = failure or _advance(integrator, stop - step)
            clock.tick(stop - start)
            if failure and settings.replicas > 1:  # the others go on from where the call that failed left them
                stop = int(context.getStepCount())
            step, now = stop, read_phase(context)
            watching = motion.monitor(equilibrating)
            found = replicas.problems(now, watching)
            new = {k: problem for k, problem in found.items() if k in replicas.alive}
            if failure and not new:
                new = dict.fromkeys(replicas.alive, Problem("nan", failure, 0))
            counted = step - schedule.equilibrate
            if schedule.measures_equivariance(step) and len(new) < len(replicas.alive):
                new = {**replicas.measure(now.positions, counted, counted * timestep), **new}
            if new:
                replicas.bury(new, step, good)
                if not replicas.alive:
                    break
            if new or found:
                now = replicas.put_back([*new, *found], context, now, motion)
            good = now
            if schedule.reports(step):
                potential: Sequence[float] | None = None
                if has_energy:
                    potential = energies(now.positions) if energies is not None else [potential_energy(context)]
                force = motion.force(before, now)
                row = (counted, counted * timestep, now, watching, force, potential)
                replicas.report(*row, motion.energies(now), motion.added())
            if equilibrating and step == schedule.equilibrate:
                motion.begin()
            if schedule.checkpoints(step) or time.monotonic() - saved > CHECKPOINT_SECONDS:
                save()
                saved = time.monotonic()
            if not settings.quiet:
                _show(bar, step, equilibrating, replicas.temperature(now, watching), clock, settings)
        if replicas.alive and step < schedule.total:
            save()
    reason, problem = "completed" if step == schedule.total else "interrupted", None
    if not replicas.alive:
        problem = max(replicas.failures.values(), key=lambda failure: failure.step).problem
        reason = problem.exit_reason
    return Outcome(reason, problem, step, clock.seconds_per_step, replicas.failures)


def _advance(integrator: Any, steps: int) -> str:
    """Step. Returns OpenMM's words where it noticed a NaN itself, as its CUDA platform does."""
    import openmm

    try:
        integrator.step(steps)
    except openmm.OpenMMException as error:
        if "nan" not in str(error).lower():
            raise
        return " ".join(str(error).split())
    return ""


class _Clock:
    """Measures the pace; the first stop, in which PyTorch warms up, does not count once there are others."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._first: tuple[float, int] | None = None
        self._steps = 0
        self._now = self._start

    def tick(self, steps: int) -> None:
        self._now, self._steps = time.perf_counter(), self._steps + steps
        if self._first is None:
            self._first = (self._now, steps)

    @property
    def seconds_per_step(self) -> float | None:
        if self._first is None:
            return None
        if self._steps > self._first[1]:
            return (self._now - self._first[0]) / (self._steps - self._first[1])
        return (self._now - self._start) / self._steps


def nanoseconds_per_day(seconds_per_step: float | None, timestep_fs: float) -> float | None:
    """Simulated ns in a day at this pace."""
    return 86400.0 / seconds_per_step * timestep_fs * 1e-6 if seconds_per_step else None


def _show(bar: Any, step: int, equilibrating: bool, temperature: float, clock: _Clock, settings: RunSettings) -> None:
    pace = settings.replicas * (nanoseconds_per_day(clock.seconds_per_step, settings.timestep) or 0.0)
    bar.set_description("equilibrating" if equilibrating else "running", refresh=False)
    bar.set_postfix_str(f"{temperature:.0f} K, {shown(pace)} ns/day", refresh=False)
    bar.update(step - bar.n)
