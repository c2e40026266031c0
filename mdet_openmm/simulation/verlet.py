"""Velocity Verlet that keeps the work of its forces, at one force call per step.

Per step v½ = v + Δt·F/2m, x' = x + Δt·v½, v' = v½ + Δt·F'/2m. The work of the step is W = ½(F + F')·Δt·v½, summed over
atoms, and then, whatever the forces are,

    K' − K = W + (Δt²/8)·(Σ F'²/m − Σ F²/m),

by writing out the squares: K' − K = v½·(F + F')Δt/2 + Δt²/8·(F'² − F²)/m. So K − W − (Δt²/8)·Σ F²/m keeps its value up
to rounding. **That says that the integrator is right. It says nothing about the forces**: it holds for any, also for
those that heat.

With ``hold``, the velocities are scaled at the end of each step so that the kinetic energy plus the model's potential
energy goes back to its value at the start, with that time constant: isoenergetic dynamics with feedback (Evans, Hoover,
Failor, Moran and Ladd, Phys. Rev. A 28, 1016 (1983), hold it exactly). What the scaling has added to the kinetic energy
is counted, and is taken from the check above.

The force of the second half kick is kept for the first half kick of the next step and goes into checkpoints. Taking
it anew would cost a call, and with random rotations be another force.

With a ``cycle`` of M steps half kicks of M Δt by a slow force S stand before the first and after the last step of each
cycle, beside those of Δt by the fast one F (Tuckerman, Berne and Martyna, J. Chem. Phys. 97, 1990 (1992)). Both are at
the same positions, and one half kick of Δt by F + M S is the same: the force above is that of the group `FAST` within a
cycle, and F + M S, that of the group `SLOW`, at its ends, where the fast one is not called. It is the trajectory of
OpenMM's MTSIntegrator, which takes the fast force M + 1 times in each cycle and keeps no work.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

LANGEVIN, VERLET = 0, 1
"""The two integrators of an NVE run in its CompoundIntegrator."""
WORK, INVARIANT, FORCE_SQUARE = "work", "invariant", "force_square"
TARGET, ADDED = "target", "added"
"""Of an integrator that holds the energy, kJ/mol."""
FORCE = "force"
PHASE, CYCLE, POTENTIAL, BEFORE = "phase", "cycle", "potential", "before"
"""Of multiple time steps: the steps done in this cycle, those of a whole one, the potential energy that came with the
last force of the group `SLOW`, and the force one step before that."""
FAST, SLOW = 0, 1
"""Force groups of multiple time steps."""


def make_verlet(timestep: float, hold: float | None = None, cycle: int | None = None, by_atom: bool = False) -> Any:
    """Make the integrator; `begin` has to be called before its first step.

    Its global variables are ``work`` (kJ/mol), ``force_square`` (Σ F²/m, kJ²/mol²/nm²/dalton) and ``invariant`` (what
    K − W − Δt²/8·Σ F²/m was at the start); its per-atom variable ``force`` is the last force (kJ/mol/nm).

    Parameters
    ----------
    timestep
        ps.
    hold
        Time constant in ps with which the total energy is held; None: it is left alone. Needs a potential energy. Its
        global variables are then also ``target`` (of the total energy) and ``added`` (by scaling), kJ/mol.
    cycle
        Steps of a cycle, whose last is with the force of the group `SLOW` and the others with that of `FAST`; None: the
        force of all groups at every step.
    by_atom
        ``work`` and ``invariant`` are kept for each degree of freedom instead, so that a System of replicas has those
        of each; for that nothing can be held, and there is no cycle.

    Returns
    -------
    openmm.CustomIntegrator
    """
    import openmm

    integrator = openmm.CustomIntegrator(timestep)
    if by_atom:
        for name in (FORCE, WORK, INVARIANT):
            integrator.addPerDofVariable(name, 0.0)
        integrator.addUpdateContextState()
        integrator.addComputePerDof("v", "v + 0.5*dt*force/m")
        integrator.addComputePerDof(WORK, "work + 0.5*dt*force*v")
        integrator.addComputePerDof("x", "x + dt*v")
        integrator.addComputePerDof(FORCE, "f")
        integrator.addComputePerDof(WORK, "work + 0.5*dt*force*v")
        integrator.addComputePerDof("v", "v + 0.5*dt*force/m")
        return integrator
    for name in (WORK, INVARIANT, FORCE_SQUARE, "first", "second"):
        integrator.addGlobalVariable(name, 0.0)
    if hold is not None:
        for name in (TARGET, ADDED, "kinetic", "scale"):
            integrator.addGlobalVariable(name, 0.0)
    integrator.addPerDofVariable(FORCE, 0.0)
    if cycle is not None:
        integrator.addPerDofVariable(BEFORE, 0.0)
        integrator.addGlobalVariable(PHASE, 0.0)
        integrator.addGlobalVariable(POTENTIAL, 0.0)
        integrator.addGlobalVariable(CYCLE, float(cycle))
    integrator.addUpdateContextState()
    integrator.addComputePerDof("v", "v + 0.5*dt*force/m")
    integrator.addComputeSum("first", "force*v")
    integrator.addComputePerDof("x", "x + dt*v")
    if cycle is None:
        integrator.addComputePerDof(FORCE, "f")
    else:
        integrator.addComputeGlobal(PHASE, "phase + 1")
        integrator.beginIfBlock("phase < cycle")
        integrator.addComputePerDof(FORCE, f"f{FAST}")
        integrator.endBlock()
        integrator.beginIfBlock("phase = cycle")
        integrator.addComputePerDof(BEFORE, FORCE)
        integrator.addComputePerDof(FORCE, f"f{SLOW}")
        integrator.addComputeGlobal(POTENTIAL, f"energy{SLOW}")
        integrator.addComputeGlobal(PHASE, "0")
        integrator.endBlock()
    integrator.addComputeSum("second", "force*v")
    integrator.addComputeGlobal(WORK, "work + 0.5*dt*(first + second)")
    integrator.addComputeSum(FORCE_SQUARE, "force*force/m")
    integrator.addComputePerDof("v", "v + 0.5*dt*force/m")
    if hold is not None:
        integrator.addComputeSum("kinetic", "0.5*m*v*v")
        # the energy comes with the force of this step, without another call
        missing = f"{timestep / hold!r}*({TARGET} - kinetic - energy)"
        integrator.addComputeGlobal("scale", f"sqrt(max(0, 1 + {missing}/max(kinetic, 1e-30)))")
        integrator.addComputeGlobal(ADDED, f"{ADDED} + kinetic*(scale*scale - 1)")
        integrator.addComputePerDof("v", "scale*v")
    return integrator


def begin(context: Any, masses: NDArray[np.float64]) -> None:
    """Take the force (of multiple time steps that of a cycle's ends) at the context's positions; start to count work.

    Parameters
    ----------
    context
        ``openmm.Context`` whose CompoundIntegrator holds the Verlet integrator, with positions and velocities set.
    masses
        (n,) in dalton.
    """
    verlet = _verlet(context)
    if WORK in _arrays(verlet):
        _begin_by_atom(context, masses)
        return
    held, split = TARGET in _counters(verlet), _is_split(verlet)
    groups = 1 << SLOW if split else -1
    state = context.getState(getForces=True, getVelocities=True, getEnergy=held or split, groups=groups)
    force = state.getForces(asNumpy=True)._value
    force_square = float((force**2 / masses[:, None]).sum())
    kinetic = kinetic_energy(masses, state.getVelocities(asNumpy=True)._value)
    timestep = verlet.getStepSize()._value
    verlet.setPerDofVariableByName(FORCE, force)
    if split:
        verlet.setGlobalVariableByName(PHASE, 0.0)
        verlet.setGlobalVariableByName(POTENTIAL, state.getPotentialEnergy()._value)
    verlet.setGlobalVariableByName(WORK, 0.0)
    verlet.setGlobalVariableByName(FORCE_SQUARE, force_square)
    verlet.setGlobalVariableByName(INVARIANT, kinetic - timestep**2 / 8.0 * force_square)
    if held:
        verlet.setGlobalVariableByName(TARGET, kinetic + state.getPotentialEnergy()._value)
        verlet.setGlobalVariableByName(ADDED, 0.0)


def _begin_by_atom(context: Any, masses: NDArray[np.float64]) -> None:
    verlet, state = _verlet(context), context.getState(getForces=True, getVelocities=True)
    force, velocities = state.getForces(asNumpy=True)._value, state.getVelocities(asNumpy=True)._value
    m, timestep = masses[:, None], verlet.getStepSize()._value
    verlet.setPerDofVariableByName(FORCE, force)
    verlet.setPerDofVariableByName(WORK, np.zeros_like(force))
    verlet.setPerDofVariableByName(INVARIANT, 0.5 * m * velocities**2 - timestep**2 / 8.0 * force**2 / m)


def kinetic_energy(masses: NDArray[np.float64], velocities: NDArray[np.float64]) -> float:
    """In kJ/mol, from (n,) dalton and (n, 3) nm/ps."""
    return 0.5 * float(masses @ np.sum(velocities**2, axis=1))


def work_and_check(context: Any, kinetic: float) -> tuple[float, float]:
    """Work since `begin` and the integrator check, both in kJ/mol.

    The check is K − W − Δt²/8·Σ F²/m, less what scaling has added, less what it was at the start: zero up to rounding
    for any force.

    Parameters
    ----------
    context
        See `begin`.
    kinetic
        Kinetic energy now, kJ/mol.
    """
    verlet = _verlet(context)
    work, invariant, force_square = (verlet.getGlobalVariableByName(n) for n in (WORK, INVARIANT, FORCE_SQUARE))
    timestep = verlet.getStepSize()._value
    return work, kinetic - work - timestep**2 / 8.0 * force_square - invariant - (added_energy(context) or 0.0)


def work_and_check_by_replica(
    context: Any, masses: NDArray[np.float64], velocities: NDArray[np.float64], replicas: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(R,) kinetic energies, works since `begin` and integrator checks in kJ/mol, as `work_and_check` has them.

    Parameters
    ----------
    context
        Of an integrator made with ``by_atom``.
    masses, velocities
        (R n,) in dalton and (R n, 3) in nm/ps, of the state now.
    replicas
        R.
    """
    verlet = _verlet(context)
    force, work, invariant = (_read(verlet, name) for name in (FORCE, WORK, INVARIANT))
    m, timestep = masses[:, None], verlet.getStepSize()._value
    kinetic = 0.5 * m * velocities**2
    check = kinetic - work - timestep**2 / 8.0 * force**2 / m - invariant
    sums = (x.reshape(replicas, -1).sum(axis=1) for x in (kinetic, work, check))
    return next(sums), next(sums), next(sums)


def forget_force(context: Any, atoms: NDArray[np.bool_]) -> None:
    """No first half kick for these atoms, (n,), which have been put elsewhere."""
    force = held_force(context)
    force[atoms] = 0.0
    _verlet(context).setPerDofVariableByName(FORCE, force)


def added_energy(context: Any) -> float | None:
    """What scaling the velocities has added to the kinetic energy since `begin`, kJ/mol; None if nothing holds it."""
    verlet = _verlet(context)
    return float(verlet.getGlobalVariableByName(ADDED)) if ADDED in _counters(verlet) else None


def held_force(context: Any) -> NDArray[np.float64]:
    """(n, 3) force of the last half kick in kJ/mol/nm: that at the present positions, without a call.

    Of multiple time steps, whose last half kick is by more than a force, that of the step before.
    """
    verlet = _verlet(context)
    return _read(verlet, BEFORE if _is_split(verlet) else FORCE)


def known_energy(context: Any) -> float | None:
    """Potential energy in kJ/mol at the end of a cycle of multiple time steps, without a call; None elsewhere."""
    if not is_nve(context) or context.getIntegrator().getCurrentIntegrator() != VERLET:
        return None
    verlet = _verlet(context)
    return float(verlet.getGlobalVariableByName(POTENTIAL)) if _is_split(verlet) else None


def saved_state(context: Any) -> bytes:
    """What a checkpoint must hold beside OpenMM's, which knows no variables of a CustomIntegrator; empty for others."""
    if not is_nve(context):
        return b""
    verlet = _verlet(context)
    scalars = [verlet.getGlobalVariableByName(name) for name in _counters(verlet)]
    arrays = [_read(verlet, name).ravel() for name in _arrays(verlet)]
    return np.concatenate([scalars, *arrays]).astype("<f8").tobytes()


def saved_bytes(context: Any) -> int:
    """Length of `saved_state`."""
    if not is_nve(context):
        return 0
    verlet = _verlet(context)
    return 8 * (len(_counters(verlet)) + 3 * len(_arrays(verlet)) * context.getSystem().getNumParticles())


def restore_state(context: Any, content: bytes) -> None:
    """Put back what `saved_state` gave."""
    if not is_nve(context):
        return
    values = np.frombuffer(content, dtype="<f8")
    verlet = _verlet(context)
    names = _counters(verlet)
    for name, value in zip(names, values[: len(names)], strict=True):
        verlet.setGlobalVariableByName(name, float(value))
    arrays = _arrays(verlet)
    for name, value in zip(arrays, values[len(names) :].reshape(len(arrays), -1, 3), strict=True):
        verlet.setPerDofVariableByName(name, value)


def is_nve(context: Any) -> bool:
    """Whether this is the context of an NVE run."""
    return hasattr(context.getIntegrator(), "setCurrentIntegrator")


def _verlet(context: Any) -> Any:
    return context.getIntegrator().getIntegrator(VERLET)


def _counters(verlet: Any) -> tuple[str, ...]:
    """Names of the global variables that live longer than a step."""
    names = {verlet.getGlobalVariableName(i) for i in range(verlet.getNumGlobalVariables())}
    return tuple(name for name in (WORK, INVARIANT, FORCE_SQUARE, TARGET, ADDED, PHASE, POTENTIAL) if name in names)


def _is_split(verlet: Any) -> bool:
    """Whether it has multiple time steps."""
    return PHASE in _counters(verlet)


def _arrays(verlet: Any) -> tuple[str, ...]:
    """Names of the variables of each degree of freedom."""
    return tuple(verlet.getPerDofVariableName(i) for i in range(verlet.getNumPerDofVariables()))


def _read(verlet: Any, name: str) -> NDArray[np.float64]:
    return np.array([list(row) for row in verlet.getPerDofVariableByName(name)])
