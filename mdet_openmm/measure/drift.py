"""Slope of a noisy, correlated time series, with an honest error."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mdet_openmm.measure.block_average import blocked_mean

FEWEST = 3


@dataclass(frozen=True)
class Drift:
    """Linear fit of a series.

    Attributes
    ----------
    slope, error
        Per unit of time, and its standard error.
    start
        Value of the line at time 0.
    spread
        Standard deviation about the line.
    converged
        Whether blocks became long against the correlation; if not, the error is a lower bound.
    """

    slope: float
    error: float
    start: float
    spread: float
    converged: bool


def linear_drift(times: ArrayLike, series: ArrayLike) -> Drift | None:
    """Least-squares slope; its error is the textbook one, scaled by what blocking finds for the residuals.

    For independent residuals of variance s² the slope has the variance s²/Σ(t − t̄)². Correlation leaves fewer
    independent samples (Flyvbjerg and Petersen 1989, `blocked_mean`), and raises it by samples/independent.

    Measured on synthetic series: right for a memory of less than a hundredth of the series, 30 % too small at a tenth,
    three times too small for a random walk, of which the line takes most of the wandering with it.

    Parameters
    ----------
    times, series
        (n,) at equal intervals.

    Returns
    -------
    Drift or None
        None for fewer than three samples.
    """
    t, y = np.asarray(times, dtype=float), np.asarray(series, dtype=float)
    if len(t) < FEWEST:
        return None
    centred = t - t.mean()
    square = float((centred**2).sum())
    slope = float(centred @ (y - y.mean()) / square)
    residuals = y - y.mean() - slope * centred
    spread = float(np.sqrt((residuals**2).sum() / (len(t) - 2)))
    blocked = blocked_mean(residuals)
    error = spread / np.sqrt(square) * np.sqrt(blocked.samples / blocked.independent)
    return Drift(slope, float(error), float(y.mean() - slope * t.mean()), spread, blocked.converged)
