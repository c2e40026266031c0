"""The structures that a molecule is judged on: relaxed, thermal, or frames of a trajectory."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Before OpenMM loads its plugins: openmmtorch's need libraries that come with torch.
from mdet_openmm.system.force import add_force, make_system  # isort: skip
import numpy as np
import openmm
from numpy.typing import NDArray

from mdet_openmm.digits import shown
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import Model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.bonds import find_bonds, pair_distances
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.trajectories import read_trajectory
from mdet_openmm.simulation.relax import FMAX_EV_A, force_function, relax
from mdet_openmm.simulation.run_folder import trajectory_of
from mdet_openmm.units import ANGSTROM_PER_NM, NM_PER_ANGSTROM

FRICTION = 10.0
"""1/ps: the relaxed structure takes up half of the heat, which has to come from the bath within the first steps."""
FIRST_FS, BETWEEN_FS = 200.0, 50.0
"""Before the first thermal structure, two relaxation times of that bath; between two, several periods of most bonds."""
BROKEN_BOND_A = 0.5
"""A bond that differs by more from its start is broken (Fu et al., "Forces are not enough")."""


@dataclass(frozen=True)
class Samples:
    """Structures of one molecule.

    Attributes
    ----------
    positions
        (s, n, 3) in Å; at least one.
    origin
        What they are, in words.
    relaxed
        The first is a relaxed one, with no force above 0.05 eV/Å.
    problem
        What went wrong on the way; empty if nothing did.
    """

    positions: NDArray[np.float64]
    origin: str
    relaxed: bool = False
    problem: str = ""


def atomic_masses(molecule: Molecule) -> NDArray[np.float64]:
    """(n,) in dalton, OpenMM's."""
    element = openmm.app.Element.getByAtomicNumber
    return np.array([element(int(z)).mass._value for z in molecule.atomic_numbers])


def model_structures(
    model: Model,
    molecule: Molecule,
    *,
    count: int,
    temperature: float,
    timestep: float,
    precision: str,
    seed: int,
    tick: Callable[[], object] = lambda: None,
) -> Samples:
    """The relaxed molecule and then thermal structures of a short Langevin run of the model itself.

    Parameters
    ----------
    model, molecule
        What is simulated; Langevin friction 10/ps, one orientation, the default offset.
    count
        Thermal structures, 50 fs apart; fewer come back if a bond breaks or a position is not finite.
    temperature, timestep
        K, fs.
    precision
        "double" or "mixed".
    seed
        Of velocities, bath and rotations.
    tick
        Called after each structure.

    Raises
    ------
    RunStopped
        If the forces are not finite at the very start.
    """
    still = relax(molecule, force_function(bind(model, molecule, ForceOptions(offset="none"))))
    tick()
    found, problem = [still.positions], ""
    if not still.converged:
        problem = f"the relaxation ended with a force of {shown(still.largest_force)} eV/Å (it aims at {FMAX_EV_A:g})"
    if count:
        system = make_system(atomic_masses(molecule))
        add_force(system, bind(model, molecule, ForceOptions(precision=precision, seed=seed)))
        integrator = openmm.LangevinMiddleIntegrator(temperature, FRICTION, 1e-3 * timestep)
        integrator.setRandomNumberSeed(seed % (2**31 - 1) + 1)
        context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
        context.setPositions(NM_PER_ANGSTROM * still.positions)
        context.setVelocitiesToTemperature(temperature, seed % (2**31 - 1) + 1)
        bonds = find_bonds(molecule.atomic_numbers, still.positions)
        lengths = pair_distances(still.positions, bonds)
        for k in range(count):
            integrator.step(max(1, round((BETWEEN_FS if k else FIRST_FS) / timestep)))
            x = ANGSTROM_PER_NM * context.getState(positions=True).getPositions(asNumpy=True)._value
            stretch = np.abs(pair_distances(x, bonds) - lengths).max(initial=0.0)
            if not (np.isfinite(x).all() and stretch <= BROKEN_BOND_A):
                time = FIRST_FS + k * BETWEEN_FS
                what = f"a bond broke ({shown(stretch)} Å off)" if np.isfinite(x).all() else "positions became NaN"
                problem = f"{what} within {time:g} fs of dynamics at {temperature:g} K"
                break
            found.append(x)
            tick()
    thermal = f" and {len(found) - 1} of its dynamics at {temperature:g} K" if count else ""
    return Samples(np.array(found), f"the relaxed structure{thermal}", still.converged, problem)


def trajectory_structures(path: Path, molecule: Molecule, count: int) -> Samples:
    """Frames of a trajectory, evenly spaced.

    Parameters
    ----------
    path
        Whatever `read_trajectory` reads, or a run folder.
    molecule
        Whose atoms they are, in the same order.
    count
        How many frames at most.

    Raises
    ------
    InputError
        As `read_trajectory` does.
    """
    path = trajectory_of(path)
    frames = read_trajectory(path, molecule).positions
    chosen = np.unique(np.linspace(0, len(frames) - 1, max(1, count)).round().astype(int))
    return Samples(frames[chosen], f"{len(chosen)} of {len(frames)} frames of {path.name}")
