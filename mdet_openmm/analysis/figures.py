"""The plots of the report, drawn once for both the PNG files and the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.analysis.energy import EnergyResult
from mdet_openmm.analysis.style import BLUE, GREEN, GRID, HALF, MUTED, ORANGE, RED, WIDE, legend, new_figure
from mdet_openmm.measure.pair_distances import CENTRES
from mdet_openmm.measure.temperature import TemperatureResult, expected_density

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEWEST_FOR_HISTOGRAM = 20
MOST_ROWS = 14
MOST_POINTS = 1500


@dataclass(frozen=True)
class Row:
    """One distribution in a figure of several.

    Attributes
    ----------
    label
        What it is the distribution of.
    values
        (k,) of this run.
    reference
        (k,) of the reference, or None.
    text
        Mean and spread, as they are to be printed.
    """

    label: str
    values: NDArray[np.float64]
    reference: NDArray[np.float64] | None
    text: str


def thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most about 1500 points that keep the lowest and highest value of each stretch."""
    if len(x) <= MOST_POINTS:
        return x, y
    length = -(-2 * len(x) // MOST_POINTS)
    keep = []
    for start in range(0, len(x), length):
        part = y[start : start + length]
        keep += sorted({start + int(np.argmin(part)), start + int(np.argmax(part))})
    return x[keep], y[keep]


def temperature_figure(times: NDArray[np.float64], series: NDArray[np.float64], result: TemperatureResult) -> "Figure":
    """Temperature over time, and beside it its distribution with the canonical one."""
    figure = new_figure(WIDE, 3.1)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2.6, 1), gridspec_kw={"wspace": 0.04})
    left.plot(*thinned(times, series), color=BLUE, lw=0.7, alpha=0.55, label="single values")
    window = max(1, len(series) // 50)
    if window > 2:
        running = np.convolve(series, np.ones(window) / window, mode="valid")
        middle = times[window // 2 : window // 2 + len(running)]
        left.plot(*thinned(middle, running), color=BLUE, lw=1.8, label="running mean")
    left.axhline(result.target, color=ORANGE, lw=1.4, ls=(0, (5, 3)), label="target" if result.canonical else "mean")
    left.set(xlabel="time / ps", ylabel="temperature / K", xlim=_span(times))
    low = min(series.min(), result.target - 3.2 * result.expected_std)
    high = max(series.max(), result.target + 3.6 * result.expected_std)
    low, high = max(0.0, low - 0.03 * (high - low)), high + 0.03 * (high - low)
    left.set_ylim(low, high)
    legend(left)
    grid = np.linspace(max(low, 1e-6), high, 300)
    if len(series) >= FEWEST_FOR_HISTOGRAM:
        bins = int(np.clip(np.sqrt(len(series)) * 0.8, 8, 50))
        right.hist(series, bins=bins, density=True, orientation="horizontal", color=BLUE, alpha=0.35, label="this run")
    else:
        right.hlines(series, 0, 0.0006, color=BLUE, lw=1.2, label="this run")
    if result.canonical:
        density = expected_density(grid, result.target, result.degrees_of_freedom)
        right.plot(density, grid, color=ORANGE, lw=1.8, label="expected")
    right.set(xlabel="probability density", xticks=[], xlim=(0, None))
    right.tick_params(axis="y", length=0)
    legend(right)
    return figure


def equipartition_figure(result: TemperatureResult, width: float = HALF) -> "Figure":
    """Mean temperature of each element with its error bars, against the target; no bar ends where the axis does.

    Intervals of a few samples may reach far beyond what there is to see, and below zero: they end in an arrow.
    """
    figure = new_figure(width, 1.2 + 0.42 * len(result.elements))
    axes = figure.subplots()
    axes.axvline(result.target, color=ORANGE, lw=1.4, ls=(0, (5, 3)), label="target" if result.canonical else "all")
    means = [element.mean for element in result.elements.values()]
    errors = [_finite(element.error) for element in result.elements.values()]
    bounds = [_finite(element.bound()) for element in result.elements.values()]
    low, high = bar_limits(result.target, means, errors, bounds)
    for i, (mean, error, bound) in enumerate(zip(means, errors, bounds, strict=True)):
        ends = max(mean - bound, low), min(mean + bound, high)
        axes.plot(ends, [i, i], color=BLUE, lw=1.2, alpha=0.6, label="three sigma" if i == 0 else None)
        for end, beyond, marker in ((low, mean - bound < low, "<"), (high, mean + bound > high, ">")):
            if beyond:
                axes.plot(end, i, marker, color=BLUE, ms=6, alpha=0.6, clip_on=False)
        own = max(mean - error, low), min(mean + error, high)
        axes.plot(own, [i, i], color=BLUE, lw=4, solid_capstyle="butt", label="standard error" if i == 0 else None)
        axes.plot(mean, i, "o", color=BLUE, ms=8, label="mean" if i == 0 else None)
    axes.set(
        yticks=range(len(means)),
        yticklabels=list(result.elements),
        ylim=(len(means) - 0.4, -0.6),
        xlim=(low, high),
        xlabel="temperature / K",
    )
    axes.tick_params(axis="y", length=0, pad=9)  # room for an arrow
    axes.grid(False, axis="y")
    legend(axes)
    return figure


def bar_limits(
    target: float, means: Sequence[float], errors: Sequence[float], bounds: Sequence[float]
) -> tuple[float, float]:
    """Ends of an axis of temperatures that has room for all means and standard errors, and is nowhere negative.

    Wider intervals have room too, unless what there is to see would shrink to less than two fifths of the axis.
    """
    half = max(abs(m - target) + 1.2 * e for m, e in zip(means, errors, strict=True))
    half = max(half, 0.05 * target)
    below = max(target - m + b for m, b in zip(means, bounds, strict=True))
    above = max(m + b - target for m, b in zip(means, bounds, strict=True))
    low, high = target - min(max(below, half), 2.5 * half), target + min(max(above, half), 2.5 * half)
    margin = 0.05 * (high - low)
    return max(0.0, low - margin), high + margin


def _finite(value: float) -> float:
    return value if np.isfinite(value) else 0.0


def energy_figure(result: EnergyResult) -> "Figure":
    """Total energy over time with its line, between the fluctuations of the kinetic energy."""
    figure = new_figure(WIDE, 3.1)
    axes = figure.subplots()
    axes.axhspan(-result.kinetic_std, result.kinetic_std, color=GRID, lw=0, label="± std of kinetic")
    axes.plot(*thinned(result.times, result.kinetic), color=MUTED, lw=0.6, alpha=0.5, label="kinetic")
    if len(result.total):
        axes.plot(*thinned(result.total_times, result.total), color=BLUE, lw=1.2, label=f"total ({result.source})")
        line = (result.drift or 0.0) * (result.total_times - result.total_times.mean())
        axes.plot(result.total_times, line, color=ORANGE, lw=1.4, ls=(0, (5, 3)), label="drift")
    axes.set(xlabel="time / ps", ylabel="energy / meV per atom", xlim=_span(result.times))
    legend(axes)
    return figure


def distribution_figure(
    rows: Sequence[Row],
    xlabel: str,
    limits: tuple[float, float],
    ticks: Sequence[float] | None = None,
    width: float = HALF,
) -> "Figure":
    """One distribution above the other on a common axis; each is scaled to its own height."""
    shown = rows[:MOST_ROWS]
    compared = any(row.reference is not None for row in shown)
    figure = new_figure(width, 0.7 + 0.52 * len(shown) + (0.25 if compared else 0.0))
    axes = figure.subplots()
    low, high = limits
    for i, row in enumerate(shown):
        base = len(shown) - 1 - i
        axes.axhline(base, color=GRID, lw=0.8, zorder=0)
        _ridge(axes, row, base, low, high)
        axes.text(
            1.01, base + 0.22, row.text, transform=axes.get_yaxis_transform(), fontsize=9, color=MUTED, va="center"
        )
    axes.set(
        yticks=[len(shown) - 1 - i + 0.22 for i in range(len(shown))],
        yticklabels=[row.label for row in shown],
        ylim=(-0.06, len(shown) - 0.02),
        xlim=limits,
        xlabel=xlabel,
    )
    if ticks is not None:
        axes.set_xticks(list(ticks))
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    if compared:
        axes.plot([], [], color=BLUE, lw=5, alpha=0.5, label="this run")
        axes.plot([], [], color=ORANGE, lw=1.6, label="reference")
        legend(axes)
    return figure


def _ridge(axes: "Axes", row: Row, base: float, low: float, high: float) -> None:
    if len(row.values) < FEWEST_FOR_HISTOGRAM:
        axes.vlines(row.values, base, base + 0.35, color=BLUE, lw=1.4)
        return
    quartiles = np.percentile(row.values, [25, 75])
    width = 2 * max(float(quartiles[1] - quartiles[0]), 1e-9) / len(row.values) ** (1 / 3)
    width = float(np.clip(width, (high - low) / 300, (high - low) / 40))
    edges = np.linspace(low, high, round((high - low) / width) + 1)
    own = np.histogram(row.values, bins=edges)[0] / len(row.values)
    other = None
    if row.reference is not None and len(row.reference) >= FEWEST_FOR_HISTOGRAM:
        other = np.histogram(row.reference, bins=edges)[0] / len(row.reference)
    top = max(own.max(), 0.0 if other is None else other.max(), 1e-12) / 0.86
    axes.stairs(base + own / top, edges, baseline=base, fill=True, color=BLUE, alpha=0.35, lw=0)
    axes.stairs(np.where(own > 0, base + own / top, np.nan), edges, baseline=None, color=BLUE, lw=1.0)
    if other is not None:
        axes.stairs(np.where(other > 0, base + other / top, np.nan), edges, baseline=None, color=ORANGE, lw=1.4)


def pair_figure(density: NDArray[np.float64], reference: NDArray[np.float64] | None) -> "Figure":
    """h(r), and the difference from the reference below it."""
    figure = new_figure(WIDE, 2.8 if reference is None else 4.0)
    if reference is None:
        top = figure.subplots()
        bottom = top
    else:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1), gridspec_kw={"hspace": 0.08})
    top.fill_between(CENTRES, density, step="mid", color=BLUE, alpha=0.3, lw=0)
    top.step(CENTRES, density, where="mid", color=BLUE, lw=1.2, label="this run")
    if reference is not None:
        top.step(CENTRES, reference, where="mid", color=ORANGE, lw=1.2, label="reference")
        bottom.axhline(0, color=GRID, lw=0.8)
        bottom.step(CENTRES, density - reference, where="mid", color=MUTED, lw=1.0)
        bottom.set_ylabel("difference")
    legend(top)
    present = np.flatnonzero(density if reference is None else density + reference)
    if len(present):
        top.set_xlim(max(0.0, CENTRES[present[0]] - 0.3), min(10.0, CENTRES[present[-1]] + 0.3))
    top.set(ylabel="h(r) / Å⁻¹", ylim=(0, None))
    bottom.set_xlabel("distance r / Å")
    return figure


def rmsd_figure(times: NDArray[np.float64], rmsd: NDArray[np.float64], width: float = HALF) -> "Figure":
    """RMSD from the first frame over time."""
    figure = new_figure(width, 2.5)
    axes = figure.subplots()
    axes.plot(*thinned(times, rmsd), color=BLUE, lw=0.8, label="all atoms")
    legend(axes)
    axes.set(xlabel="time / ps", ylabel="RMSD / Å", ylim=(0, None), xlim=_span(times))
    return figure


def stretch_figure(
    times: NDArray[np.float64], deviation: NDArray[np.float64], threshold: float, width: float = HALF
) -> "Figure":
    """Largest bond deviation over time, with the threshold of a collapse."""
    figure = new_figure(width, 2.7)
    axes = figure.subplots()
    axes.plot(*thinned(times, deviation), color=GREEN, lw=0.8, label="of all bonds")
    axes.axhline(threshold, color=RED, lw=1.4, ls=(0, (5, 3)), label="collapse")
    legend(axes)
    top = max(1.25 * threshold, min(float(deviation.max()), 6 * threshold) * 1.05)  # a broken bond runs off the plot
    axes.set(xlabel="time / ps", ylabel="largest deviation / Å", ylim=(0, top), xlim=_span(times))
    return figure


def _span(times: NDArray[np.float64]) -> tuple[float, float]:
    return float(times[0]), float(max(times[-1], times[0] + 1e-9))
