"""The loop of a run: step, check, report, checkpoint.

Everything is keyed on the number of steps since the very first one, which OpenMM keeps in its checkpoints, so a
checkpoint alone says where a run stands: in the equilibration or after it, and how many frames and rows it has.
"""

import hashlib
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mdet_openmm.errors import InputError
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.dcd import DcdFile
from mdet_openmm.simulation.interrupt import Interrupt
from mdet_openmm.simulation.monitor import Monitor, Problem
from mdet_openmm.simulation.run_folder import LogFile
from mdet_openmm.simulation.settings import NvtSettings
from mdet_openmm.simulation.thermostat import langevin_friction

CHECK_STEPS = 10
"""Steps between two looks at the state; they cost no force call."""
CHECKPOINT_SECONDS = 300.0
"""A checkpoint is also written when the last is this old; when they are written changes nothing in the run."""


@dataclass(frozen=True)
class Schedule:
    """When what happens, in steps since the start of the equilibration.

    Attributes
    ----------
    equilibrate
        Steps before the first that counts.
    total
        Last step.
    report, checkpoint
        Steps between reports (counted from the end of the equilibration) and between checkpoints.
    """

    equilibrate: int
    total: int
    report: int
    checkpoint: int

    def reports(self, step: int) -> bool:
        """Whether a frame and a log row are due at this step."""
        return step > self.equilibrate and (step - self.equilibrate) % self.report == 0

    def checkpoints(self, step: int) -> bool:
        """Whether a checkpoint is due at this step."""
        return step in (self.equilibrate, self.total) or step % self.checkpoint == 0

    def frames(self, step: int) -> int:
        """How many frames a run has at this step."""
        return max(0, step - self.equilibrate) // self.report

    def next_stop(self, step: int) -> int:
        """The next step at which something is due."""
        if step < self.equilibrate:
            due = self.equilibrate
        else:
            due = self.equilibrate + (self.frames(step) + 1) * self.report
        return min(step + CHECK_STEPS, due, (step // self.checkpoint + 1) * self.checkpoint, self.total)


def make_schedule(settings: NvtSettings) -> Schedule:
    """Turn the intervals of resolved settings into whole steps, at least one each."""
    equilibrate = round(1000.0 * settings.equilibrate / settings.timestep)
    return Schedule(
        equilibrate=equilibrate,
        total=equilibrate + (settings.steps or 0),
        report=max(1, round(settings.report_interval / settings.timestep)),
        checkpoint=max(1, round(1000.0 * settings.checkpoint_interval / settings.timestep)),
    )


@dataclass(frozen=True)
class Outcome:
    """How the loop ended: exit reason, its problem if any, last step (of all), and seconds per step."""

    exit_reason: str
    problem: Problem | None
    step: int
    seconds_per_step: float | None


@dataclass(frozen=True)
class _Phase:
    """Positions in nm and velocities in nm/ps, each (n, 3)."""

    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]


def _read(context: Any) -> _Phase:
    state = context.getState(getPositions=True, getVelocities=True)
    return _Phase(state.getPositions(asNumpy=True)._value, state.getVelocities(asNumpy=True)._value)


def last_force(masses: NDArray[np.float64], timestep: float, before: _Phase, after: _Phase) -> NDArray[np.float64]:
    """The force that drove the last step, from the states before and after it, without calling the network again.

    Both integrators do ``v' = v + Δt·F(x)/m``, half a drift with v', the thermostat (v' → v″), half a drift with v″.
    So ``v' = 2(x″ − x)/Δt − v″`` and ``F(x) = m(v' − v)/Δt``, exact but for rounding (1e-11 relative).

    Parameters
    ----------
    masses
        (n,) in dalton.
    timestep
        ps.
    before, after
        States one step apart.

    Returns
    -------
    NDArray
        (n, 3) in kJ/mol/nm, at the positions before the step.
    """
    kicked = 2.0 * (after.positions - before.positions) / timestep - after.velocities
    return masses[:, None] * (kicked - before.velocities) / timestep


def save_checkpoint(context: Any, folder: Any) -> None:
    """Write ``checkpoint.chk`` (bit-exact, same machine and versions) and ``state.xml`` (portable)."""
    import openmm

    state = context.getState(getPositions=True, getVelocities=True, getParameters=True)
    run_folder.replace(folder / run_folder.STATE, openmm.XmlSerializer.serialize(state))
    # OpenMM reads half a checkpoint without a word; a digest behind it (which OpenMM does not read) makes that visible.
    checkpoint = context.createCheckpoint()
    run_folder.replace(folder / run_folder.CHECKPOINT, checkpoint + hashlib.sha256(checkpoint).digest())


def load_checkpoint(context: Any, folder: Any) -> int:
    """Load ``checkpoint.chk``, and return its step.

    Raises
    ------
    InputError
        If it cannot be read, is damaged, or was written on another platform or by another version of OpenMM.
    """
    import openmm

    path = folder / run_folder.CHECKPOINT
    try:
        content = path.read_bytes()
        checkpoint, digest = content[:-32], content[-32:]
        if hashlib.sha256(checkpoint).digest() != digest:
            raise InputError(f"{path} is damaged (cut off or changed); remove {folder} and start the run anew")
        context.loadCheckpoint(checkpoint)
    except (OSError, openmm.OpenMMException) as error:
        text = " ".join(str(error).split())
        raise InputError(f"cannot use {path} ({text}); go on with the platform and OpenMM that wrote it") from None
    return int(context.getStepCount())


def run_dynamics(
    context: Any,
    settings: NvtSettings,
    schedule: Schedule,
    monitor: Monitor,
    topology: Any,
    interrupt: Interrupt,
    has_energy: bool = False,
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
    """
    integrator, folder = context.getIntegrator(), settings.folder
    thermometer, timestep = monitor.thermometer, 1e-3 * settings.timestep
    step = int(context.getStepCount())
    trajectory = DcdFile(
        folder / run_folder.TRAJECTORY, len(thermometer.masses), timestep, schedule.report, schedule.frames(step)
    )
    log = LogFile(folder / run_folder.LOG, tuple(thermometer.elements), step - schedule.equilibrate, has_energy)
    good, problem, clock = _read(context), None, _Clock()
    pause = 0.5 if sys.stderr.isatty() else 30.0  # in a log file each update is a line
    bar = tqdm(total=schedule.total, initial=step, unit="step", disable=settings.quiet, mininterval=pause, leave=False)
    saved = time.monotonic()
    try:
        while step < schedule.total and not interrupt.asked:
            equilibrating = step < schedule.equilibrate
            if settings.thermostat == "langevin":
                integrator.setFriction(langevin_friction(settings, equilibrating))
            stop = schedule.next_stop(step)
            start, before = step, good
            failure = ""
            if stop - 1 > step and schedule.reports(stop):
                failure = _advance(integrator, stop - 1 - step)
                before, step = _read(context), stop - 1
            failure = failure or _advance(integrator, stop - step)
            clock.tick(stop - start)
            step, now = stop, _read(context)
            problem = monitor.problem(now.positions, now.velocities)
            if failure and not problem:
                problem = Problem("nan", failure, 0)
            if problem:
                break
            good = now
            temperature, by_element = thermometer.read(now.velocities)
            if schedule.reports(step):
                force = np.linalg.norm(last_force(thermometer.masses, timestep, before, now), axis=1).max()
                energy = context.getState(energy=True).getPotentialEnergy()._value if has_energy else None
                counted = step - schedule.equilibrate
                trajectory.write(now.positions)
                log.write(
                    counted,
                    counted * timestep,
                    temperature,
                    by_element,
                    float(force),
                    monitor.largest_stretch(now.positions),
                    energy,
                )
            if schedule.checkpoints(step) or time.monotonic() - saved > CHECKPOINT_SECONDS:
                trajectory.sync()
                log.sync()
                save_checkpoint(context, folder)
                saved = time.monotonic()
            _show(bar, step, equilibrating, temperature, clock, settings.timestep)
        if problem:
            run_folder.replace_pdb(folder / run_folder.LAST_GOOD, topology, good.positions)
        elif step < schedule.total:
            trajectory.sync()
            log.sync()
            save_checkpoint(context, folder)
    finally:
        bar.close()
        trajectory.close()
        log.close()
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
    bar.set_postfix_str(f"{temperature:.0f} K, {pace:.3g} ns/day", refresh=False)
    bar.update(step - bar.n)
