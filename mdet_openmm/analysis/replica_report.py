"""The report of a run of replicas: the same page as of one run, with what only replicas can tell."""

import platform
from dataclasses import asdict
from typing import Any

import numpy as np

import mdet_openmm
from mdet_openmm.analysis import replica_figures
from mdet_openmm.analysis.contents import formula_of
from mdet_openmm.analysis.depiction import draw_molecule
from mdet_openmm.analysis.page import BAD, GOOD, NEUTRAL, WARN, Card, Page, Plot, Table, Verdict
from mdet_openmm.analysis.replica_study import Quantity, ReplicaStudy
from mdet_openmm.analysis.style import HALF, WIDE, as_inline_svg, as_png, drawing
from mdet_openmm.digits import shown, shown_with_error
from mdet_openmm.files import plain
from mdet_openmm.measure.between_replicas import AGREE
from mdet_openmm.measure.block_average import BlockedMean
from mdet_openmm.measure.temperature import BROKEN, HOLDS, UNDECIDED

_STATES = {HOLDS: GOOD, BROKEN: BAD, UNDECIDED: NEUTRAL}
_ONE_START = (
    "All replicas start from one relaxed structure. That they agree says that they have forgotten it, or that none has "
    "left where it started: a conformation that no replica has visited shows in no number here."
)
_FAILED = (
    "Replicas that went wrong are left out of every mean, with all of their frames. What is averaged are therefore "
    "molecules that stayed whole."
)


def judge(study: ReplicaStudy) -> list[Verdict]:
    """Failures, temperature or drift, and agreement of the replicas, in this order."""
    total, left = study.summary["replicas"], len(study.names)
    verdicts = []
    for name, failure in study.failures.items():
        verdicts.append(Verdict(BAD, f"{name} went wrong at {shown(failure['time_ps'], 4)} ps: {failure['message']}."))
    if not study.failures:
        verdicts.append(Verdict(GOOD, f"All {total} replicas stayed whole for {study.runs[0].times[-1]:g} ps each."))
    if study.summary.get("exit_reason") == "interrupted":
        verdicts.append(Verdict(WARN, "The run was interrupted; go on with --restart."))
    verdicts.append(Verdict(_STATES[study.temperature_verdict], _temperature(study)))
    drift = study.summary["over_replicas"].get("energy_drift_meV_per_atom_ps")
    if drift is not None and drift["error"] is not None:
        verdicts.append(
            Verdict(
                NEUTRAL,
                f"Total energy ({study.summary.get('energy_source')}) drifts by "
                f"{shown_with_error(drift['mean'], drift['error'], sign=True)} meV/atom/ps, from {left} replicas.",
            )
        )
    worst = study.least_agreed
    if worst is None:
        verdicts.append(Verdict(NEUTRAL, "Too little to tell whether the replicas agree."))
    elif worst.shrink <= AGREE:
        verdicts.append(
            Verdict(GOOD, f"The replicas agree: the largest R̂ is {shown(worst.shrink)} ({worst.label}), below {AGREE}.")
        )
    else:
        apart = sum(q.shrink > AGREE for q in (study.temperature, *study.bonds, *study.angles))
        verdicts.append(
            Verdict(
                WARN,
                f"The replicas have not converged: R̂ is {shown(worst.shrink)} for {worst.label}, above {AGREE} for "
                f"{apart} quantities. Run longer; distributions of these are not those of equilibrium yet.",
            )
        )
    return verdicts


def _temperature(study: ReplicaStudy) -> str:
    mean = study.temperature.mean
    text = f"the mean temperature over {mean.samples} replicas is {_with_error(mean, 1)} K"
    if not study.canonical:
        return f"An NVE run has no target temperature: {text}."
    ending = {
        HOLDS: "which agrees with the target",
        BROKEN: f"off by {mean.mean - study.summary['temperature_K']:+.1f} K",
        UNDECIDED: "not known well enough, or of too short a run, to judge",
    }
    return f"{text[0].upper()}{text[1:]}, {ending[study.temperature_verdict]}."


def _with_error(mean: BlockedMean, digits: int) -> str:
    return f"{mean.mean:.{digits}f}" + (f" ± {mean.error:.{digits}f}" if np.isfinite(mean.error) else "")


def draw(study: ReplicaStudy) -> dict[str, tuple[Plot, bytes]]:
    """Plots by name, each for the page and as a file."""
    planned = [("temperature", "Temperature", "Means with block-average errors; the band is that of the mean.", WIDE)]
    if len(study.coordinates.bonds):
        planned.append(("bonds", "Bond lengths", "Mean over replicas; the band is two standard errors.", HALF))
    if len(study.coordinates.dihedrals):
        planned.append(("dihedrals", "Dihedral angles", "Mean over replicas; the band is two standard errors.", HALF))
    found = {}
    with drawing():
        for name, title, caption, width in planned:
            figure = getattr(replica_figures, f"{name}_figure")(study, width)
            svg = as_inline_svg(figure, title)
            found[name] = (Plot(title, caption, svg, width == WIDE), as_png(figure))
    return found


def numbers_of(study: ReplicaStudy) -> dict[str, Any]:
    """All results as plain JSON types; what is not known is null."""

    def of(quantity: Quantity) -> dict[str, Any]:
        return {
            "label": quantity.label,
            "mean": quantity.mean.mean,
            "error": quantity.mean.error,
            "replicas": [one.mean for one in quantity.replicas],
            "replica_errors": [one.error for one in quantity.replicas],
            "shrink_factor": quantity.shrink,
        }

    result = {
        "format": "mdet-replicas 1",
        "summary": study.summary,
        "replicas": list(study.names),
        "failures": study.failures,
        "frames": [len(run.positions) for run in study.runs],
        "temperature_K": of(study.temperature) | {"verdict": study.temperature_verdict},
        "temperature_by_element_K": [of(q) for q in study.elements],
        "bonds_A": [of(q) for q in study.bonds],
        "dihedrals": [{"label": q.label, "shrink_factor": q.shrink} for q in study.angles],
        "largest_shrink_factor": None if study.least_agreed is None else study.least_agreed.shrink,
        "notes": notes_of(study),
    }
    return {key: plain(value) for key, value in result.items()}


def notes_of(study: ReplicaStudy) -> list[str]:
    """What the reader should know of the numbers."""
    own = [f"{name}: {note}" for name, run in zip(study.names, study.runs, strict=True) for note in run.notes]
    return [_ONE_START, *([_FAILED] if study.failures else []), *own]


def make_page(study: ReplicaStudy, plots: list[Plot], verdicts: list[Verdict]) -> Page:
    """Lay out the report."""
    summary, run = study.summary, study.runs[0]
    charge = int(summary.get("charge") or 0)
    model = summary.get("model") or {}
    facts = ("timestep_fs", "thermostat", "friction_per_ps", "forces", "frames", "offset", "precision", "seed")
    return Page(
        title=formula_of(run.atomic_numbers, charge),
        subtitle=f"{summary['replicas']} replicas of {run.times[-1]:g} ps, {str(summary['ensemble']).upper()}, with "
        f"the model {model.get('name', 'unknown')}",
        depiction=draw_molecule(run.atomic_numbers, study.coordinates.bonds, run.positions[0], charge),
        facts=[(key.replace("_", " "), str(summary[key])) for key in facts if summary.get(key) is not None],
        verdicts=verdicts,
        cards=_cards(study),
        plots=plots,
        tables=[_replica_table(study), _quantity_table(study)],
        notes=notes_of(study),
        footer=f"{study.folder.resolve()} · mdet-openmm {mdet_openmm.__version__}, Python {platform.python_version()}"
        " · all numbers are in analysis.json; a replica has a report of its own by mdet analyze DIR/replica-00",
    )


def _cards(study: ReplicaStudy) -> list[Card]:
    left, total = len(study.names), study.summary["replicas"]
    whole = Card("replicas", str(left), "", f"of {total} stayed whole", GOOD if left == total else BAD)
    mean, worst = study.temperature.mean, study.least_agreed
    error = f"± {shown(mean.error, 2)}" if np.isfinite(mean.error) else ""
    cards = [whole, Card("simulated", shown(float(study.summary["total_time_ps"]), 4), "ps", "all replicas together")]
    cards.append(Card("temperature", shown(mean.mean), "K", error, _STATES[study.temperature_verdict]))
    if worst is not None:
        cards.append(Card("largest R̂", shown(worst.shrink), "", worst.label, GOOD if worst.shrink <= AGREE else WARN))
    if study.summary.get("ns_per_day"):
        cards.append(Card("speed", shown(float(study.summary["ns_per_day"])), "ns/day", "all replicas together"))
    return cards


def _replica_table(study: ReplicaStudy) -> Table:
    rows = []
    for k, (name, run) in enumerate(zip(study.names, study.runs, strict=True)):
        one = study.temperature.replicas[k]
        stretch = float(run.log["max_bond_stretch_A"].max(initial=0.0)) if "max_bond_stretch_A" in run.log else np.nan
        cells = (f"{run.times[-1]:g}", f"{one.mean:.1f}", f"{one.error:.1f}", f"{stretch:.3f}")
        rows.append([name, str(run.summary.get("seed")), "completed", *cells])
    for name, failure in study.failures.items():
        rows.append([name, "–", str(failure["exit_reason"]), shown(failure["time_ps"], 4), "–", "–", "–"])
    header = ["replica", "seed", "end", "time / ps", "temperature / K", "error / K", "largest stretch / Å"]
    return Table("Replicas", header, rows, "Errors are those of block averages within the replica.", len(rows) > 40)


def _quantity_table(study: ReplicaStudy) -> Table:
    def row(quantity: Quantity, unit: str, digits: int) -> list[str]:
        inner = [one.error for one in quantity.replicas if np.isfinite(one.error)]
        blocked = np.sqrt(np.mean(np.square(inner)) / len(quantity.replicas)) if inner else np.nan
        numbers = (quantity.mean.mean, quantity.mean.error, blocked)
        return [f"{quantity.label} / {unit}", *(f"{x:.{digits}f}" if np.isfinite(x) else "–" for x in numbers),
                f"{quantity.shrink:.3f}"]  # fmt: skip

    rows = [row(study.temperature, "K", 1), *(row(q, "K", 1) for q in study.elements)]
    rows += [row(q, "Å", 5) for q in study.bonds]
    rows += [[f"{q.label} / °", "–", "–", "–", f"{q.shrink:.3f}"] for q in study.angles]
    caption = (
        "The error is the scatter of the replicas over √R; where the blocked one, from within the replicas, is much "
        "smaller, they have not yet seen the same. R̂: Gelman and Rubin's, on halves; of a dihedral that of its cosine "
        "or sine."
    )
    header = ["quantity", "mean", "error", "blocked error", "R̂"]
    return Table("Means over replicas", header, rows, caption, folded=len(rows) > 40)


def report_files(study: ReplicaStudy, json_name: str, page_name: str) -> dict[str, bytes]:
    """Content of every file of the report by its name."""
    import json

    from mdet_openmm.analysis.page import render

    verdicts, drawings = judge(study), draw(study)
    numbers = numbers_of(study) | {"verdicts": [asdict(verdict) for verdict in verdicts]}
    page = make_page(study, [plot for plot, _ in drawings.values()], verdicts)
    return {
        json_name: (json.dumps(numbers, indent=1, allow_nan=False) + "\n").encode(),
        **{f"{name}.png": png for name, (_, png) in drawings.items()},
        page_name: render(page).encode(),
    }
