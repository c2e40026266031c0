"""A mean over replicas with its standard error."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mdet_openmm.digits import shown, shown_with_error


@dataclass(frozen=True)
class Estimate:
    """A mean, its standard error, and of how many values.

    The error is the standard deviation of the values over √n; of one value alone it is not known (NaN).
    """

    mean: float
    error: float
    count: int

    def __str__(self) -> str:
        """With the digits that the error leaves: ``-1.23 ± 0.04``."""
        if not self.count:
            return "–"
        return shown_with_error(self.mean, self.error) if self.error > 0.0 else shown(self.mean, 4)


def estimate(values: Iterable[float | None]) -> Estimate:
    """The mean of the values that are finite numbers."""
    found = np.array([v for v in values if v is not None and math.isfinite(v)], dtype=np.float64)
    if not len(found):
        return Estimate(math.nan, math.nan, 0)
    error = float(found.std(ddof=1) / math.sqrt(len(found))) if len(found) > 1 else math.nan
    return Estimate(float(found.mean()), error, len(found))
