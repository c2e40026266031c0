"""Plots of runs at constant energy: temperature and energy against time, and drift against size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.analysis.figures import WIDE, thinned
from mdet_openmm.analysis.style import BLUE, GREEN, INK, MUTED, ORANGE, RED, as_png, drawing, new_figure
from mdet_openmm.studies.estimate import Estimate
from mdet_openmm.studies.table import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (BLUE, ORANGE, GREEN, RED, "#7a4fc4", "#0f8ea8", "#b0307f", "#8a7015", INK, MUTED)
MARKERS = {"alkane": "o", "branched": "s", "cumulene": "^", "given": "D"}
ACROSS = 3
RUNNING_MEAN_PS = 0.1
"""Averages out the vibrations, which are not what the plot is about."""

Series = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Times in ps and values, each (k,)."""


@dataclass(frozen=True)
class Curve:
    """What is drawn of one run: its temperature in K, and its total energy in meV per atom where there is one."""

    temperature: Series
    energy: Series | None


def curves_against_time(runs: Mapping[str, Sequence[Curve]]) -> bytes:
    """Temperature, and change of the energy where there is one, against time; PNG.

    Parameters
    ----------
    runs
        Condition → its runs, a colour each; a column of panels for each condition, all with the same limits.
    """
    with drawing():
        return as_png(_curves(runs))


def _curves(runs: Mapping[str, Sequence[Curve]]) -> "Figure":
    energies = any(curve.energy is not None for members in runs.values() for curve in members)
    kinds = 2 if energies else 1
    across = min(ACROSS, len(runs))
    down = -(-len(runs) // across)
    figure = new_figure(max(5.0, WIDE * across / ACROSS), 2.2 * kinds * down)
    axes = figure.subplots(kinds * down, across, squeeze=False, sharex=True)
    shown: tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]] = ([], [])
    for place, (name, members) in enumerate(runs.items()):
        row, column = divmod(place, across)
        axes[kinds * row][column].set_title(name, fontsize=10, loc="left")
        for curve, colour in zip(members, COLOURS * len(members), strict=False):
            for kind, series in enumerate((curve.temperature, curve.energy)[:kinds]):
                if series is not None and np.isfinite(series[1]).any():
                    times, values = _smooth(*series)
                    values = values - values[0] if kind else values
                    axes[kinds * row + kind][column].plot(*thinned(times, values), color=colour, lw=0.9)
                    shown[kind].append(values)
    for place in range(down * across):
        row, column = divmod(place, across)
        for kind in range(kinds):
            panel = axes[kinds * row + kind][column]
            panel.set_visible(place < len(runs))
            _limit(panel, shown[kind])
            if column == 0:
                panel.set_ylabel(("temperature / K", "ΔE / meV per atom")[kind])
        axes[kinds * row + kinds - 1][column].tick_params(labelbottom=True)
        axes[kinds * row + kinds - 1][column].set_xlabel("time / ps")
    return figure


def _smooth(times: NDArray[np.float64], values: NDArray[np.float64]) -> Series:
    """Running means over 0.1 ps, of the values that there are."""
    keep = np.isfinite(values)
    times, values = times[keep], values[keep]
    spacing = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    window = min(max(1, round(RUNNING_MEAN_PS / spacing)), max(1, len(times) // 4))
    kernel = np.ones(window) / window
    return np.convolve(times, kernel, mode="valid"), np.convolve(values, kernel, mode="valid")


def _limit(axes: "Axes", shown: Sequence[NDArray[np.float64]]) -> None:
    """The same limits in every panel, so that conditions can be compared; one that explodes runs off the plot."""
    if shown:
        low, high = np.median([v.min() for v in shown]), np.median([v.max() for v in shown])
        reach = 3.0 * max(high - low, 1e-9)  # three times the range of a common run
        bottom = max(min(v.min() for v in shown), low - reach)
        top = min(max(v.max() for v in shown), high + reach)
        margin = 0.06 * max(top - bottom, 1e-6)
        axes.set_ylim(bottom - margin, top + margin)


def drift_against_size(rows: Sequence[Mapping[str, Cell]], key: str, label: str) -> bytes:
    """Size of a drift against the number of atoms, a panel for each condition; open marks lost bonds; PNG.

    Parameters
    ----------
    rows
        Of :func:`mdet_openmm.studies.nve_table.rows_of`.
    key
        Of the estimate to draw.
    label
        Of the axis.
    """
    with drawing():
        return as_png(_drift_against_size(rows, key, label))


def _drift_against_size(rows: Sequence[Mapping[str, Cell]], key: str, label: str) -> "Figure":
    conditions = list(dict.fromkeys(str(row["condition"]) for row in rows))
    across = min(ACROSS, len(conditions))
    down = -(-len(conditions) // across)
    figure = new_figure(max(5.0, WIDE * across / ACROSS), 3.2 * down)
    axes: Any = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    kinds = list(dict.fromkeys(str(row["kind"]) for row in rows))
    for place, panel in enumerate(axes.flat):
        if place >= len(conditions):
            panel.set_visible(False)
            continue
        panel.set_title(conditions[place], fontsize=10, loc="left")
        panel.set(xlabel="atoms", yscale="symlog")
        for kind, colour in zip(kinds, COLOURS, strict=False):
            for row in rows:
                value = row.get(key)
                if row["condition"] != conditions[place] or row["kind"] != kind or not isinstance(value, Estimate):
                    continue
                whole = str(row["kept"]).split(" of ")
                panel.errorbar(
                    [row["atoms"]],
                    [value.mean],
                    yerr=None if not np.isfinite(value.error) else [value.error],
                    fmt=MARKERS.get(kind, "o"),
                    color=colour,
                    mfc=colour if whole[0] == whole[1] else "white",
                    ms=6,
                )
            panel.plot([], [], MARKERS.get(kind, "o"), color=colour, label=kind)
        panel.axhline(0.0, color=MUTED, lw=0.8)
    axes[0][0].set_ylabel(label)
    if len(kinds) > 1:
        # below all panels, where no title is
        marks, names = axes[0][0].get_legend_handles_labels()
        figure.legend(marks, names, loc="outside lower center", frameon=False, fontsize=9, ncols=len(kinds))
    return figure
