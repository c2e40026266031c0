"""The replicas of a run: their files, and what happens to one that went wrong.

A run without ``--replicas`` has one, in the folder of the run itself. Of many, each has a folder of its own there, with
the trajectory, the log and the summary that a run alone has; one checkpoint is that of all.

A replica that went wrong is named in ``failures.json`` and writes nothing any more. Its atoms stay in the System, for
the masses and the numbers that the bath draws must stay what they are: they are put back to the start of the dynamics,
at rest, and again whenever they go wrong again. The others feel nothing of that, to the last bit.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.errors import InputError
from mdet_openmm.files import write_json
from mdet_openmm.molecules.dcd import DcdFile
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.equivariance import EquivarianceWatch
from mdet_openmm.simulation.log_file import LogFile
from mdet_openmm.simulation.monitor import Monitor, Problem
from mdet_openmm.simulation.motion import Motion
from mdet_openmm.simulation.schedule import Schedule
from mdet_openmm.simulation.settings import RunSettings
from mdet_openmm.simulation.state import Phase, replicas_of


@dataclass(frozen=True)
class Failure:
    """What went wrong with a replica, found at this step of all."""

    problem: Problem
    step: int


def read_failures(folder: Path, step: int) -> dict[int, Failure]:
    """Those of a run's replicas up to a step; a restart from there meets the later ones again.

    Raises
    ------
    InputError
        If ``failures.json`` cannot be read.
    """
    path = folder / run_folder.FAILURES
    try:
        stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        found = {int(k): Failure(Problem(**value["problem"]), int(value["step"])) for k, value in stored.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise InputError(f"cannot read {path}; start anew in another folder") from None
    return {k: failure for k, failure in found.items() if failure.step <= step}


def write_failures(folder: Path, failures: Mapping[int, Failure]) -> None:
    """All of them so far; a restart leaves out those that its checkpoint does not know of."""
    write_json(folder / run_folder.FAILURES, {str(k): asdict(failure) for k, failure in sorted(failures.items())})


class Replicas:
    """What the loop of a run does with each replica.

    Parameters
    ----------
    settings, schedule, monitor, topology, watch
        As for `mdet_openmm.simulation.dynamics.run_dynamics`.
    step
        Where the run stands; files are cut back to it.
    held
        Whether something holds the energy.
    has_energy
        Whether the log has potential energies.

    Attributes
    ----------
    failures
        By the index of the replica.
    alive
        Indices of the others.
    """

    def __init__(
        self,
        settings: RunSettings,
        schedule: Schedule,
        monitor: Monitor,
        topology: Any,
        watch: EquivarianceWatch | None,
        step: int,
        held: bool,
        has_energy: bool,
    ) -> None:
        self._settings, self._monitor, self._topology, self._watch = settings, monitor, topology, watch
        n_atoms = len(monitor.thermometer.masses)
        self.atoms = replicas_of(n_atoms, settings.replicas)
        self.failures = read_failures(settings.folder, step) if settings.replicas > 1 else {}
        counted, elements = step - schedule.equilibrate, tuple(monitor.thermometer.elements)
        timestep, nve = 1e-3 * settings.timestep, settings.ensemble == "nve"
        folders = {k: settings.folders[k] for k in self.alive}
        self._trajectories = {
            k: DcdFile(folder / run_folder.TRAJECTORY, n_atoms, timestep, schedule.report, schedule.frames(step))
            for k, folder in folders.items()
        }
        self._logs = {
            k: LogFile(folder / run_folder.LOG, elements, counted, has_energy, nve, held)
            for k, folder in folders.items()
        }
        if watch is not None:
            watch.open({k: folder / run_folder.EQUIVARIANCE for k, folder in folders.items()}, counted)

    @property
    def alive(self) -> list[int]:
        """Those that did not go wrong, ascending."""
        return [k for k in range(len(self.atoms)) if k not in self.failures]

    def problems(self, now: Phase, monitor: Monitor) -> dict[int, Problem]:
        """What is wrong with each replica, dead ones included."""
        each = ((k, now.of(self.atoms[k])) for k in monitor.suspects(*self._molecules(now)))
        found = {k: monitor.problem(one.positions, one.velocities) for k, one in each}
        return {k: problem for k, problem in found.items() if problem is not None}

    def measure(self, positions: NDArray[np.float64], step: int, time: float) -> dict[int, Problem]:
        """Have the equivariance error measured; the replicas that it ends."""
        return self._watch.measure(positions, step, time) if self._watch is not None else {}

    def temperature(self, now: Phase, monitor: Monitor) -> float:
        """Mean over the living, K."""
        velocities = self._molecules(now)[1]
        return float(monitor.thermometer.read(velocities[self.alive])[0].mean())

    def report(
        self,
        step: int,
        time: float,
        now: Phase,
        monitor: Monitor,
        force: NDArray[np.float64],
        potential: Sequence[float] | None,
        energies: Sequence[tuple[float, float, float]] | None,
        added: float | None,
    ) -> None:
        """Write a frame and a row of each living replica; (R n, 3) forces, and energies of each where there are any."""
        alive = self.alive
        positions, velocities = (each[alive] for each in self._molecules(now))
        temperature, by_element = monitor.thermometer.read(velocities)
        largest_force = np.linalg.norm(force.reshape(len(self.atoms), -1, 3)[alive], axis=2).max(axis=1)
        stretch = self._monitor.largest_stretch(positions)
        for i, k in enumerate(alive):
            self._trajectories[k].write(positions[i])
            self._logs[k].write(
                step,
                time,
                temperature[i],
                {element: each[i] for element, each in by_element.items()},
                largest_force[i],
                stretch[i],
                None if potential is None else potential[k],
                None if energies is None else energies[k],
                added,
            )

    def bury(self, problems: Mapping[int, Problem], step: int, good: Phase) -> None:
        """Close the books of replicas that went wrong just now, after their last good state."""
        for k, problem in problems.items():
            self.failures[k] = Failure(problem, step)
            last = good.positions[self.atoms[k]]
            run_folder.replace_pdb(self._settings.folders[k] / run_folder.LAST_GOOD, self._topology, last)
            for files in (self._trajectories, self._logs):
                file: Any = files.pop(k)
                file.sync()
                file.close()
            if self._watch is not None:
                self._watch.drop(k)
        if len(self.atoms) > 1:
            write_failures(self._settings.folder, self.failures)

    def put_back(self, which: Sequence[int], context: Any, now: Phase, motion: Motion) -> Phase:
        """The state with these replicas at rest at the start of the dynamics; the context is in it."""
        n_atoms = len(self._monitor.thermometer.masses)
        start = run_folder.read_start(self._settings.folder / run_folder.START, n_atoms)
        positions, velocities = now.positions.copy(), now.velocities.copy()
        moved = np.zeros(len(positions), dtype=bool)
        for k in which:
            positions[self.atoms[k]], velocities[self.atoms[k]], moved[self.atoms[k]] = start, 0.0, True
        context.setPositions(positions)
        context.setVelocities(velocities)
        motion.moved(moved)
        return Phase(positions, velocities)

    def sync(self) -> None:
        """Bring all files onto the disk."""
        for file in self._files():
            file.sync()

    def close(self) -> None:
        """Close all files."""
        for file in self._files():
            file.close()

    def _molecules(self, now: Phase) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positions and velocities, (R, n, 3) each."""
        shape = (len(self.atoms), -1, 3)
        return now.positions.reshape(shape), now.velocities.reshape(shape)

    def _files(self) -> list[Any]:
        return [*self._trajectories.values(), *self._logs.values(), *([self._watch] if self._watch else [])]
