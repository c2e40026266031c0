"""The plots of a diagnosis."""

from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

from mdet_openmm.analysis.style import BLUE, GREEN, MUTED, ORANGE, RED, new_figure
from mdet_openmm.trust.study import KJ_NM_PER_KCAL_A, Study
from mdet_openmm.trust.verdicts import LAMBDA_RAISED, heating_budget

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, HALF = 11.0, 5.3
COLOURS = {"fp32": RED, "mixed": ORANGE, "double": BLUE}
MOST_ATOMS = 60


def frames_figure(study: Study) -> "Figure":
    """E_eq with each number of frames, beside that of the training."""
    figure = new_figure(HALF, 2.9)
    axes = figure.subplots()
    x = np.arange(len(study.frames))
    rows = list(study.frames.values())
    axes.errorbar(
        x, [r.used for r in rows], yerr=[3 * r.error for r in rows], fmt="o", color=BLUE, ms=7, label="as used"
    )
    axes.plot(x, [r.raw for r in rows], "_", color=ORANGE, ms=14, mew=2, label="as the network gives it")
    if study.training_e_eq is not None:
        axes.axhline(study.training_e_eq, color=MUTED, lw=1.2, ls=(0, (5, 3)), label="training, 1 frame")
    axes.set(xticks=x, xticklabels=list(study.frames), xlabel="frames", ylabel="E_eq / kcal/mol/Å")
    _log(axes, [r.used for r in rows] + [r.raw for r in rows])
    _legend(axes)
    return figure


def heating_figure(study: Study) -> "Figure":
    """Rise of each element's temperature with each number of frames, and the budget."""
    figure = new_figure(HALF, 2.9)
    axes = figure.subplots()
    x = np.arange(len(study.frames))
    elements = list(study.frames[1].heating.langevin)
    for k, element in enumerate(elements):
        colour = (BLUE, GREEN, RED, MUTED)[k % 4]
        values = [row.heating.langevin[element] for row in study.frames.values()]
        axes.plot(x, values, "o-", color=colour, lw=1.2, label=element)
    axes.axhline(heating_budget(study), color=ORANGE, lw=1.4, ls=(0, (5, 3)), label="budget")
    axes.set(xticks=x, xticklabels=list(study.frames), xlabel="frames", ylabel="rise / K")
    _log(axes, [v for row in study.frames.values() for v in row.heating.langevin.values()])
    _legend(axes)
    return figure


def symmetry_figure(study: Study) -> "Figure":
    """The 600-cell test, atom by atom."""
    figure = new_figure(WIDE, 3.2)
    top, bottom = figure.subplots(1, 2)
    shown = min(MOST_ATOMS, study.molecule.n_atoms)
    x = np.arange(shown)
    names = [f"{chemical_symbols[z]}{k + 1}" for k, z in enumerate(study.molecule.atomic_numbers[:shown])]
    for k, (precision, test) in enumerate(study.symmetry.items()):
        deviation = test.magnitude_variance.sqrt().numpy()[:shown] / KJ_NM_PER_KCAL_A
        style = {"color": COLOURS[precision], "ms": 9 - 2.5 * k, "label": precision}
        top.plot(x, deviation, "o", **style)
        bottom.plot(x, test.angle.numpy()[:shown], "o", **style)
    top.set(ylabel="std of |F| / kcal/mol/Å", ylim=(0, None))
    bottom.set(ylabel="mean angle / degrees", ylim=(0, None))
    for axes in (top, bottom):
        axes.set_xticks(x, names, rotation=90 if shown > 14 else 0, fontsize=9 if shown <= 30 else 6)
        axes.grid(False, axis="x")
    _legend(top)
    return figure


def loop_figure(study: Study) -> "Figure":
    """Work around loops, measured and predicted."""
    figure = new_figure(HALF, 2.9)
    axes = figure.subplots()
    for loop in study.loops:
        radius = 1e3 * loop.radius
        work, predicted = loop.work.abs().numpy(), loop.predicted.abs().numpy()
        axes.plot(np.full(len(work), radius), work, "o", color=BLUE, ms=5, alpha=0.55)
        axes.plot(np.full(len(predicted), radius * 1.12), predicted, "_", color=ORANGE, ms=9, mew=1.6)
    axes.plot([], [], "o", color=BLUE, label="line integral")
    axes.plot([], [], "_", color=ORANGE, ms=10, mew=1.6, label="area × antisymmetric part")
    axes.set(xscale="log", xlabel="radius per atom / pm", ylabel="|work| / kJ/mol")
    axes.set_xticks([1e3 * loop.radius for loop in study.loops], [f"{1e3 * loop.radius:g}" for loop in study.loops])
    axes.minorticks_off()
    _log(axes, [float(w) for loop in study.loops for w in loop.work.abs()])
    _legend(axes)
    return figure


def lambda_figure(study: Study) -> "Figure":
    """lambda of every structure, and where it counts as raised."""
    figure = new_figure(HALF, 2.9)
    axes = figure.subplots()
    for name, colour, label in (("raw", ORANGE, "as the network gives it"), ("used", BLUE, "as used")):
        each = study.lambdas[name].each
        axes.plot(np.arange(len(each)), each, "o", color=colour, ms=6, label=label)
    axes.axhline(LAMBDA_RAISED, color=RED, lw=1.2, ls=(0, (5, 3)), label="raised")
    axes.set(xlabel="structure", ylabel="λ", ylim=(0, None))
    axes.locator_params(axis="x", integer=True)
    _legend(axes)
    return figure


def _log(axes: "Axes", values: list[float]) -> None:
    """A logarithmic axis where all values allow one."""
    if values and min(values) > 0.0:
        axes.set_yscale("log")


def _legend(axes: "Axes") -> None:
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1, 1),
        frameon=False,
        fontsize=9,
        ncols=3,
        borderaxespad=0.1,
        handlelength=1.4,
    )
