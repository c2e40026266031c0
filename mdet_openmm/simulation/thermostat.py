"""Integrators, the velocities they start from, and how the temperature is read.

Langevin: OpenMM's ``LangevinMiddleIntegrator``. Its stored velocities are those half a step before the next kick,
directly after friction and noise; their distribution is Maxwell's without the time-step error that velocities at
full steps have (exactly so for a harmonic force), so they are the ones that the temperature is taken from.

Langevin with multiple time steps: the same, with a kick by M times the slow force at the start of each cycle of M
steps. OpenMM's MTSLangevinIntegrator leaves velocities at full steps, where a vibration seems too cold by (ωΔt)²/4: 2 %
for C-H at 0.5 fs.

Nosé-Hoover: OpenMM's ``NoseHooverIntegrator``, a chain of three on all atoms. The model's net force is zero, so the
total momentum stays zero: three degrees of freedom fewer, counted by OpenMM when a ``CMMotionRemover`` is present.
Angular momentum is only scaled, never drawn anew.

Replicas are so many molecules in one System. Langevin's noise is independent for each atom by nature; each replica has
a Nosé-Hoover chain of its own.

NVE: velocity Verlet, after an equilibration under Langevin.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from mdet_openmm.simulation.rigid_motion import internal_freedom
from mdet_openmm.simulation.settings import NvtSettings, RunSettings
from mdet_openmm.simulation.verlet import FAST, SLOW, make_verlet
from mdet_openmm.units import BOLTZMANN_KJ_PER_MOL_K

EQUILIBRATION_FRICTION = 10.0
"""1/ps, or the friction of the run where that is larger: half of the heat goes into the relaxed structure's springs
and has to come back from the bath within the equilibration."""


def langevin_friction(settings: NvtSettings, equilibrating: bool) -> float:
    """Friction in 1/ps during one of the two phases."""
    friction = settings.friction or 0.0
    return max(friction, EQUILIBRATION_FRICTION) if equilibrating else friction


def make_integrator(settings: RunSettings, system: Any) -> Any:
    """Make the integrator, and give the system what the thermostat needs.

    For NVE it is a CompoundIntegrator of Langevin and velocity Verlet, in the order of `mdet_openmm.simulation.verlet`.

    Parameters
    ----------
    settings
        Resolved settings.
    system
        ``openmm.System``; gets a ``CMMotionRemover`` for Nosé-Hoover of one molecule.
    """
    import openmm

    timestep = 1e-3 * settings.timestep

    def seeded(integrator: Any) -> Any:
        integrator.setRandomNumberSeed(derived_seeds(settings.seed or 0)[1])
        return integrator

    cycle = settings.multiple_time_steps

    def langevin(friction: float) -> Any:
        if cycle:
            return seeded(make_langevin(settings.temperature, friction, timestep, cycle))
        return seeded(openmm.LangevinMiddleIntegrator(settings.temperature, friction, timestep))

    if not isinstance(settings, NvtSettings):
        both = openmm.CompoundIntegrator()
        both.addIntegrator(langevin(EQUILIBRATION_FRICTION))
        # Verlet draws nothing, but on the Reference platform the last integrator to be set up seeds all of them.
        hold = getattr(settings, "hold_energy", None)
        both.addIntegrator(seeded(make_verlet(timestep, hold, cycle, by_atom=settings.replicas > 1)))
        return both
    if settings.thermostat == "langevin":
        return langevin(langevin_friction(settings, settings.equilibrate > 0))
    if settings.replicas == 1:
        system.addForce(openmm.CMMotionRemover(100))
        return openmm.NoseHooverIntegrator(settings.temperature, settings.friction, timestep)
    # OpenMM's CMMotionRemover would take the mean momentum of all replicas from each of them, and a NaN to all, and is
    # counted in the first chain alone: `count_freedom` does that for all. A replica's own momentum stays at rounding.
    integrator = openmm.NoseHooverIntegrator(timestep)
    n = system.getNumParticles() // settings.replicas
    for k in range(settings.replicas):
        integrator.addSubsystemThermostat(
            range(k * n, (k + 1) * n), [], settings.temperature, settings.friction, settings.temperature,
            settings.friction,
        )  # fmt: skip
    return integrator


def count_freedom(integrator: Any, freedom: int) -> None:
    """Tell each Nosé-Hoover chain of replicas, in a Context, how many degrees of freedom it has: 3n − 3."""
    for k in range(integrator.getNumThermostats()):
        integrator.getThermostat(k).setNumDegreesOfFreedom(freedom)


def make_langevin(temperature: float, friction: float, timestep: float, cycle: int) -> Any:
    """Langevin dynamics with multiple time steps; with a cycle of 1 that of ``LangevinMiddleIntegrator``.

    Parameters
    ----------
    temperature, friction, timestep
        K, 1/ps, ps; the friction can be changed with `set_friction`.
    cycle
        Steps of a cycle, whose first kick is by the force group `SLOW` and the others by `FAST`. Checkpoints hold no
        more than OpenMM's do, and so have to be taken between cycles.

    Returns
    -------
    openmm.CustomIntegrator
    """
    import openmm

    integrator = openmm.CustomIntegrator(timestep)
    variables = {"phase": 0.0, "cycle": cycle, "friction": friction, "kT": BOLTZMANN_KJ_PER_MOL_K * temperature}
    for name, value in variables.items():
        integrator.addGlobalVariable(name, value)
    integrator.addUpdateContextState()
    integrator.beginIfBlock("phase = 0")
    integrator.addComputePerDof("v", f"v + dt*f{SLOW}/m")
    integrator.endBlock()
    integrator.beginIfBlock("phase > 0")
    integrator.addComputePerDof("v", f"v + dt*f{FAST}/m")
    integrator.endBlock()
    integrator.addComputePerDof("x", "x + 0.5*dt*v")
    integrator.addComputePerDof("v", "exp(-friction*dt)*v + sqrt(kT*(1 - exp(-2*friction*dt))/m)*gaussian")
    integrator.addComputePerDof("x", "x + 0.5*dt*v")
    integrator.addComputeGlobal("phase", "phase + 1")
    integrator.beginIfBlock("phase = cycle")
    integrator.addComputeGlobal("phase", "0")
    integrator.endBlock()
    return integrator


def set_friction(integrator: Any, friction: float) -> None:
    """Set the friction, in 1/ps, of either kind of Langevin integrator."""
    if hasattr(integrator, "setFriction"):
        integrator.setFriction(friction)
    else:
        integrator.setGlobalVariableByName("friction", friction)


def derived_seeds(seed: int) -> tuple[int, int]:
    """Seeds for the starting velocities and for the thermostat, never 0, which OpenMM takes for "draw one"."""
    velocities, thermostat = np.random.SeedSequence(seed).generate_state(2)
    return int(velocities), int(thermostat % (2**31 - 1)) + 1


def replica_seeds(seed: int, replicas: int) -> tuple[int, ...]:
    """The seeds by which replicas start: the first has the run's own, and more replicas leave those of fewer alone."""
    others = np.random.SeedSequence([seed, 1]).generate_state(replicas - 1) if replicas > 1 else ()
    return (seed, *(int(other) % 2**31 for other in others))


def starting_velocities(
    masses: NDArray[np.float64], temperature: float, seed: int, zero_momentum: bool
) -> NDArray[np.float64]:
    """Draw velocities from Maxwell's distribution.

    Parameters
    ----------
    masses
        (n,) in dalton.
    temperature
        K.
    seed
        The run's seed.
    zero_momentum
        Subtract the velocity of the centre of mass.

    Returns
    -------
    NDArray
        (n, 3) in nm/ps.
    """
    rng = np.random.default_rng(derived_seeds(seed)[0])
    width = np.sqrt(BOLTZMANN_KJ_PER_MOL_K * temperature / masses)
    velocities = width[:, None] * rng.standard_normal((len(masses), 3))
    if zero_momentum:
        velocities -= masses @ velocities / masses.sum()
    return velocities


@dataclass(frozen=True)
class Thermometer:
    """Temperature from velocities, of everything and of each element.

    Attributes
    ----------
    atomic_numbers
        (n,) int64.
    masses
        (n,) in dalton.
    freedom
        (n,) degrees of freedom of each atom: 3, or 3(1 − m/M) where the total momentum is held at zero, which is
        the atom's share of the kinetic energy then, or what `internal_freedom` gives where angular momentum is too.
    """

    atomic_numbers: NDArray[np.int64]
    masses: NDArray[np.float64]
    freedom: NDArray[np.float64]

    @property
    def degrees_of_freedom(self) -> int:
        """3n, 3n − 3 where the total momentum is held at zero, or 3n − 6 where angular momentum is too."""
        return round(float(self.freedom.sum()))

    @cached_property
    def elements(self) -> dict[str, NDArray[np.bool_]]:
        """Symbol → (n,) mask of its atoms, by ascending atomic number."""
        return {chemical_symbols[z]: self.atomic_numbers == z for z in np.unique(self.atomic_numbers)}

    def read(self, velocities: NDArray[np.float64]) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
        """Temperature in K of all atoms, and of the atoms of each element, (...,) from (..., n, 3) in nm/ps."""
        twice_kinetic = self.masses * np.sum(velocities**2, axis=-1) / BOLTZMANN_KJ_PER_MOL_K
        by_element = {s: twice_kinetic[..., m].sum(axis=-1) / self.freedom[m].sum() for s, m in self.elements.items()}
        return twice_kinetic.sum(axis=-1) / self.freedom.sum(), by_element


def make_thermometer(
    atomic_numbers: NDArray[np.int64], masses: NDArray[np.float64], zero_momentum: bool
) -> Thermometer:
    """Make the thermometer that fits the thermostat; see :class:`Thermometer`."""
    share = masses / masses.sum() if zero_momentum else np.zeros_like(masses)
    return Thermometer(atomic_numbers, masses, 3.0 * (1.0 - share))


def make_internal_thermometer(
    atomic_numbers: NDArray[np.int64], masses: NDArray[np.float64], positions: NDArray[np.float64]
) -> Thermometer:
    """Make the thermometer of a molecule without momentum and angular momentum, about (n, 3) positions in nm."""
    return Thermometer(atomic_numbers, masses, internal_freedom(masses, positions))
