"""Langevin dynamics on a teacher, as a source of thermal conformations."""

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.data.labels import Label, Teacher
from mdet_openmm.units import BOLTZMANN_EV_PER_K, KJ_PER_MOL_PER_EV

Array = NDArray[np.float64]

ACCELERATION_PER_FORCE = KJ_PER_MOL_PER_EV * 1e-4
"""Å/fs² of a mass of 1 amu under 1 eV/Å; 1 kJ/mol/amu is 1e-4 Å²/fs²."""


GRID = 2.0**-11
"""Å; positions of a compact data set are multiples of it, which float32 holds exactly up to 8192 Å."""


def as_stored(positions: Array, compact: bool) -> Array:
    """Centred positions, rounded to the precision in which they are stored, so that labels belong to them exactly."""
    centred = positions - positions.mean(axis=0)
    if compact:
        centred = np.round(centred / GRID) * GRID
    return centred.astype(np.float32).astype(np.float64)


def langevin_steps(
    positions: Array,
    masses: Array,
    *,
    temperature: float,
    timestep: float,
    friction: float,
    equilibrate: int,
    interval: int,
    rng: np.random.Generator,
    compact: bool = False,
) -> Generator[tuple[Array, bool], Label, None]:
    """A Langevin trajectory without end that asks for the label of each position, and leaves open who gives it.

    BAOAB splitting (Leimkuhler and Matthews, J. Chem. Phys. 138, 174102 (2013)). At each frame the positions are
    rounded as they will be stored before the force is computed, so that a frame costs no further calculation.

    Parameters
    ----------
    positions
        (n, 3) start in Å.
    masses
        (n,) in amu.
    temperature, timestep, friction
        In K, fs and 1/ps.
    equilibrate, interval
        Steps before the first frame, and between frames.
    rng
        Of the velocities and the noise.
    compact
        Positions are rounded to `GRID`, not only to float32.

    Yields
    ------
    tuple
        (n, 3) positions in Å, for which a label is to be sent, and whether they are a frame.
    """
    acceleration = ACCELERATION_PER_FORCE / masses[:, None]
    spread = np.sqrt(BOLTZMANN_EV_PER_K * temperature * acceleration)
    keep = np.exp(-friction * 1e-3 * timestep)
    noise = np.sqrt(1.0 - keep**2)
    x = as_stored(positions, compact)
    v = spread * rng.standard_normal(x.shape)
    label = yield x, False
    step = 0
    while True:
        step += 1
        v = v + 0.5 * timestep * acceleration * label.forces
        x = x + 0.5 * timestep * v
        v = keep * v + noise * spread * rng.standard_normal(x.shape)
        x = x + 0.5 * timestep * v
        sampled = step >= equilibrate and (step - equilibrate) % interval == 0
        if sampled:
            x = as_stored(x, compact)
        label = yield x, sampled
        v = v + 0.5 * timestep * acceleration * label.forces


def langevin(teacher: Teacher, positions: Array, masses: Array, **how: Any) -> Iterator[tuple[Array, Label]]:
    """The frames of `langevin_steps`, with their labels, on a teacher of one molecule.

    Raises
    ------
    TeacherFailure
        When the teacher has no answer at a step.
    """
    steps = langevin_steps(positions, masses, **how)
    x, sampled = next(steps)
    while True:
        label = teacher(x)
        if sampled:
            yield x, label
        x, sampled = steps.send(label)
