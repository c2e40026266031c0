"""The loop of a run: step, check, report, checkpoint.

Everything is keyed on the number of steps since the very first one, which OpenMM keeps in its checkpoints, so a
checkpoint alone says where a run stands: in the equilibration or after it, and how many frames and rows it has.
"""

import contextlib
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from mdet_openmm.digits import shown
from mdet_openmm.interrupt import Interrupt
from mdet_openmm.molecules.dcd import DcdFile
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.checkpoint import save_checkpoint
from mdet_openmm.simulation.equivariance import EquivarianceWatch
from mdet_openmm.simulation.log_file import LogFile
from mdet_openmm.simulation.monitor import Monitor, Problem
from mdet_openmm.simulation.motion import make_motion
from mdet_openmm.simulation.schedule import Schedule
from mdet_openmm.simulation.settings import RunSettings
from mdet_openmm.simulation.state import potential_energy, read_phase

CHECKPOINT_SECONDS = 300.0
"""A checkpoint is also written when the last is this old; when they are written changes nothing in the run."""


@dataclass(frozen=True)
class Outcome:
    """How the loop ended: exit reason, its problem if any, last step (of all), and seconds per step."""

    exit_reason: str
    problem: Problem | None
    step: int
    seconds_per_step: float | None


def run_dynamics(
    context: Any,
    settings: RunSettings,
    schedule: Schedule,
    monitor: Monitor,
    topology: Any,
    interrupt: Interrupt,
    has_energy: bool = False,
    watch: EquivarianceWatch | None = None,
) -> Outcome:
    """Run from the context's step to the last one, or until something goes wrong or is asked to stop.

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
    """
    integrator, folder = context.getIntegrator(), settings.folder
    motion = make_motion(context, settings, monitor)
    thermometer, timestep = monitor.thermometer, 1e-3 * settings.timestep
    step = int(context.getStepCount())
    counted = step - schedule.equilibrate
    trajectory = DcdFile(
        folder / run_folder.TRAJECTORY, len(thermometer.masses), timestep, schedule.report, schedule.frames(step)
    )
    is_nve = settings.ensemble == "nve"
    log = LogFile(
        folder / run_folder.LOG, tuple(thermometer.elements), counted, has_energy, is_nve, motion.added() is not None
    )
    files: list[Any] = [trajectory, log]
    if watch is not None:
        watch.open(folder / run_folder.EQUIVARIANCE, counted)
        files.append(watch)
    good, problem, clock = read_phase(context), None, _Clock()
    pause = 0.5 if sys.stderr.isatty() else 30.0  # in a log file each update is a line
    bar = tqdm(total=schedule.total, initial=step, unit="step", disable=settings.quiet, mininterval=pause, leave=False)
    saved = time.monotonic()

    def save() -> None:
        for file in files:
            file.sync()
        save_checkpoint(context, folder)

    with contextlib.ExitStack() as opened:
        for each in (*files, bar):
            opened.callback(each.close)
        while step < schedule.total and not interrupt.asked:
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
            step, now = stop, read_phase(context)
            watching = motion.monitor(equilibrating)
            problem = watching.problem(now.positions, now.velocities)
            if failure and not problem:
                problem = Problem("nan", failure, 0)
            counted = step - schedule.equilibrate
            if watch is not None and not problem and schedule.measures_equivariance(step):
                problem = watch.measure(now.positions, counted, counted * timestep)
            if problem:
                break
            good = now
            temperature, by_element = watching.thermometer.read(now.velocities)
            if schedule.reports(step):
                force = np.linalg.norm(motion.force(before, now), axis=1).max()
                energy = potential_energy(context) if has_energy else None
                trajectory.write(now.positions)
                log.write(
                    counted,
                    counted * timestep,
                    temperature,
                    by_element,
                    float(force),
                    monitor.largest_stretch(now.positions),
                    energy,
                    motion.energies(now),
                    motion.added(),
                )
            if equilibrating and step == schedule.equilibrate:
                motion.begin()
            if schedule.checkpoints(step) or time.monotonic() - saved > CHECKPOINT_SECONDS:
                save()
                saved = time.monotonic()
            _show(bar, step, equilibrating, temperature, clock, settings.timestep)
        if problem:
            run_folder.replace_pdb(folder / run_folder.LAST_GOOD, topology, good.positions)
        elif step < schedule.total:
            save()
    reason = problem.exit_reason if problem else ("completed" if step == schedule.total else "interrupted")
    return Outcome(reason, problem, step, clock.seconds_per_step)


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


def _show(bar: Any, step: int, equilibrating: bool, temperature: float, clock: _Clock, timestep: float) -> None:
    pace = nanoseconds_per_day(clock.seconds_per_step, timestep) or 0.0
    bar.set_description("equilibrating" if equilibrating else "running", refresh=False)
    bar.set_postfix_str(f"{temperature:.0f} K, {shown(pace)} ns/day", refresh=False)
    bar.update(step - bar.n)
