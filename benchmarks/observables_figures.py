"""The figures of docs/observables.md."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from observables_scan import Scan

from mdet_openmm.analysis.style import BLUE, GREEN, GRID, MUTED, ORANGE, new_figure
from mdet_openmm.measure.infrared import InfraredSpectrum
from mdet_openmm.measure.vibrations import Spectrum

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RIGHT = 4170.0


def ethanol_figure(
    vibrations: tuple[Spectrum, Spectrum], infrared: tuple[InfraredSpectrum, InfraredSpectrum, InfraredSpectrum]
) -> "Figure":
    """Teacher and model: density of states above, infrared spectrum below.

    Parameters
    ----------
    vibrations
        Teacher, model.
    infrared
        Teacher; the model's dipoles on the teacher's trajectory; the model's on its own.
    """
    figure = new_figure(11.0, 6.2)
    top, bottom = figure.subplots(2, 1, sharex=True)
    teacher, model = vibrations
    top.fill_between(teacher.wavenumber, 1e3 * teacher.density, color=ORANGE, alpha=0.25, lw=0)
    top.plot(teacher.wavenumber, 1e3 * teacher.density, color=ORANGE, lw=1.2, label="GFN2-xTB")
    top.plot(model.wavenumber, 1e3 * model.density, color=BLUE, lw=1.2, label="model")
    top.set(ylabel="modes per 1000 cm⁻¹", ylim=(0, None), xlim=(0, RIGHT))
    own, crossed, ours = infrared
    bottom.fill_between(own.wavenumber, 1e3 * own.intensity, color=ORANGE, alpha=0.25, lw=0)
    bottom.plot(own.wavenumber, 1e3 * own.intensity, color=ORANGE, lw=1.2, label="GFN2-xTB, its own dipoles")
    bottom.plot(
        crossed.wavenumber, 1e3 * crossed.intensity, color=GREEN, lw=1.0, label="model's dipoles, GFN2-xTB's dynamics"
    )
    bottom.plot(ours.wavenumber, 1e3 * ours.intensity, color=BLUE, lw=1.2, label="model, its own dynamics")
    bottom.set(xlabel="wavenumber / cm⁻¹", ylabel="infrared intensity / 10⁻³ cm", ylim=(0, None))
    for axes in (top, bottom):
        axes.legend(frameon=False, fontsize=9)
    return figure


def butane_figure(
    rigid: Scan, relaxed: Scan, edges: NDArray[np.float64], teacher: NDArray[np.float64], model: NDArray[np.float64]
) -> "Figure":
    """Torsion scans, and the distribution of the dihedral with its error bars.

    Parameters
    ----------
    rigid, relaxed
        Paths of rigid and relaxed geometries.
    edges
        (b + 1,) of the bins of the dihedral's absolute value, degrees.
    teacher, model
        (runs, b) fraction per bin of each run.
    """
    figure = new_figure(11.0, 3.8)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.15, 1, 1.15))
    for axes, scan, title in ((left, rigid, "rigid, once around"), (middle, relaxed, "relaxed by GFN2-xTB")):
        axes.plot(scan.angles, scan.teacher, color=ORANGE, lw=4, alpha=0.4, label="GFN2-xTB, energy")
        axes.plot(scan.angles, scan.teacher_work, color=ORANGE, lw=1, ls=(0, (4, 2)), label="GFN2-xTB, −work")
        axes.plot(scan.angles, scan.model_work, color=BLUE, lw=1.6, label="model, −work")
        axes.set_title(title, fontsize=10, loc="left")
        axes.set(xlabel="C–C–C–C dihedral / °", ylabel="kcal/mol")
    left.set_xticks([180, 240, 300, 360, 420, 480, 540], ["180", "−120", "−60", "0", "60", "120", "180"])
    left.legend(frameon=False, fontsize=8)
    centres = (edges[1:] + edges[:-1]) / 2
    for values, colour, shift, label in ((teacher, ORANGE, -1.2, "GFN2-xTB"), (model, BLUE, 1.2, "model")):
        error = values.std(axis=0, ddof=1) / len(values) ** 0.5
        mean = values.mean(axis=0)
        right.stairs(mean, edges, color=colour, lw=1.0, alpha=0.6)
        right.errorbar(centres + shift, mean, error, fmt="o", ms=3, color=colour, lw=1.0, label=label)
    right.set(xlabel="|dihedral| / °, 500 K", ylabel="fraction", ylim=(0, None))
    right.legend(frameon=False, fontsize=9)
    return figure


def drift_figure(runs: dict[str, Any], floor: dict[str, float]) -> "Figure":
    """Error of each observable in stretches of 2 ps, against the energy that the run has gained by then."""
    figure = new_figure(11.0, 3.8)
    panels = figure.subplots(1, 3)
    names = (("vdos", "error of the density of states"), ("h_r", "error of h(r)"), ("temperature_K", "temperature / K"))
    for axes, (key, label) in zip(panels, names, strict=True):
        for name, run in runs.items():
            gained = [w["gained_meV_per_atom"] for w in run["windows"]]
            shipped = name.startswith("mdet")
            axes.plot(
                gained,
                [w[key] for w in run["windows"]],
                "o-",
                ms=3,
                lw=0.8,
                color=BLUE if shipped else MUTED,
                label="mdet-gfn2-mini" if shipped else "small networks (pairs)",
            )
        if key in floor:
            axes.axhspan(0, floor[key], color=GRID, lw=0)
        axes.set(xlabel="gained energy / meV per atom", ylabel=label)
    handles, labels = panels[0].get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    panels[0].legend(unique.values(), unique.keys(), frameon=False, fontsize=9)
    return figure
