"""Kinetic temperature: its mean, its distribution, and whether every element has the same one."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.digits import shown_with_error
from mdet_openmm.measure.block_average import BlockedMean, blocked_mean
from mdet_openmm.measure.drift import linear_drift

HOLDS, BROKEN, UNDECIDED = "holds", "broken", "undecided"

TOLERANCE = 0.02
"""Deviations below this fraction of the target are not called wrong, however long the run: time steps have errors."""

TOO_WIDE = 0.25
"""If the error bound exceeds this fraction of the target, a deviation that matters could hide in it."""

RELAXATIONS = 10.0
"""A run shorter than this many thermostat relaxation times still remembers its start."""

IMPOSSIBLE_SIGMAS = 4.0
"""A mean that is as improbable as so many sigmas of a normal distribution for one single sample is wrong at any length.
"""


@dataclass(frozen=True)
class TemperatureResult:
    """The temperature of a run against the canonical one.

    Attributes
    ----------
    target
        In K.
    degrees_of_freedom
        That the kinetic temperature counts.
    mean
        Blocked mean in K.
    expected_std
        Of the canonical distribution in K.
    distance, probability
        Kolmogorov–Smirnov distance from the canonical distribution, and the probability of one at least as large
        for the number of independent samples; NaN where there are too few.
    elements
        Blocked mean in K by element symbol.
    mean_verdict, spread_verdict, equipartition_verdict
        ``holds``, ``broken`` or ``undecided``.
    sentence
        The three in one sentence.
    canonical
        Whether there is a target to judge by; in NVE there is none, `target` is the mean, and nothing is judged.
    """

    target: float
    degrees_of_freedom: int
    mean: BlockedMean
    expected_std: float
    distance: float
    probability: float
    elements: dict[str, BlockedMean]
    mean_verdict: str
    spread_verdict: str
    equipartition_verdict: str
    sentence: str
    canonical: bool = True


def expected_density(temperature: NDArray[np.float64], target: float, degrees_of_freedom: int) -> NDArray[np.float64]:
    """Canonical probability density of the kinetic temperature.

    2K/(k_B T₀) is the sum of squares of one standard normal number per degree of freedom, so the kinetic
    temperature T = 2K/(d k_B) has the gamma distribution of shape d/2 and scale 2 T₀/d: mean T₀, standard
    deviation T₀ √(2/d).

    Parameters
    ----------
    temperature
        In K.
    target
        T₀ in K.
    degrees_of_freedom
        d; 3 n for Langevin dynamics, which conserves no momentum.

    Returns
    -------
    ndarray
        In 1/K.
    """
    from scipy.stats import gamma  # type: ignore[import-untyped, unused-ignore]

    density: NDArray[np.float64] = gamma.pdf(temperature, degrees_of_freedom / 2, scale=2 * target / degrees_of_freedom)
    return density


def widest_means(target: float, degrees_of_freedom: int) -> tuple[float, float]:
    """Lowest and highest mean temperature in K that a canonical run of any length shows, be it one sample long.

    The mean of a run whose correlation nobody knows scatters at most as one sample does (standard deviation T₀ √(2/d)),
    which has the tails of the gamma distribution (`expected_density`). Each bound has the tail of `IMPOSSIBLE_SIGMAS`
    normal ones, 3.2e-5; a mean of correlated samples may exceed it e times as often (convex order), so that at most 1
    of 5,000 canonical runs is outside, and of runs of more than a few independent samples none.

    Parameters
    ----------
    target
        T₀ in K.
    degrees_of_freedom
        d.
    """
    from scipy.stats import gamma, norm  # type: ignore[import-untyped, unused-ignore]

    tail = norm.sf(IMPOSSIBLE_SIGMAS)
    canonical = gamma(degrees_of_freedom / 2, scale=2 * target / degrees_of_freedom)
    return float(canonical.ppf(tail)), float(canonical.isf(tail))


def judge_mean(mean: BlockedMean, target: float) -> str:
    """Whether a mean agrees with its target within its error (three standard errors) and the tolerance."""
    bound = mean.bound()
    if not np.isfinite(bound):
        return UNDECIDED
    if abs(mean.mean - target) > max(bound, TOLERANCE * target):
        return BROKEN
    return UNDECIDED if bound > TOO_WIDE * target or not mean.converged else HOLDS


def judge_mean_temperature(mean: BlockedMean, target: float, degrees_of_freedom: int, relaxations: float) -> str:
    """`judge_mean` of a run of at least ten relaxation times; ``broken`` outside of `widest_means` at any length."""
    lowest, highest = widest_means(target, degrees_of_freedom)
    if mean.mean < lowest or mean.mean > highest:
        return BROKEN
    return UNDECIDED if relaxations < RELAXATIONS else judge_mean(mean, target)


def analyze_temperature(
    temperature: NDArray[np.float64],
    by_element: Mapping[str, NDArray[np.float64]],
    target: float,
    degrees_of_freedom: int,
    relaxations: float,
) -> TemperatureResult:
    """Compare the temperatures in the log of a run with the canonical ensemble.

    Parameters
    ----------
    temperature
        (rows,) in K at equal intervals.
    by_element
        (rows,) in K for each element symbol.
    target
        In K.
    degrees_of_freedom
        That the temperature counts.
    relaxations
        Length of the run in thermostat relaxation times (friction × time).

    Returns
    -------
    TemperatureResult
        A verdict is ``undecided`` for a run of fewer than ten relaxation times, or one whose errors are too large; but
        a mean outside of `widest_means` is ``broken`` at any length.
    """
    from scipy.stats import gamma, kstwobign  # type: ignore[import-untyped, unused-ignore]

    mean = blocked_mean(temperature)
    elements = {symbol: blocked_mean(series) for symbol, series in by_element.items()}
    expected_std = target * float(np.sqrt(2 / degrees_of_freedom))
    distance = probability = float("nan")
    spread = UNDECIDED
    if len(temperature) > 1:
        ranked = np.sort(temperature)
        cumulative = gamma.cdf(ranked, degrees_of_freedom / 2, scale=2 * target / degrees_of_freedom)
        steps = np.arange(len(ranked) + 1) / len(ranked)
        distance = float(max((steps[1:] - cumulative).max(), (cumulative - steps[:-1]).max()))
        probability = float(kstwobign.sf(distance * np.sqrt(mean.independent)))
        spread = judge_mean(blocked_mean((temperature - mean.mean) ** 2), expected_std**2)
    verdicts = {symbol: judge_mean(element, target) for symbol, element in elements.items()}
    equipartition = _worst(list(verdicts.values())) if verdicts else UNDECIDED
    mean_verdict = judge_mean_temperature(mean, target, degrees_of_freedom, relaxations)
    if relaxations < RELAXATIONS:
        spread = equipartition = UNDECIDED
    sentence = _sentence(mean, target, expected_std, mean_verdict, equipartition, elements, verdicts, relaxations)
    return TemperatureResult(
        target, degrees_of_freedom, mean, expected_std, distance, probability, elements, mean_verdict, spread,
        equipartition, sentence,
    )  # fmt: skip


def isolated_temperature(
    times: NDArray[np.float64],
    temperature: NDArray[np.float64],
    by_element: Mapping[str, NDArray[np.float64]],
    degrees_of_freedom: int,
) -> TemperatureResult:
    """The temperature of an NVE run, which has no target: its mean and its drift, judged by nobody.

    Elements are not judged either: a few picoseconds of a small molecule are far from ergodic, so that a mode, and
    the atoms in it, may keep what energy it began with.

    Parameters
    ----------
    times
        (rows,) in ps.
    temperature, by_element
        (rows,) in K at equal intervals.
    degrees_of_freedom
        That the temperature counts.
    """
    mean = blocked_mean(temperature)
    elements = {symbol: blocked_mean(series) for symbol, series in by_element.items()}
    drift = linear_drift(times, temperature)
    sentence = f"An NVE run has no target temperature: the mean is {mean.mean:.1f} K"
    sentence += f", the drift {shown_with_error(drift.slope, drift.error, sign=True)} K/ps." if drift else "."
    nan = float("nan")
    return TemperatureResult(
        mean.mean, degrees_of_freedom, mean, mean.std, nan, nan, elements, UNDECIDED, UNDECIDED, UNDECIDED, sentence,
        canonical=False,
    )  # fmt: skip


def _worst(verdicts: list[str]) -> str:
    for verdict in (BROKEN, UNDECIDED):
        if verdict in verdicts:
            return verdict
    return HOLDS


def _sentence(
    mean: BlockedMean,
    target: float,
    expected_std: float,
    mean_verdict: str,
    equipartition: str,
    elements: Mapping[str, BlockedMean],
    verdicts: Mapping[str, str],
    relaxations: float,
) -> str:
    off = mean.mean - target
    if relaxations < RELAXATIONS and mean_verdict == BROKEN:
        return (
            f"The mean temperature, {mean.mean:.1f} K, is off by {off:+.1f} K: {abs(off) / expected_std:.1f} standard "
            "deviations of a single sample, too much for a run of any length."
        )
    if relaxations < RELAXATIONS:
        return "The run is shorter than ten thermostat relaxation times: too short to judge its temperature."
    parts = []
    if mean_verdict == HOLDS:
        parts.append(f"the mean temperature, {mean.mean:.1f} ± {mean.error:.1f} K, agrees with the target")
    elif mean_verdict == BROKEN:
        error = f" ± {mean.error:.1f}" if np.isfinite(mean.error) else ""
        parts.append(f"the mean temperature is off by {off:+.1f}{error} K")
    else:
        parts.append("the mean temperature is not known well enough to judge")
    if equipartition == HOLDS:
        widest = max(element.bound() for element in elements.values())
        parts.append(f"every element has the target temperature (deviations of more than {widest:.0f} K would show)")
    elif equipartition == BROKEN:
        wrong = [
            f"{symbol} {elements[symbol].mean - target:+.1f} ± {elements[symbol].error:.1f} K"
            for symbol, verdict in verdicts.items()
            if verdict == BROKEN
        ]
        parts.append(f"equipartition is broken ({', '.join(wrong)})")
    else:
        parts.append("equipartition cannot be decided from so few independent samples")
    text = "; ".join(parts) + "."
    return text[0].upper() + text[1:]
