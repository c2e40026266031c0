"""Means over independent replicas, and whether the replicas agree."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mdet_openmm.measure.block_average import BlockedMean

AGREE = 1.1
"""Largest shrink factor of replicas that agree; Gelman and Rubin's own limit."""


def mean_over_replicas(means: ArrayLike) -> BlockedMean:
    """Mean of the (R,) means of independent replicas; its error is their standard deviation over √R.

    Nothing is assumed of the correlation within a replica. The error itself is known from R values only, which
    `BlockedMean.bound` takes into account.
    """
    x = np.asarray(means, dtype=float)
    count = len(x)
    std = float(x.std(ddof=1)) if count > 1 else float("nan")
    mean = float(x.mean()) if count else float("nan")
    return BlockedMean(mean, std, std / np.sqrt(max(count, 1)), count, float(count), count, count > 1)


def shrink_factor(series: Sequence[NDArray[np.float64]]) -> float:
    """R̂ of Gelman and Rubin (Statist. Sci. 7, 457 (1992)), on the halves of each replica.

    By so much the standard deviation of the pooled samples could still shrink if the replicas went on for ever; 1 where
    they cannot be told apart. Halves (Gelman et al., Bayesian Data Analysis) make it also see a replica that drifts.

    Parameters
    ----------
    series
        (f,) samples of each replica, all of one length, four or more; NaN for fewer, or for a single replica.
    """
    length = min((len(x) for x in series), default=0) // 2
    if len(series) < 2 or length < 2:
        return float("nan")
    halves = np.array([half for x in series for half in (x[:length], x[-length:])], dtype=float)
    within = float(halves.var(axis=1, ddof=1).mean())
    between = float(halves.mean(axis=1).var(ddof=1))
    if within == 0.0:
        return 1.0 if between == 0.0 else float("inf")
    return float(np.sqrt((length - 1) / length + between / within))


def angle_shrink_factor(series: Sequence[NDArray[np.float64]]) -> float:
    """The larger of the factors of cosine and sine, from angles in degrees."""
    radians = [np.radians(x) for x in series]
    return max(shrink_factor([np.cos(x) for x in radians]), shrink_factor([np.sin(x) for x in radians]))


def density_with_error(
    series: Sequence[NDArray[np.float64]], edges: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over replicas of their histogram densities on bins, and its standard error in each bin; both (bins,)."""
    each = np.array([np.histogram(x, bins=edges)[0] / (max(len(x), 1) * np.diff(edges)) for x in series])
    error = each.std(axis=0, ddof=1) / np.sqrt(len(each)) if len(each) > 1 else np.full(each.shape[1], np.nan)
    return each.mean(axis=0), error
