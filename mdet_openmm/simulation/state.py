"""Positions and velocities at one step, and the force that follows from two of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.simulation.verlet import FAST, known_energy


@dataclass(frozen=True)
class Phase:
    """Positions in nm and velocities in nm/ps, each (n, 3)."""

    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]

    def of(self, atoms: slice) -> "Phase":
        """That of some of the atoms."""
        return Phase(self.positions[atoms], self.velocities[atoms])


def replicas_of(n_atoms: int, replicas: int) -> list[slice]:
    """Where the atoms of each replica stand, one replica behind the other."""
    return [slice(k * n_atoms, (k + 1) * n_atoms) for k in range(replicas)]


def read_phase(context: Any) -> Phase:
    """That of an ``openmm.Context``, without a force call."""
    state = context.getState(getPositions=True, getVelocities=True)
    return Phase(state.getPositions(asNumpy=True)._value, state.getVelocities(asNumpy=True)._value)


def potential_energy(context: Any) -> float:
    """That of an ``openmm.Context`` in kJ/mol; at one call of the fast forces, unless the integrator knows it."""
    known = known_energy(context)
    if known is not None:
        return known
    return float(context.getState(getEnergy=True, groups=1 << FAST).getPotentialEnergy()._value)


def last_force(masses: NDArray[np.float64], timestep: float, before: Phase, after: Phase) -> NDArray[np.float64]:
    """The force that drove the last step under a thermostat, from the states around it, without calling the network.

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
