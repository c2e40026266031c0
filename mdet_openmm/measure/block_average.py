"""Means of correlated time series with honest errors, by blocking."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class BlockedMean:
    """Mean of a time series and what is known about its error.

    Attributes
    ----------
    mean, std
        Mean and standard deviation of the samples, in their unit; std is NaN for a single sample.
    error
        Standard error of the mean with correlation taken into account; NaN for a single sample.
    samples
        Number of samples.
    independent
        Number of independent samples that would give this error, at most `samples`.
    blocks
        Number of blocks that the error comes from.
    converged
        Whether the blocks became long against the correlation; if not, the error is a lower bound.
    """

    mean: float
    std: float
    error: float
    samples: int
    independent: float
    blocks: int
    converged: bool

    def bound(self, sigmas: float = 3.0) -> float:
        """Half-width of the confidence interval that `sigmas` standard errors give for a normal error.

        The error itself comes from a few blocks only, so Student's t takes the place of the normal quantile. NaN
        where there is no error.
        """
        from scipy.stats import norm, t  # type: ignore[import-untyped, unused-ignore]

        if self.blocks < 2:
            return float("nan")
        return float(t.isf(norm.sf(sigmas), self.blocks - 1)) * self.error


def blocked_mean(series: ArrayLike) -> BlockedMean:
    """Mean and standard error of a correlated series.

    Flyvbjerg and Petersen, J. Chem. Phys. 91, 461 (1989): the naive error of block means grows with the block
    length B until blocks are independent. B is the shortest power of two with B³ > 2 n (s_B/s_1)⁴ (Lee et al.,
    Phys. Rev. E 83, 066706 (2011)), where n is the number of samples and s_B the error from blocks of length B.

    Parameters
    ----------
    series
        (n,) samples at equal intervals.

    Returns
    -------
    BlockedMean
        NaN in place of the numbers that so few samples cannot give.
    """
    x = np.asarray(series, dtype=float)
    n = len(x)
    nan = float("nan")
    if n == 0:
        return BlockedMean(nan, nan, nan, 0, 0.0, 0, False)
    mean = float(x.mean())
    if n == 1:
        return BlockedMean(mean, nan, nan, 1, 1.0, 1, False)
    std = float(x.std(ddof=1))
    naive = std / np.sqrt(n)
    if naive == 0.0:
        return BlockedMean(mean, 0.0, 0.0, n, float(n), n, True)
    error, blocks, converged, length = naive, n, False, 1
    while n // length >= 4:
        count = n // length
        # whole blocks only, the odd ones dropped from the start, where a run is least settled
        means = x[n - count * length :].reshape(count, length).mean(axis=1)
        error, blocks = float(means.std(ddof=1) / np.sqrt(count)), count
        if length**3 > 2 * n * (error / naive) ** 4:
            converged = True
            break
        length *= 2
    error = max(error, naive)  # blocking only ever adds error in what we measure; less is the noise of few blocks
    return BlockedMean(mean, std, error, n, min(float(n), n * (naive / error) ** 2), blocks, converged)
