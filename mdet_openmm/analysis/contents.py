"""What the page of a run says, from its results."""

import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase.formula import Formula

import mdet_openmm
from mdet_openmm.analysis.depiction import draw_molecule
from mdet_openmm.analysis.page import BAD, GOOD, NEUTRAL, Card, Page, Table, Verdict
from mdet_openmm.analysis.plots import Drawing
from mdet_openmm.analysis.run_analysis import RunAnalysis
from mdet_openmm.analysis.verdicts import BOND_TARGET
from mdet_openmm.digits import shown
from mdet_openmm.measure.temperature import BROKEN, HOLDS, UNDECIDED

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_STATES = {HOLDS: GOOD, BROKEN: BAD, UNDECIDED: NEUTRAL}


def make_page(analysis: RunAnalysis, drawings: Mapping[str, Drawing], verdicts: list[Verdict]) -> Page:
    """Lay out the report of a run."""
    run, summary = analysis.run, analysis.run.summary
    formula = formula_of(run.atomic_numbers, int(summary.get("charge") or 0))
    model = summary.get("model")
    model_name = str(model.get("name", "?")) if isinstance(model, dict) else str(model or "unknown")
    tables = [t for t in (_bond_table(analysis), _element_table(analysis), _settings_table(summary)) if t is not None]
    return Page(
        title=formula,
        subtitle=f"{run.times[-1]:g} ps of {_dynamics(summary)} with the model {model_name}",
        depiction=draw_molecule(
            run.atomic_numbers, analysis.coordinates.bonds, run.positions[0], int(summary.get("charge") or 0)
        ),
        facts=_facts(summary, len(run.atomic_numbers)),
        verdicts=verdicts,
        cards=_cards(analysis),
        plots=[drawing.plot for drawing in drawings.values()],
        tables=tables,
        notes=analysis.notes,
        footer=f"{run.folder.resolve()} · mdet-openmm {mdet_openmm.__version__}, Python {platform.python_version()} · "
        "all numbers are in analysis.json, the plots as PNG files beside it",
    )


def _dynamics(summary: Mapping[str, Any]) -> str:
    nve = summary.get("ensemble") == "nve"
    return f"{'NVE dynamics from' if nve else 'NVT dynamics at'} {summary['temperature_K']:g} K"


def formula_of(atomic_numbers: np.ndarray, charge: int) -> str:
    """Hill formula with subscripts and charge, such as C₂H₆O or NH₄⁺."""
    from ase.data import chemical_symbols

    text = Formula.from_list([chemical_symbols[z] for z in atomic_numbers]).format("hill").translate(_SUBSCRIPTS)
    if charge:
        size = "" if abs(charge) == 1 else str(abs(charge)).translate(_SUPERSCRIPTS)
        text += size + ("⁺" if charge > 0 else "⁻")
    return text


def _facts(summary: Mapping[str, Any], n_atoms: int) -> list[tuple[str, str]]:
    wanted = (
        ("charge", "charge", "{:+d}"),
        ("multiplicity", "multiplicity", "{}"),
        ("timestep", "timestep_fs", "{:g} fs"),
        ("thermostat", "thermostat", "{}"),
        ("friction", "friction_per_ps", "{:g} /ps"),
        ("forces", "forces", "{}"),
        ("orientations", "frames", "{}"),
        ("offset", "offset", "{}"),
        ("precision", "precision", "{}"),
        ("backend", "backend", "{}"),
        ("platform", "platform", "{}"),
        ("seed", "seed", "{}"),
    )
    facts = [("atoms", str(n_atoms))]
    for label, key, form in wanted:
        value = summary.get(key)
        if value is None:
            continue
        try:
            text = "0" if label == "charge" and value == 0 else form.format(value)
        except (ValueError, TypeError):
            text = str(value)
        facts.append((label, text))
    return facts


def _cards(analysis: RunAnalysis) -> list[Card]:
    run, result = analysis.run, analysis.temperature
    collapsed = analysis.stability.collapse_frame is not None
    length = shown(float(run.times[-1]), 4)
    cards = [
        Card(
            "stable for",
            shown(analysis.stable_ps, 4),
            "ps",
            f"of {length} ps simulated" if collapsed else f"{len(run.positions)} frames, the whole run",
            BAD if collapsed else GOOD if analysis.bonds else NEUTRAL,
        )
    ]
    if result is not None:
        error = f"± {shown(result.mean.error, 2)}, " if np.isfinite(result.mean.error) else ""
        cards.append(
            Card(
                "temperature",
                shown(result.mean.mean),
                "K",
                f"{error}target {result.target:g} K" if result.canonical else f"{error}NVE has no target",
                _STATES[result.mean_verdict],
            )
        )
        if len(result.elements) > 1:
            hottest, coldest = (pick(result.elements.items(), key=lambda item: item[1].mean) for pick in (max, min))
            cards.append(
                Card(
                    "element spread",
                    shown(hottest[1].mean - coldest[1].mean),
                    "K",
                    f"{hottest[0]} hottest, {coldest[0]} coldest",
                    _STATES[result.equipartition_verdict],
                )
            )
    if analysis.energy is not None and analysis.energy.drift is not None:
        cards.append(
            Card(
                "energy drift",
                shown(analysis.energy.drift, sign=True),
                "meV/atom/ps",
                f"± {shown(analysis.energy.drift_error or 0.0, 2)}, {analysis.energy.source}",
                _STATES[analysis.energy.verdict],
            )
        )
    cards.append(
        Card("RMSD", shown(float(analysis.rmsd.mean())), "Å", f"mean; largest {shown(float(analysis.rmsd.max()))} Å")
    )
    differences = [(abs(b.difference), b.difference_error) for b in analysis.bonds if b.difference is not None]
    if differences:
        largest, unsure = max(differences)
        state = GOOD if largest <= BOND_TARGET else BAD if largest > BOND_TARGET + 3 * unsure else NEUTRAL
        cards.append(Card("bond lengths", shown(largest), "Å", "largest difference of a mean", state))
    if analysis.density_error is not None:
        cards.append(Card("h(r) error", shown(analysis.density_error), "", "0 equal, 2 apart"))
    speed = run.summary.get("ns_per_day")
    if isinstance(speed, (int, float)):
        step = run.summary.get("ms_per_step")
        detail = f"{shown(step)} ms per step" if isinstance(step, (int, float)) else ""
        cards.append(Card("speed", shown(speed), "ns/day", detail))
    return cards


def _number(value: float | None, form: str = ".4f") -> str:
    return "–" if value is None or not np.isfinite(value) else format(value, form)


def _bond_table(analysis: RunAnalysis) -> Table | None:
    if not analysis.bonds:
        return None
    header = ["bond", "mean / Å", "error / Å", "std / Å", "shortest / Å", "longest / Å"]
    compared = analysis.reference is not None
    if compared:
        header += ["reference / Å", "difference / Å"]
    rows = []
    for b in analysis.bonds:
        numbers = [b.length.mean, b.length.error, b.length.std, b.shortest, b.longest]
        cells = [b.label, *map(_number, numbers)]
        if compared:
            cells += [_number(None if b.reference is None else b.reference.mean), _number(b.difference, "+.4f")]
        rows.append(cells)
    caption = (
        "Atoms are numbered from 1, as in topology.pdb. Errors are standard errors of the mean from block averages."
    )
    return Table("Bonds", header, rows, caption, folded=len(rows) > 30)


def _element_table(analysis: RunAnalysis) -> Table | None:
    if analysis.temperature is None or not analysis.temperature.elements:
        return None
    result = analysis.temperature
    counts = dict(zip(*np.unique([a.element.symbol for a in analysis.run.topology.atoms], return_counts=True)))  # noqa: B905
    rows = [
        [
            symbol,
            str(counts.get(symbol, 0)),
            _number(e.mean, ".1f"),
            _number(e.error, ".1f"),
            _number(e.mean - result.target, "+.1f"),
            _number(e.independent, ".0f"),
        ]
        for symbol, e in result.elements.items()
    ]
    header = ["element", "atoms", "mean / K", "error / K", "deviation / K", "independent samples"]
    note = "" if result.mean.converged else " The run is too short for the errors to be final: they are lower bounds."
    return Table("Temperature by element", header, rows, f"{result.sentence}{note}", folded=False)


def _settings_table(summary: Mapping[str, Any]) -> Table:
    rows = []
    for key, value in summary.items():
        if key == "atomic_numbers":
            continue
        if isinstance(value, dict):
            rows += [[f"{key}.{inner}", str(each)] for inner, each in value.items()]
        else:
            rows.append([key, str(value)])
    return Table("Settings and provenance", ["summary.json", "value"], rows, folded=True)
