"""The longest cycle of multiple time steps whose energy drifts no more than is allowed, found by short runs."""

from dataclasses import dataclass

# Before OpenMM loads its plugins: openmmtorch's need libraries that come with torch.
from mdet_openmm.system.force import add_force, make_system  # isort: skip
import numpy as np
import openmm
from numpy.typing import NDArray

from mdet_openmm.digits import shown, shown_with_error
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import Model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.measure.drift import Drift, linear_drift
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.simulation.conservation import MEV_PER_KJ_MOL
from mdet_openmm.simulation.rigid_motion import without_rigid_motion
from mdet_openmm.simulation.settings import CYCLES
from mdet_openmm.simulation.state import potential_energy, read_phase
from mdet_openmm.simulation.structures import atomic_masses, model_structures
from mdet_openmm.simulation.thermostat import starting_velocities
from mdet_openmm.simulation.verlet import FAST, SLOW, VERLET, begin, kinetic_energy, make_verlet
from mdet_openmm.units import NM_PER_ANGSTROM

TRIAL_PS = 2.0
"""Of each trial: a slope is then known to about 0.05 meV/atom/ps where the energy fluctuates by 0.3 meV/atom."""
READ_FS = 8.0
"""Between two energies of a trial, or one cycle where that is longer."""


@dataclass(frozen=True)
class CycleChoice:
    """How many short steps to take to one correction.

    Attributes
    ----------
    cycle
        One of `CYCLES`.
    within
        Whether its drift, error included, is what was allowed; if not, it is the cycle of 1.
    drifts
        By cycle, of those that were tried: energy per atom, meV and ps.
    reason
        One line for the user.
    """

    cycle: int
    within: bool
    drifts: dict[int, Drift]
    reason: str


def energies(
    model: Model,
    molecule: Molecule,
    options: ForceOptions,
    positions: NDArray[np.float64],
    velocities: NDArray[np.float64],
    *,
    cycle: int | None,
    timestep: float,
    time: float,
    read: float = READ_FS,
) -> NDArray[np.float64]:
    """The total energy of the model along a run at constant energy.

    Parameters
    ----------
    model, molecule, options
        Of the force; with a cycle it is the gradient of the energy in two parts.
    positions, velocities
        (n, 3) in nm and nm/ps; momentum and angular momentum are taken away.
    cycle
        Short steps to one correction; None: the forces of the options at every step.
    timestep, time, read
        fs, ps, and fs between two energies (at least a cycle).

    Returns
    -------
    NDArray
        (rows, 2): time in ps and energy in meV per atom; the rows end before one that is not finite.
    """
    masses = atomic_masses(molecule)
    system = make_system(masses)
    for group, part in zip((FAST, SLOW), (options,) if cycle is None else options.split(cycle), strict=False):
        add_force(system, bind(model, molecule, part)).setForceGroup(group)
    integrator = openmm.CompoundIntegrator()
    for _ in range(VERLET):
        integrator.addIntegrator(openmm.VerletIntegrator(1e-3 * timestep))
    integrator.addIntegrator(make_verlet(1e-3 * timestep, cycle=cycle))
    integrator.setCurrentIntegrator(VERLET)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    context.setVelocities(without_rigid_motion(masses, positions, velocities))
    begin(context, masses)
    every = -(-max(1, round(read / timestep)) // (cycle or 1)) * (cycle or 1)
    rows = []
    for row in range(round(1e3 * time / timestep) // every + 1):
        if row:
            integrator.step(every)
        now = read_phase(context)
        total = potential_energy(context) + kinetic_energy(masses, now.velocities)
        if not np.isfinite(total):
            break
        rows.append((1e-3 * timestep * every * row, MEV_PER_KJ_MOL * total / len(masses)))
    return np.array(rows)


def choose_cycle(
    model: Model,
    molecule: Molecule,
    *,
    allowed: float,
    temperature: float,
    timestep: float,
    options: ForceOptions,
    dividing: int = 0,
    seed: int = 0,
) -> CycleChoice:
    """Try cycles at constant energy from the longest to the shortest, until the drift and its error are allowed.

    What direct forces lack is a function of the positions, and a kick by it makes up for what they did since the last.
    What it cannot make up for grows with the square of the time between two kicks, and with the difference between
    the two kinds of forces: no bound follows from either alone, so that it is measured.

    Parameters
    ----------
    model, molecule
        What is to run.
    allowed
        Energy drift, meV/atom/ps.
    temperature, timestep
        K, fs.
    options
        Precision and orientations of the run.
    dividing
        Only cycles that divide this number of steps; 0: all.
    seed
        Of the start.

    Raises
    ------
    RunStopped
        If the model's forces are not finite.
    """
    start = model_structures(
        model, molecule, count=2, temperature=temperature, timestep=timestep, precision=options.precision, seed=seed
    )
    positions = NM_PER_ANGSTROM * start.positions[-1]
    velocities = starting_velocities(atomic_masses(molecule), temperature, seed, zero_momentum=True)
    drifts: dict[int, Drift] = {}
    chosen, within = CYCLES[-1], False
    for cycle in CYCLES:
        if dividing % cycle:
            continue
        table = energies(model, molecule, options, positions, velocities, cycle=cycle, timestep=timestep, time=TRIAL_PS)
        drift = linear_drift(*table.T) if len(table) else None
        if drift is None:  # it flew apart at once
            continue
        drifts[cycle] = drift
        if abs(drift.slope) + drift.error <= allowed:
            chosen, within = cycle, True
            break
    measured = ", ".join(f"{shown_with_error(d.slope, d.error, sign=True)} with {c}" for c, d in drifts.items())
    verdict = "within" if within else "all above"
    return CycleChoice(
        chosen,
        within,
        drifts,
        f"multiple time steps {chosen}: the energy drifts, in meV/atom/ps, by {measured}; {verdict} {shown(allowed)}",
    )
