"""What the runs at constant energy under one condition have in common."""

from collections.abc import Iterable, Sequence
from typing import Any

from mdet_openmm.digits import shown
from mdet_openmm.studies.estimate import estimate
from mdet_openmm.studies.nve_runs import NveResult
from mdet_openmm.studies.table import Cell

ESTIMATES = {
    "temperature_start_K": "T at the start, K",
    "temperature_drift_K_per_ps": "T drift, K/ps",
    "energy_drift_meV_per_atom_ps": "energy drift, meV/atom/ps",
    "energy_fluctuation_meV_per_atom": "energy fluctuation, meV/atom",
    "drift_ratio": "drift ratio",
    "ns_per_day": "ns/day",
}
"""Keys of a run's summary → headings; means over replicas with standard errors."""
COLUMNS = {"condition": "condition", "kept": "runs that kept their bonds", "time_ps": "time, ps", **ESTIMATES}
STRUCTURE_COLUMNS = {"structure": "molecule", "kind": "kind", "atoms": "atoms"}


def rows_of(results: Sequence[NveResult]) -> list[dict[str, Cell]]:
    """A row for each molecule and condition, in the order of the results."""
    groups: dict[tuple[str, str], list[NveResult]] = {}
    for result in results:
        groups.setdefault((result.member.folder, result.condition.name), []).append(result)
    return [_row(group) for group in groups.values()]


def _row(group: Sequence[NveResult]) -> dict[str, Cell]:
    first, summaries = group[0], [r.summary for r in group if r.summary is not None]
    completed = sum(s["exit_reason"] == "completed" for s in summaries)
    row: dict[str, Cell] = {
        "structure": first.member.molecule.name,
        "kind": first.member.kind,
        "atoms": first.member.molecule.n_atoms,
        "condition": first.condition.name,
        "kept": f"{completed} of {len(group)}",
        "time_ps": estimate(s["time_ps"] for s in summaries),
    }
    row.update({key: estimate(s.get(key) for s in summaries) for key in ESTIMATES})
    return row


def runs_of(results: Iterable[NveResult]) -> list[dict[str, Any]]:
    """Every run as plain values."""
    return [
        {
            "structure": r.member.molecule.name,
            "condition": r.condition.name,
            "replica": r.replica,
            "folder": str(r.folder),
            "problem": r.problem,
            "summary": r.summary,
        }
        for r in results
    ]


def notes_of(results: Iterable[NveResult]) -> list[str]:
    """A sentence on each run that did not come to its end."""
    notes = []
    for r in results:
        where = f"{r.member.molecule.name}, {r.condition.name}, replica {r.replica}"
        if r.summary is None:
            notes.append(f"{where}: not run ({r.problem}).")
        elif r.summary["exit_reason"] != "completed":
            notes.append(f"{where}: {r.summary['exit_reason']} after {shown(r.summary['time_ps'], 4)} ps.")
    return notes
