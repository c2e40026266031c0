"""The plots of a diagnosis."""

from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

from mdet_openmm.analysis.style import BLUE, GREEN, HALF, MUTED, ORANGE, RED, WIDE, legend, logarithmic, new_figure
from mdet_openmm.trust.diagnosis import KJ_NM_PER_KCAL_A, Diagnosis
from mdet_openmm.trust.verdicts import LAMBDA_RAISED, heating_budget
from mdet_openmm.units import BOLTZMANN_KJ_PER_MOL_K

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"fp32": RED, "mixed": ORANGE, "double": BLUE}
MOST_ATOMS = 60


def orientations_figure(diagnosis: Diagnosis, width: float = HALF) -> "Figure":
    """E_eq with each number of orientations, beside that of the training."""
    figure = new_figure(width, 2.9)
    axes = figure.subplots()
    x = np.arange(len(diagnosis.orientations))
    rows = list(diagnosis.orientations.values())
    axes.errorbar(
        x, [r.used for r in rows], yerr=[3 * r.error for r in rows], fmt="o", color=BLUE, ms=7, label="as used"
    )
    axes.plot(x, [r.raw for r in rows], "_", color=ORANGE, ms=14, mew=2, label="as the network gives it")
    if diagnosis.training_e_eq is not None:
        axes.axhline(diagnosis.training_e_eq, color=MUTED, lw=1.2, ls=(0, (5, 3)), label="training, 1 orientation")
    axes.set(xticks=x, xticklabels=list(diagnosis.orientations), xlabel="orientations", ylabel="E_eq / kcal/mol/Å")
    lowest = [r.used - 3 * r.error for r in rows if r.used > 3 * r.error]
    training = [diagnosis.training_e_eq] if diagnosis.training_e_eq else []
    logarithmic(axes, [r.used + 3 * r.error for r in rows] + [r.raw for r in rows] + lowest + training)
    legend(axes)
    return figure


def heating_figure(diagnosis: Diagnosis, width: float = HALF) -> "Figure":
    """Rise of each element's temperature with each number of orientations, and the budget."""
    figure = new_figure(width, 2.9)
    axes = figure.subplots()
    x = np.arange(len(diagnosis.orientations))
    elements = list(diagnosis.orientations[1].heating.langevin)
    for k, element in enumerate(elements):
        colour = (BLUE, GREEN, RED, MUTED)[k % 4]
        values = [row.heating.langevin[element] for row in diagnosis.orientations.values()]
        axes.plot(x, values, "o-", color=colour, lw=1.2, label=element)
    axes.axhline(heating_budget(diagnosis), color=ORANGE, lw=1.4, ls=(0, (5, 3)), label="budget")
    axes.set(xticks=x, xticklabels=list(diagnosis.orientations), xlabel="orientations", ylabel="rise / K")
    values = [v for row in diagnosis.orientations.values() for v in row.heating.langevin.values()]
    logarithmic(axes, [*values, heating_budget(diagnosis)])
    legend(axes)
    return figure


def symmetry_figure(diagnosis: Diagnosis) -> "Figure":
    """The 600-cell test, atom by atom."""
    figure = new_figure(WIDE, 3.2)
    top, bottom = figure.subplots(1, 2)
    shown = min(MOST_ATOMS, diagnosis.molecule.n_atoms)
    x = np.arange(shown)
    names = [f"{chemical_symbols[z]}{k + 1}" for k, z in enumerate(diagnosis.molecule.atomic_numbers[:shown])]
    for k, (precision, test) in enumerate(diagnosis.symmetry.items()):
        deviation = test.magnitude_variance.sqrt().numpy()[:shown] / KJ_NM_PER_KCAL_A
        style = {"color": COLOURS[precision], "ms": 9 - 2.5 * k, "label": precision}
        top.plot(x, deviation, "o", **style)
        bottom.plot(x, test.angle.numpy()[:shown], "o", **style)
    top.set(ylabel="std of |F| / kcal/mol/Å")
    bottom.set(ylabel="mean angle / degrees")
    for axes in (top, bottom):
        axes.set_ylim(0, 1.1 * axes.dataLim.y1 or 1.0)
        axes.set_xticks(x, names, rotation=90 if shown > 14 else 0, fontsize=9 if shown <= 30 else 6)
        axes.grid(False, axis="x")
        legend(axes)
    return figure


def loop_figure(diagnosis: Diagnosis, width: float = HALF) -> "Figure":
    """Work around loops, measured and predicted."""
    figure = new_figure(width, 2.9)
    axes = figure.subplots()
    for loop in diagnosis.loops:
        radius = 1e3 * loop.radius
        work, predicted = loop.work.abs().numpy(), loop.predicted.abs().numpy()
        axes.plot(np.full(len(work), radius), work, "o", color=BLUE, ms=5, alpha=0.55)
        axes.plot(np.full(len(predicted), radius * 1.12), predicted, "_", color=ORANGE, ms=9, mew=1.6)
    axes.plot([], [], "o", color=BLUE, label="line integral")
    axes.plot([], [], "_", color=ORANGE, ms=10, mew=1.6, label="area × antisymmetric part")
    thermal = BOLTZMANN_KJ_PER_MOL_K * diagnosis.settings.temperature
    axes.axhline(thermal, color=MUTED, lw=1.2, ls=(0, (5, 3)), label="k_B T")
    axes.set(xscale="log", xlabel="radius per atom / pm", ylabel="|work| / kJ/mol")
    axes.set_xticks(
        [1e3 * loop.radius for loop in diagnosis.loops], [f"{1e3 * loop.radius:g}" for loop in diagnosis.loops]
    )
    axes.minorticks_off()
    logarithmic(
        axes, [float(w) for loop in diagnosis.loops for w in (*loop.work.abs(), *loop.predicted.abs())] + [thermal]
    )
    legend(axes)
    return figure


def lambda_figure(diagnosis: Diagnosis, width: float = HALF) -> "Figure":
    """lambda of every structure, and where it counts as raised."""
    figure = new_figure(width, 2.9)
    axes = figure.subplots()
    for name, colour, label in (("raw", ORANGE, "as the network gives it"), ("used", BLUE, "as used")):
        each = diagnosis.lambdas[name].each
        axes.plot(np.arange(1, len(each) + 1), each, "o", color=colour, ms=6, label=label)
    axes.axhline(LAMBDA_RAISED, color=RED, lw=1.2, ls=(0, (5, 3)), label="raised")
    axes.set(xlabel="structure", ylabel="λ", ylim=(0, 1.1 * max(LAMBDA_RAISED, *diagnosis.lambdas["raw"].each)))
    axes.locator_params(axis="x", integer=True)
    legend(axes)
    return figure
