"""One table in three forms: Markdown to read, CSV to plot, JSON with every run."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mdet_openmm.digits import shown
from mdet_openmm.files import plain, write_file, write_json
from mdet_openmm.studies.estimate import Estimate

Cell = str | int | float | Estimate | None


def markdown(columns: Mapping[str, str], rows: Sequence[Mapping[str, Cell]]) -> str:
    """A Markdown table.

    Parameters
    ----------
    columns
        Key of a cell → heading.
    rows
        Cells by key.
    """
    lines = ["| " + " | ".join(columns.values()) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_text(row.get(key)).replace("|", "\\|") for key in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def write_tables(
    folder: Path,
    columns: Mapping[str, str],
    rows: Sequence[Mapping[str, Cell]],
    runs: Sequence[Mapping[str, Any]],
    notes: Sequence[str] = (),
) -> str:
    """Write ``table.md``, ``table.csv`` and ``table.json``, and return the Markdown.

    Parameters
    ----------
    folder
        Of the study. Tables that stand there are replaced: they are made of the runs beside them.
    columns, rows
        See :func:`markdown`. In the CSV an estimate has two columns, the second with ``_error`` in its name.
    runs
        What is known of every run, for the JSON.
    notes
        Stand below the table.
    """
    text = markdown(columns, rows) + "".join(f"\n{note}\n" for note in notes)
    write_file(folder / "table.md", text)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    estimates = {key for row in rows for key, cell in row.items() if isinstance(cell, Estimate)}
    writer.writerow([name for key in columns for name in ([key, f"{key}_error"] if key in estimates else [key])])
    for row in rows:
        writer.writerow([cell for key in columns for cell in _csv_cells(row.get(key), key in estimates)])
    write_file(folder / "table.csv", buffer.getvalue())
    write_json(folder / "table.json", plain({"rows": rows, "runs": runs, "notes": notes}, _parts))
    return text


def _text(cell: Cell) -> str:
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "–"
    return shown(cell, 4) if isinstance(cell, float) else str(cell)


def _csv_cells(cell: Cell, two: bool) -> list[Any]:
    if isinstance(cell, Estimate):
        return ["" if not math.isfinite(v) else repr(v) for v in (cell.mean, cell.error)]
    return ["" if cell is None else cell, *([""] if two else [])]


def _parts(value: Any) -> Any:
    if isinstance(value, Estimate):
        return {"mean": value.mean, "error": value.error, "count": value.count}
    raise TypeError(f"{type(value).__name__} has no place in a table")
