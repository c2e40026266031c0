"""What a run is worth beside a reference trajectory: stability and h(r) error (Fu et al., 2210.07237)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.measure.geometry import find_collapse
from mdet_openmm.measure.pair_distances import density_error, pair_density
from mdet_openmm.molecules.bonds import find_bonds
from mdet_openmm.molecules.trajectories import Trajectory


@dataclass(frozen=True)
class Yardstick:
    """What runs are measured with.

    Attributes
    ----------
    bonds
        (m, 2), those of the reference's first frame.
    lengths
        (m,) mean lengths over the reference, Å.
    density
        h(r) of the reference, (500,) in 1/Å.
    """

    bonds: NDArray[np.int64]
    lengths: NDArray[np.float64]
    density: NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """One run beside the reference.

    Attributes
    ----------
    stable_ps
        Time of the first frame that has collapsed, or the length of the run.
    collapsed
        Whether one has.
    frames
        How many count: those before.
    density_error
        Σ |h − h_ref|·0.02 Å over these frames; None where there is none.
    """

    stable_ps: float
    collapsed: bool
    frames: int
    density_error: float | None


def make_yardstick(reference: Trajectory) -> Yardstick:
    """Measure the reference."""
    bonds = find_bonds(reference.atomic_numbers, reference.positions[0])
    lengths = lengths_of(bonds, reference.positions).mean(axis=0)
    return Yardstick(bonds, lengths, pair_density(reference.positions))


def lengths_of(bonds: NDArray[np.int64], positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(f, m) lengths of (m, 2) bonds in the unit of the (f, n, 3) positions."""
    return np.linalg.norm(positions[:, bonds[:, 1]] - positions[:, bonds[:, 0]], axis=-1)


def collapse_frame(yardstick: Yardstick, positions: NDArray[np.float64]) -> int | None:
    """First frame with a bond more than 0.5 Å from its mean length, or None; (f, n, 3) in Å.

    A frame that is not finite has collapsed too.
    """
    finite = np.isfinite(positions).all(axis=(1, 2))
    whole = positions if finite.all() else positions[: int(np.argmin(finite))]
    frame = find_collapse(lengths_of(yardstick.bonds, whole), yardstick.lengths).collapse_frame
    return frame if frame is not None or len(whole) == len(positions) else len(whole)


def score(yardstick: Yardstick, positions: NDArray[np.float64], interval_ps: float, *, broken: bool = False) -> Score:
    """Score the frames of a run.

    Parameters
    ----------
    yardstick
        Of the reference.
    positions
        (f, n, 3) in Å, the first one interval after the start.
    interval_ps
        Between frames.
    broken
        Whether the run ended because of a number that is none, right after its last frame.
    """
    frame = collapse_frame(yardstick, positions)
    settled = positions if frame is None else positions[:frame]
    stable = len(positions) if frame is None else frame + 1
    return Score(
        stable_ps=stable * interval_ps,
        collapsed=broken or frame is not None,
        frames=len(settled),
        density_error=density_error(pair_density(settled), yardstick.density) if len(settled) else None,
    )
