"""What came of each round, in a table: how long runs survived, what was taken from them, what was forgotten."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdet_openmm.studies.estimate import estimate
from mdet_openmm.studies.failure_runs import Ran
from mdet_openmm.studies.failure_settings import FailureSettings
from mdet_openmm.studies.molecules import StudyMolecule
from mdet_openmm.studies.relearn import Learnt, added_name
from mdet_openmm.studies.table import Cell, write_tables

COLUMNS = {
    "round": "round",
    "model": "model",
    "system": "system",
    "temperature_K": "T, K",
    "condition": "condition",
    "nvt_ps": "survived in NVT, ps",
    "nvt_kept": "NVT runs that survived",
    "nvt_K": "mean T in NVT, K",
    "nve_ps": "survived in NVE, ps",
    "nve_kept": "NVE runs that survived",
    "nve_K": "mean T in NVE, K",
    "flagged": "flagged runs",
    "taken": "frames taken",
    "harvest_mae": "force MAE on them, meV/Å",
    "test_mae": "force MAE on the test split, meV/Å",
}
SOMETIMES = ("condition", "flagged", "harvest_mae")
"""Columns that are left out where they would say nothing."""


@dataclass(frozen=True)
class Round:
    """One round.

    Attributes
    ----------
    number
        Counted from 1; the last has only runs.
    model
        That the runs were made with.
    test_mae
        Its force MAE in meV/Å on the test split of the data (one orientation, as in the card); None without one.
    runs
        All of them.
    learnt
        What the next model has learnt from; None in the last round.
    """

    number: int
    model: str
    test_mae: float | None
    runs: tuple[Ran, ...]
    learnt: Learnt | None


def write_table(
    output: Path,
    rounds: Sequence[Round],
    members: Sequence[StudyMolecule],
    settings: FailureSettings,
    notes: Sequence[str],
) -> str:
    """Write ``table.md``, ``table.csv`` and ``table.json`` of the rounds so far; returns the Markdown."""
    rows = [row for each in rounds for row in _rows(each, members)]
    shown = {key for row in rows for key, cell in row.items() if cell not in (None, 0)}
    conditions = {row["condition"] for row in rows}
    columns = {
        key: text
        for key, text in COLUMNS.items()
        if key not in SOMETIMES or (key in shown and (key != "condition" or len(conditions) > 1))
    }
    said = [
        f"Runs of {settings.time:g} ps at most, from other seeds in every round. Means over {settings.replicas} runs "
        "± their standard error; a run that survived counts with its length.",
        *(note for each in rounds for note in _notes(each)),
        *notes,
    ]
    runs = [_plain(ran, each) for each in rounds for ran in each.runs]
    return write_tables(output, columns, rows, runs, said)


def _rows(one: Round, members: Sequence[StudyMolecule]) -> list[dict[str, Cell]]:
    rows: list[dict[str, Cell]] = []
    for member in members:
        mine = [ran for ran in one.runs if ran.planned.system == member.folder]
        for kelvin, condition in dict.fromkeys((r.planned.temperature, r.planned.condition) for r in mine):
            here = [r for r in mine if (r.planned.temperature, r.planned.condition) == (kelvin, condition)]
            row: dict[str, Cell] = {
                "round": one.number,
                "model": one.model,
                "system": member.molecule.name,
                "temperature_K": kelvin,
                "condition": condition.name,
                "flagged": sum(ran.flagged > 0 for ran in here),
                "taken": None,
                "harvest_mae": None,
                "test_mae": one.test_mae,
            }
            for ensemble in ("nvt", "nve"):
                runs = [ran for ran in here if ran.summary["ensemble"] == ensemble]
                row[f"{ensemble}_ps"] = estimate(ran.summary["time_ps"] for ran in runs)
                row[f"{ensemble}_kept"] = f"{sum(not ran.failed for ran in runs)} of {len(runs)}"
                row[f"{ensemble}_K"] = estimate(ran.summary["temperature_mean_K"] for ran in runs)
            if one.learnt is not None:
                row["taken"] = sum(one.learnt.taken[ran.planned.name] for ran in here)
                row["harvest_mae"] = one.learnt.before.get(added_name(member, one.number))
            rows.append(row)
    return rows


def _notes(one: Round) -> list[str]:
    reasons = Counter(ran.summary["exit_reason"] for ran in one.runs if ran.failed)
    ended = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    text = f"Round {one.number}, {one.model}: {sum(reasons.values())} of {len(one.runs)} runs failed"
    text += f" ({ended})" if ended else ""
    if one.learnt is None:
        return [f"{text}."]
    learnt = one.learnt
    left_out = ", ".join(f"{count} for {reason}" for reason, count in learnt.skipped.items() if count)
    text += f". {sum(learnt.taken.values())} frames taken, {learnt.labelled} labelled"
    text += f" (left out: {left_out})" if left_out else ""
    text += f"; each stands {learnt.repeats} times in the training data, with all new frames {learnt.share:.0%} of it. "
    after = ", ".join(
        f"{name} {learnt.before[name]:.1f} → {learnt.after[name]:.1f}" for name in learnt.before if name in learnt.after
    )
    return [f"{text}Force MAE on the new frames before and after learning from them, meV/Å: {after}."]


def _plain(ran: Ran, one: Round) -> dict[str, Any]:
    return {
        "round": one.number,
        "model": one.model,
        "system": ran.planned.system,
        "temperature_K": ran.planned.temperature,
        "condition": ran.planned.condition.name,
        "folder": str(ran.planned.run.folder),
        "flagged": ran.flagged,
        "taken": one.learnt.taken[ran.planned.name] if one.learnt is not None else None,
        "summary": ran.summary,
    }
