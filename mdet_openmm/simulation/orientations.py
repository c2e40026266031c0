"""The fewest orientations whose noise a thermostat, or the length of a run without one, forgives."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mdet_openmm.digits import shown
from mdet_openmm.errors import InputError
from mdet_openmm.export.model_folder import Model
from mdet_openmm.export.options import ORIENTATIONS, ForceOptions
from mdet_openmm.measure.field import Field, make_field, uniform_rotations
from mdet_openmm.measure.heating import Heating, heating_of
from mdet_openmm.measure.orientation import averaged_over_group, orientation_noise
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.simulation.structures import atomic_masses, model_structures
from mdet_openmm.units import NM_PER_ANGSTROM

BUDGET_OF_TEMPERATURE = 0.01
"""Part of the temperature that noise may add: 3 K at 300 K, what a run of some 100 ps of a small molecule can just
resolve beside its own statistical error."""
STRUCTURES, OFFSETS = 4, 32
"""Thermal structures, and offsets of each: sigma² is then known to some 10 %, the number of orientations is decided by
factors."""


@dataclass(frozen=True)
class OrientationsChoice:
    """How many orientations to take.

    Attributes
    ----------
    orientations
        1, 12, 24 or 60.
    within
        Whether the heating is within the budget; if not, `orientations` is the setting that heats least.
    budget
        K.
    heating
        By number of orientations, of those that were measured: rise in K of the hottest element under friction, or of
        the molecule over the time of a run at constant energy.
    reason
        One line for the user.
    """

    orientations: int
    within: bool
    budget: float
    heating: dict[int, float]
    reason: str


def cheapest(heating: Mapping[int, float], budget: float) -> tuple[int, bool]:
    """The fewest orientations within the budget (K), and True; if none is, those that heat least, and False."""
    fitting = [orientations for orientations in sorted(heating) if heating[orientations] <= budget]
    return (fitting[0], True) if fitting else (min(heating, key=lambda orientations: heating[orientations]), False)


def noise_variance(
    field: Field, structures: NDArray[np.float64], orientations: int, offsets: int, seed: int
) -> NDArray[np.float64]:
    """Variance (n,) of a component of each atom's force as used, (kJ/mol/nm)², over uniform offsets.

    Parameters
    ----------
    field
        In the precision of the run.
    structures
        (s, n, 3) in Å.
    orientations
        1, 12, 24 or 60.
    offsets
        Uniform offsets for each structure, 2 or more.
    seed
        Of the offsets.
    """
    generator = torch.Generator().manual_seed(seed)
    total = np.zeros(structures.shape[1])
    for x in torch.tensor(NM_PER_ANGSTROM * structures):
        turned = averaged_over_group(field, x, orientations, uniform_rotations(offsets, generator))
        total += orientation_noise(field, x, turned).variance.numpy()
    return total / len(structures)


def choose_orientations(
    model: Model,
    molecule: Molecule,
    *,
    temperature: float,
    timestep: float,
    friction: float | None,
    time: float | None = None,
    budget_K: float | None = None,
    precision: str = "double",
    forces: str | None = None,
    structures: NDArray[np.float64] | None = None,
    seed: int = 0,
) -> OrientationsChoice:
    """Measure the noise with 1, 12, 24 and 60 orientations until it is within the budget.

    Parameters
    ----------
    model, molecule
        What is to run with a random or hashed rotation offset.
    temperature, timestep
        K, fs.
    friction
        Of the Langevin bath, 1/ps; None for constant energy, where `time` counts.
    time
        Length of a run at constant energy, ps.
    budget_K
        Largest rise of the temperature; None: 1 % of the temperature.
    precision, forces
        As for `mdet_openmm.export.force_module.bind`.
    structures
        (s, n, 3) in Å to measure on; None: a few thermal ones from a short run of the model (some seconds).
    seed
        Of that run and of the offsets.

    Raises
    ------
    InputError
        If neither friction nor time is given, or for a molecule that the model does not know.
    RunStopped
        If the model's forces are not finite.
    """
    if friction is None and time is None:
        raise InputError("choosing orientations needs a friction, or the time of a run at constant energy")
    budget = BUDGET_OF_TEMPERATURE * temperature if budget_K is None else budget_K
    if ForceOptions(forces=forces).resolved(model).conservative:
        return OrientationsChoice(
            1, True, budget, {1: 0.0}, "1 orientation: conservative forces are run without rotations"
        )
    field = make_field(model, molecule, precision, forces)
    if structures is None:
        run = model_structures(
            model,
            molecule,
            count=STRUCTURES,
            temperature=temperature,
            timestep=timestep,
            precision=precision,
            seed=seed,
        )
        structures = run.positions[1:] if len(run.positions) > 1 else run.positions
    masses = atomic_masses(molecule)
    heating: dict[int, float] = {}
    for orientations in ORIENTATIONS:
        variance = noise_variance(field, structures, orientations, OFFSETS if orientations == 1 else OFFSETS // 4, seed)
        found = heating_of(variance, molecule.atomic_numbers, masses, timestep=timestep, friction=friction or 1.0)
        heating[orientations] = rise(found, friction, time)
        if heating[orientations] <= budget:
            break
    orientations, within = cheapest(heating, budget)
    measured = ", ".join(f"{shown(heating[f])} K with {f}" for f in heating)
    verdict = "within" if within else "all above"
    return OrientationsChoice(
        orientations,
        within,
        budget,
        heating,
        f"{orientations} orientation(s): noise heats by {measured}; {verdict} {budget:g} K",
    )


def rise(heating: Heating, friction: float | None, time: float | None) -> float:
    """K: of the hottest element in a bath, or of the molecule over a time (ps) at constant energy."""
    return heating.worst if friction is not None else heating.nve_mean * (time or 0.0)
