"""The page of an evaluation."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

import mdet_openmm
from mdet_openmm.analysis.page import BAD, GOOD, Card, Page, Plot, Table, Verdict, layout
from mdet_openmm.analysis.style import (
    BLUE,
    GREEN,
    HALF,
    MUTED,
    ORANGE,
    RED,
    WIDE,
    as_inline_svg,
    drawing,
    legend,
    new_figure,
)
from mdet_openmm.digits import shown
from mdet_openmm.evaluation.chunks import POINTS, Array
from mdet_openmm.evaluation.tally import Frames, Tally, about_each_molecule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS: Final = (BLUE, ORANGE, GREEN, RED)
MOST_ROWS: Final = 60
"""Of a table on the page; the JSON file has all."""
_COLUMNS: Final = {
    "force_mae_meV_A": "force MAE / meV/Å",
    "force_rmse_meV_A": "force RMSE / meV/Å",
    "energy_mae_meV_atom": "energy MAE / meV/atom",
    "energy_rmse_meV_atom": "energy RMSE / meV/atom",
    "relative_energy_mae_meV_atom": "about the molecule's mean: MAE",
    "relative_energy_rmse_meV_atom": "RMSE",
    "e_eq_kcal_mol_A": "E_eq / kcal/mol/Å",
    "lambda": "λ",
}


def make_page(numbers: dict[str, Any], tallies: Sequence[Tally], frames: Frames) -> Page:
    """The page.

    Parameters
    ----------
    numbers
        What stands in the JSON file.
    tallies
        Of each method.
    frames
        That were evaluated.
    """
    methods, data = numbers["methods"], numbers["data"]
    model = methods[0]
    return Page(
        title=f"{model['name']} on {data['file']}",
        subtitle=f"Errors against {data['teacher']}",
        depiction=None,
        facts=[
            ("Frames", str(data["frames"])),
            ("Molecules", str(data["molecules"])),
            ("Splits", ", ".join(model["by_split"])),
            ("Orientations", str(numbers["settings"]["orientations"])),
        ],
        verdicts=[_answered(method) for method in methods],
        cards=[
            Card("Force MAE", shown(model["force_mae_meV_A"]), "meV/Å", "per component"),
            Card("Force RMSE", shown(model["force_rmse_meV_A"]), "meV/Å"),
            Card("Energy MAE", shown(model["relative_energy_mae_meV_atom"]), "meV/atom", "about each molecule's mean"),
            Card("E_eq", shown(model["e_eq_kcal_mol_A"]), "kcal/mol/Å", "spread over orientations"),
            Card("λ", shown(model["lambda"]), "", "0 for forces with an energy"),
        ],
        plots=_plots(methods, tallies, frames),
        tables=_tables(methods),
        notes=[
            "Direct forces have their net force and torque removed, as in a run.",
            "Energies about the mean: the mean error of each molecule, a constant that dynamics does not know, is taken"
            " out. Of a molecule with one frame there is none.",
        ],
        footer=f"mdet-openmm {mdet_openmm.__version__}",
    )


def _answered(method: dict[str, Any]) -> Verdict:
    missing = method["without_answer"]
    if missing:
        return Verdict(BAD, f"{method['name']} has no answer for {missing} frames: {method['first_failure']}")
    return Verdict(GOOD, f"{method['name']} has an answer for every frame.")


def _plots(methods: Sequence[dict[str, Any]], tallies: Sequence[Tally], frames: Frames) -> list[Plot]:
    names = [method["name"] for method in methods]
    forces = [(tally.points[:, 0], tally.points[:, 1]) for tally in tallies]
    energies = [_relative_energies(tally, frames) for tally in tallies]
    planned: list[tuple[str, str, Callable[[float], Figure]]] = [
        (
            "Forces",
            f"Components of the force in eV/Å, drawn evenly from all frames ({len(forces[0][0])} points).",
            lambda width: _parity(names, forces, "eV/Å", width),
        )
    ]
    if any(len(x) for x, _ in energies):
        caption = "Energies in eV about the mean of each molecule, of molecules with more than one frame."
        planned.append(("Energies", caption, lambda width: _parity(names, energies, "eV", width)))
    planned.append(("Elements", "MAE of the force on each.", lambda width: _bars(methods, "by_element", width)))
    if len(methods[0]["by_temperature"]) > 1:
        caption = "MAE of forces by the temperature, in K, of the dynamics that frames come from."
        planned.append(("Temperatures", caption, lambda width: _bars(methods, "by_temperature", width)))
    with drawing():
        return [
            Plot(title, caption, as_inline_svg(draw(WIDE if wide else HALF), title), wide)
            for (title, caption, draw), wide in zip(planned, layout([False] * len(planned)), strict=True)
        ]


def _relative_energies(tally: Tally, frames: Frames) -> tuple[Array, Array]:
    """Some of the data's energies, and what was predicted, in eV about the mean of their molecule."""
    truth = about_each_molecule(np.where(np.isfinite(tally.energy), frames.energy, np.nan), frames.molecule)
    there = np.flatnonzero(np.isfinite(truth))
    some = there[np.linspace(0, len(there) - 1, min(POINTS, len(there))).round().astype(int)]
    return truth[some], truth[some] + tally.relative_energy(frames)[some]


def _parity(names: Sequence[str], pairs: Sequence[tuple[Array, Array]], unit: str, width: float) -> "Figure":
    figure = new_figure(width, 3.4)
    axes = figure.subplots()
    ends = [float(edge) for x, _ in pairs if len(x) for edge in (x.min(), x.max())] or [0.0, 1.0]
    for k, (name, (x, y), colour) in enumerate(zip(names, pairs, _COLOURS, strict=False)):
        if len(x):
            axes.plot(x, y, ".", color=colour, ms=2.5, label=name, zorder=3 - 0.1 * k)  # the model above the others
    axes.plot((min(ends), max(ends)), (min(ends), max(ends)), color=MUTED, lw=0.8)
    axes.set(xlabel=f"data / {unit}", ylabel=f"predicted / {unit}")
    legend(axes)
    return figure


def _bars(methods: Sequence[dict[str, Any]], group: str, width: float) -> "Figure":
    figure = new_figure(width, 3.0)
    axes = figure.subplots()
    keys, side = list(methods[0][group]), np.arange(len(methods[0][group]))
    shift = 0.8 / len(methods)
    for k, (method, colour) in enumerate(zip(methods, _COLOURS, strict=False)):
        values = [method[group].get(key, {}).get("force_mae_meV_A") or 0.0 for key in keys]
        place = side + (k - 0.5 * (len(methods) - 1)) * shift
        axes.bar(place, values, shift, color=colour, label=method["name"])
    axes.set(xticks=side, xticklabels=keys, ylabel="force MAE / meV/Å")
    legend(axes)
    return figure


def _tables(methods: Sequence[dict[str, Any]]) -> list[Table]:
    rows = [
        [m["name"], str(m["frames"]), *(shown(m[key]) for key in _COLUMNS), str(m["without_answer"])] for m in methods
    ]
    found = [Table("Methods", ["", "frames", *_COLUMNS.values(), "no answer"], rows)]
    for title, group in (("Elements", "by_element"), ("Charges", "by_charge"), ("Temperatures / K", "by_temperature"),
                         ("Splits", "by_split"), ("Molecules", "by_molecule")):  # fmt: skip
        keys = list(methods[0][group])
        if group == "by_molecule":  # the worst first
            keys.sort(key=lambda key: -(methods[0][group][key]["force_mae_meV_A"] or np.inf))
        if len(keys) < 2 and group != "by_element":
            continue
        cut = f"The worst {MOST_ROWS} of {len(keys)}; evaluation.json has all." if len(keys) > MOST_ROWS else ""
        cells = [[key, *(_cell(m[group].get(key)) for m in methods)] for key in keys[:MOST_ROWS]]
        caption = f"MAE / RMSE of forces in meV/Å. {cut}".strip()
        found.append(Table(title, ["", *(m["name"] for m in methods)], cells, caption, folded=len(keys) > 12))
    return found


def _cell(errors: dict[str, Any] | None) -> str:
    return "–" if not errors else f"{shown(errors['force_mae_meV_A'])} / {shown(errors['force_rmse_meV_A'])}"
