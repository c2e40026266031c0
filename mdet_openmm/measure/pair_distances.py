"""h(r), the distribution of all interatomic distances, and its error against a reference (Fu et al., 2210.07237)."""

import numpy as np
from numpy.typing import NDArray

BIN_WIDTH = 0.02
R_MAX = 10.0
EDGES: NDArray[np.float64] = np.linspace(0.0, R_MAX, round(R_MAX / BIN_WIDTH) + 1)
"""Bin edges in Å."""

CENTRES: NDArray[np.float64] = 0.5 * (EDGES[1:] + EDGES[:-1])
"""Bin centres in Å."""


def pair_density(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """h(r): histogram density of the distances of all pairs i < j over all frames.

    Parameters
    ----------
    positions
        (f, n, 3) in Å.

    Returns
    -------
    ndarray
        (500,) in 1/Å on bins of 0.02 Å from 0 to 10 Å; its integral is 1 (0 where no distance is in the range, as
        for a single atom). Distances beyond 10 Å do not count.
    """
    _, n, _ = positions.shape
    first, second = np.triu_indices(n, k=1)
    counts = np.zeros(len(CENTRES))
    if len(first) == 0:
        return counts
    chunk = max(1, 2_000_000 // len(first))
    for start in range(0, len(positions), chunk):
        part = positions[start : start + chunk]
        distances = np.linalg.norm(part[:, first] - part[:, second], axis=-1)
        counts += np.histogram(distances, bins=EDGES)[0]
    total = counts.sum()
    return counts / (total * BIN_WIDTH) if total else counts


def density_error(density: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Σ |h − h_ref| · 0.02 Å: 0 for equal distributions, 2 for ones that do not overlap."""
    return float(np.abs(density - reference).sum() * BIN_WIDTH)
