"""The plots of a run of replicas."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.analysis.replica_study import ReplicaStudy
from mdet_openmm.analysis.style import BLUE, HALF, ORANGE, WIDE, legend, new_figure
from mdet_openmm.measure.between_replicas import density_with_error
from mdet_openmm.measure.temperature import expected_density
from mdet_openmm.simulation.log_file import TEMPERATURE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_PANELS = 6


def temperature_figure(study: ReplicaStudy, width: float = WIDE) -> "Figure":
    """Mean temperature of each replica with its own error, and beside it the distribution over all."""
    figure = new_figure(width, 3.1)
    left, right = figure.subplots(1, 2, width_ratios=(2.0, 1.4))
    each, mean = study.temperature.replicas, study.temperature.mean
    where = np.arange(len(each))
    errors = [one.error if np.isfinite(one.error) else 0.0 for one in each]
    left.errorbar(where, [one.mean for one in each], errors, fmt="o", ms=4, color=BLUE, lw=1.2, label="replicas")
    left.axhline(mean.mean, color=BLUE, lw=1.2, label="their mean")
    if np.isfinite(mean.error):
        left.axhspan(mean.mean - mean.error, mean.mean + mean.error, color=BLUE, alpha=0.15, lw=0)
    if study.canonical:
        left.axhline(study.summary["temperature_K"], color=ORANGE, lw=1.4, ls=(0, (5, 3)), label="target")
    left.set(xlabel="replica", ylabel="mean temperature / K")
    left.set_xticks(where, [name.removeprefix("replica-") for name in study.names], fontsize=8 if len(each) < 40 else 5)
    legend(left)
    series = [run.log[TEMPERATURE] for run in study.runs]
    edges = np.linspace(0.0, max(float(x.max()) for x in series) * 1.02, 40)
    _band(right, series, edges)
    if study.canonical:
        grid = np.linspace(1e-6, edges[-1], 300)
        expected = expected_density(grid, study.summary["temperature_K"], int(study.summary["degrees_of_freedom"]))
        right.plot(grid, expected, color=ORANGE, lw=1.6, label="expected")
    right.set(xlabel="temperature / K", ylabel="density / K⁻¹", ylim=(0, None))
    legend(right)
    return figure


def bonds_figure(study: ReplicaStudy, width: float = HALF) -> "Figure":
    """Distributions of bond lengths by type."""
    kinds = study.coordinates.by_type(study.coordinates.bonds)
    low = min(float(x.min()) for x in study.lengths) - 0.03
    high = max(float(x.max()) for x in study.lengths) + 0.03
    series = {kind: [x[:, columns].ravel() for x in study.lengths] for kind, columns in kinds.items()}
    return _panels(series, np.linspace(low, high, 80), "bond length / Å", width)


def dihedrals_figure(study: ReplicaStudy, width: float = HALF) -> "Figure":
    """Distributions of dihedrals by type."""
    kinds = study.coordinates.by_type(study.coordinates.dihedrals)
    series = {kind: [x[:, columns].ravel() for x in study.dihedrals] for kind, columns in kinds.items()}
    return _panels(series, np.linspace(-180.0, 180.0, 73), "dihedral / °", width)


def _panels(
    series: dict[str, list[NDArray[np.float64]]], edges: NDArray[np.float64], xlabel: str, width: float
) -> "Figure":
    shown = list(series.items())[:MOST_PANELS]
    figure = new_figure(width, 0.7 + 1.0 * len(shown))
    panels = np.atleast_1d(figure.subplots(len(shown), 1, sharex=True))
    for axes, (kind, values) in zip(panels, shown, strict=True):
        _band(axes, values, edges)
        axes.set(ylabel=kind, yticks=[], ylim=(0, None))
    panels[-1].set(xlabel=xlabel, xlim=(edges[0], edges[-1]))
    return figure


def _band(axes: "object", series: list[NDArray[np.float64]], edges: NDArray[np.float64]) -> None:
    density, error = density_with_error(series, edges)
    centres = 0.5 * (edges[1:] + edges[:-1])
    axes.plot(centres, density, color=BLUE, lw=1.4, label="mean")  # type: ignore[attr-defined]
    if np.isfinite(error).all():
        low, high = np.clip(density - 2.0 * error, 0.0, None), density + 2.0 * error
        axes.fill_between(centres, low, high, color=BLUE, alpha=0.25, lw=0, label="± 2 errors")  # type: ignore[attr-defined]
