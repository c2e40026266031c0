"""What an ensemble does at the stations of a run's loop: NVT with a thermostat, or NVE."""

from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.simulation import verlet
from mdet_openmm.simulation.monitor import Monitor
from mdet_openmm.simulation.rigid_motion import without_rigid_motion
from mdet_openmm.simulation.settings import NvtSettings, RunSettings
from mdet_openmm.simulation.state import Phase, last_force, read_phase, replicas_of
from mdet_openmm.simulation.thermostat import count_freedom, langevin_friction, make_thermometer, set_friction


class Motion(Protocol):
    """What the loop asks for."""

    looks_back: bool
    """Whether `force` needs the state one step before."""

    def enter(self, equilibrating: bool) -> None:
        """Before steps of one of the two phases."""

    def begin(self) -> None:
        """Once, when the equilibration has ended, before the checkpoint of that step."""

    def monitor(self, equilibrating: bool) -> Monitor:
        """What checks the state and reads the temperature in one of the two phases."""

    def force(self, before: Phase, now: Phase) -> NDArray[np.float64]:
        """(R n, 3) in kJ/mol/nm, without a force call."""

    def energies(self, now: Phase) -> list[tuple[float, float, float]] | None:
        """Kinetic energy, work and integrator check of each replica for the log, in kJ/mol; None for NVT."""

    def moved(self, atoms: NDArray[np.bool_]) -> None:
        """These of the (R n,) atoms have been put elsewhere."""

    def added(self) -> float | None:
        """Energy that scaling has added to hold the total, kJ/mol; None where nothing holds it."""


class Thermostatted:
    """NVT."""

    looks_back = True

    def __init__(self, context: Any, settings: NvtSettings, monitor: Monitor) -> None:
        self._integrator, self._settings, self._monitor = context.getIntegrator(), settings, monitor
        self._masses = np.tile(monitor.thermometer.masses, settings.replicas)
        if settings.thermostat == "nose-hoover" and settings.replicas > 1:
            count_freedom(self._integrator, monitor.thermometer.degrees_of_freedom)

    def enter(self, equilibrating: bool) -> None:
        """Set the friction of the phase."""
        if self._settings.thermostat == "langevin":
            set_friction(self._integrator, langevin_friction(self._settings, equilibrating))

    def begin(self) -> None:
        """Nothing: the thermostat goes on."""

    def monitor(self, equilibrating: bool) -> Monitor:
        """The same in both phases."""
        return self._monitor

    def force(self, before: Phase, now: Phase) -> NDArray[np.float64]:
        """At the positions one step before."""
        return last_force(self._masses, 1e-3 * self._settings.timestep, before, now)

    def energies(self, now: Phase) -> list[tuple[float, float, float]] | None:
        """None."""
        return None

    def moved(self, atoms: NDArray[np.bool_]) -> None:
        """Nothing: no force is kept."""

    def added(self) -> float | None:
        """None."""
        return None


class Isolated:
    """NVE: Langevin, then no net motion, then Verlet."""

    looks_back = False

    def __init__(self, context: Any, settings: RunSettings, monitor: Monitor) -> None:
        self._context, self._monitor, self._replicas = context, monitor, settings.replicas
        thermometer = monitor.thermometer
        free = make_thermometer(thermometer.atomic_numbers, thermometer.masses, False)
        self._monitor_of_langevin = replace(monitor, thermometer=free)

    def enter(self, equilibrating: bool) -> None:
        """Choose the integrator of the phase."""
        self._context.getIntegrator().setCurrentIntegrator(verlet.LANGEVIN if equilibrating else verlet.VERLET)

    def begin(self) -> None:
        """Take total momentum and angular momentum away, and start to count work (one call of each force)."""
        masses, now = self._monitor.thermometer.masses, read_phase(self._context)
        each = (now.of(atoms) for atoms in replicas_of(len(masses), self._replicas))
        still = [without_rigid_motion(masses, one.positions, one.velocities) for one in each]
        self._context.setVelocities(np.concatenate(still))
        verlet.begin(self._context, np.tile(masses, self._replicas))

    def monitor(self, equilibrating: bool) -> Monitor:
        """With a thermometer that counts all 3n degrees of freedom under Langevin, and 3n − 6 after it."""
        return self._monitor_of_langevin if equilibrating else self._monitor

    def force(self, before: Phase, now: Phase) -> NDArray[np.float64]:
        """At the positions now."""
        return verlet.held_force(self._context)

    def energies(self, now: Phase) -> list[tuple[float, float, float]] | None:
        """Kinetic energy at the positions now, work since the start, and integrator check."""
        masses = self._monitor.thermometer.masses
        if self._replicas > 1:
            tiled = np.tile(masses, self._replicas)
            columns = verlet.work_and_check_by_replica(self._context, tiled, now.velocities, self._replicas)
            return [(float(k), float(w), float(c)) for k, w, c in zip(*columns, strict=True)]
        kinetic = verlet.kinetic_energy(masses, now.velocities)
        return [(kinetic, *verlet.work_and_check(self._context, kinetic))]

    def moved(self, atoms: NDArray[np.bool_]) -> None:
        """They do not get the kick of the force where they were."""
        if self._context.getIntegrator().getCurrentIntegrator() == verlet.VERLET:
            verlet.forget_force(self._context, atoms)

    def added(self) -> float | None:
        """Since the start."""
        return verlet.added_energy(self._context)


def make_motion(context: Any, settings: RunSettings, monitor: Monitor) -> Motion:
    """That of the settings' ensemble."""
    if isinstance(settings, NvtSettings):
        return Thermostatted(context, settings, monitor)
    return Isolated(context, settings, monitor)
