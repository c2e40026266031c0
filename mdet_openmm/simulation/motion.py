"""What an ensemble does at the stations of a run's loop: NVT with a thermostat, or NVE."""

from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.simulation import verlet
from mdet_openmm.simulation.monitor import Monitor
from mdet_openmm.simulation.rigid_motion import without_rigid_motion
from mdet_openmm.simulation.settings import NvtSettings, RunSettings
from mdet_openmm.simulation.state import Phase, last_force
from mdet_openmm.simulation.thermostat import langevin_friction, make_thermometer, set_friction


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
        """(n, 3) in kJ/mol/nm, without a force call."""

    def energies(self, now: Phase) -> tuple[float, float, float] | None:
        """Kinetic energy, work and integrator check of a row of the log, in kJ/mol; None for NVT."""

    def added(self) -> float | None:
        """Energy that scaling has added to hold the total, kJ/mol; None where nothing holds it."""


class Thermostatted:
    """NVT."""

    looks_back = True

    def __init__(self, context: Any, settings: NvtSettings, monitor: Monitor) -> None:
        self._integrator, self._settings, self._monitor = context.getIntegrator(), settings, monitor

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
        return last_force(self._monitor.thermometer.masses, 1e-3 * self._settings.timestep, before, now)

    def energies(self, now: Phase) -> tuple[float, float, float] | None:
        """None."""
        return None

    def added(self) -> float | None:
        """None."""
        return None


class Isolated:
    """NVE: Langevin, then no net motion, then Verlet."""

    looks_back = False

    def __init__(self, context: Any, monitor: Monitor) -> None:
        self._context, self._monitor = context, monitor
        thermometer = monitor.thermometer
        free = make_thermometer(thermometer.atomic_numbers, thermometer.masses, False)
        self._monitor_of_langevin = replace(monitor, thermometer=free)

    def enter(self, equilibrating: bool) -> None:
        """Choose the integrator of the phase."""
        self._context.getIntegrator().setCurrentIntegrator(verlet.LANGEVIN if equilibrating else verlet.VERLET)

    def begin(self) -> None:
        """Take total momentum and angular momentum away, and start to count work (one call of each force)."""
        state = self._context.getState(getPositions=True, getVelocities=True)
        positions, velocities = state.getPositions(asNumpy=True)._value, state.getVelocities(asNumpy=True)._value
        masses = self._monitor.thermometer.masses
        self._context.setVelocities(without_rigid_motion(masses, positions, velocities))
        verlet.begin(self._context, masses)

    def monitor(self, equilibrating: bool) -> Monitor:
        """With a thermometer that counts all 3n degrees of freedom under Langevin, and 3n − 6 after it."""
        return self._monitor_of_langevin if equilibrating else self._monitor

    def force(self, before: Phase, now: Phase) -> NDArray[np.float64]:
        """At the positions now."""
        return verlet.held_force(self._context)

    def energies(self, now: Phase) -> tuple[float, float, float] | None:
        """Kinetic energy at the positions now, work since the start, and integrator check."""
        kinetic = verlet.kinetic_energy(self._monitor.thermometer.masses, now.velocities)
        return kinetic, *verlet.work_and_check(self._context, kinetic)

    def added(self) -> float | None:
        """Since the start."""
        return verlet.added_energy(self._context)


def make_motion(context: Any, settings: RunSettings, monitor: Monitor) -> Motion:
    """That of the settings' ensemble."""
    if isinstance(settings, NvtSettings):
        return Thermostatted(context, settings, monitor)
    return Isolated(context, monitor)
