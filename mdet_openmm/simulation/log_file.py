"""Tables of a run, a row at a time, that can be cut back to a step and continued with the same bytes."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.errors import InputError

STEP, TIME, TEMPERATURE = "step", "time_ps", "temperature_K"
KINETIC, WORK, CHECK = "kinetic_energy_kJ_mol", "work_kJ_mol", "integrator_check_kJ_mol"
ADDED = "added_energy_kJ_mol"
POTENTIAL = "potential_energy_kJ_mol"
LONGEST_ROW = 2000
"""Bytes; more than any row has."""

Log = dict[str, NDArray[np.float64]]
"""Columns of a table by their names, each (rows,)."""


def temperature_of(element: str) -> str:
    """The column with the temperature of an element."""
    return f"temperature_{element}_K"


class CsvFile:
    """A table whose first column is a step.

    Parameters
    ----------
    path
        Made anew, or continued.
    columns
        Names, the first of them ``step``.
    last_step
        Rows after this step are cut off; from 0 down all of them.

    Raises
    ------
    InputError
        If the table to go on with is missing or has other columns.
    """

    def __init__(self, path: Path, columns: Sequence[str], last_step: int) -> None:
        header = (",".join(columns) + "\n").encode()
        keep = _bytes_up_to(path, header, last_step) if last_step > 0 else 0
        self._file = path.open("r+b" if keep else "w+b")
        self._file.truncate(keep)
        self._file.seek(keep)
        if not keep:
            self._file.write(header)
            self._file.flush()

    def write(self, cells: Sequence[str]) -> None:
        """Append a row."""
        self._file.write((",".join(cells) + "\n").encode())
        self._file.flush()

    def sync(self) -> None:
        """Bring everything onto the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class LogFile:
    """``log.csv``: one row per report.

    Parameters
    ----------
    path
        Made anew, or continued.
    elements
        Symbols, in the order of the temperatures' columns.
    last_step
        Rows after this step are cut off.
    energy
        Whether there is a column for the potential energy.
    verlet
        Whether there are those of an NVE run: kinetic energy, work, integrator check.
    held
        Whether there is that of one whose energy is held: what was added.
    """

    def __init__(
        self,
        path: Path,
        elements: Sequence[str],
        last_step: int,
        energy: bool = False,
        verlet: bool = False,
        held: bool = False,
    ) -> None:
        self._elements = tuple(elements)
        names = [temperature_of(element) for element in elements]
        columns = [STEP, TIME, TEMPERATURE, *names, "max_force_kJ_mol_nm", "max_bond_stretch_A"]
        columns += [POTENTIAL] if energy else []
        columns += [KINETIC, WORK, CHECK] if verlet else []
        columns += [ADDED] if held else []
        self._table = CsvFile(path, columns, last_step)
        self.sync, self.close = self._table.sync, self._table.close

    def write(
        self,
        step: int,
        time: float,
        temperature: float,
        by_element: dict[str, float],
        force: float,
        stretch: float,
        energy: float | None = None,
        verlet: tuple[float, float, float] | None = None,
        added: float | None = None,
    ) -> None:
        """Append a row: ps, K, K, kJ/mol/nm, Å, and kJ/mol where there are energies (kinetic, work, check; added)."""
        temperatures = [f"{t:.3f}" for t in (temperature, *(by_element[e] for e in self._elements))]
        row = [str(step), f"{time:.10g}", *temperatures, f"{force:.4f}", f"{stretch:.6f}"]
        row += [f"{energy:.6f}"] if energy is not None else []
        row += [f"{verlet[0]:.6f}", f"{verlet[1]:.6f}", f"{verlet[2]:.3e}"] if verlet is not None else []
        row += [f"{added:.6f}"] if added is not None else []
        self._table.write(row)


def check_rows(path: Path, last_step: int, rows: int) -> None:
    """Refuse to go on with a table that has fewer rows up to a step than a checkpoint says.

    Raises
    ------
    InputError
        Then, before the file is touched.
    """
    if rows and len(_rows_up_to(path, last_step)) < rows:
        raise InputError(f"{path} holds fewer rows than the checkpoint knows of; remove the folder and start anew")


def _bytes_up_to(path: Path, header: bytes, last_step: int) -> int:
    """Length in bytes of the header and the complete rows up to a step."""
    rows = _rows_up_to(path, last_step)
    with path.open("rb") as file:
        if file.readline() != header:
            raise InputError(f"{path} is not the log of this run; start anew in another folder")
    return len(header) + sum(map(len, rows))


def _rows_up_to(path: Path, last_step: int) -> list[bytes]:
    """The complete rows up to a step, without the header."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)[1:]
    except OSError as error:
        raise InputError(f"cannot go on with {path}: {error.strerror}") from None
    rows = []
    for line in lines:
        step = line.split(b",")[0]
        if not line.endswith(b"\n") or not step.isdigit() or int(step) > last_step:
            break
        rows.append(line)
    return rows


def read_table(path: Path, *needed: str) -> Log:
    """Columns of a table by their names, each (rows,); {} if there is no such file and no column is needed.

    A row that a crash cut off at the end of the file does not count.

    Raises
    ------
    InputError
        If the file cannot be read, has a damaged row, or lacks a column that is needed.
    """
    if not needed and not path.exists():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    names, *lines = text[: text.rfind("\n") + 1].splitlines() or [""]
    columns = names.split(",")
    for name in needed:
        if name not in columns:
            raise InputError(f"{path} has no column {name}; was it written by a run?")
    rows = np.empty((len(lines), len(columns)))
    for number, line in enumerate(lines):
        try:
            cells = [float(cell) for cell in line.split(",")]
            if len(cells) != len(columns):
                raise ValueError
        except ValueError:
            raise InputError(f"{path}: line {number + 2} is damaged: {line[:80]!r}") from None
        rows[number] = cells
    return dict(zip(columns, rows.T, strict=True))


def last_time(path: Path) -> float | None:
    """Time in ps of the last complete row of a log that may be being written; None without one."""
    try:
        with path.open("rb") as file:
            columns = file.readline().decode().strip().split(",")
            file.seek(max(file.tell(), os.fstat(file.fileno()).st_size - LONGEST_ROW))
            rows = [row for row in file.read().decode().split("\n")[:-1] if row.count(",") == len(columns) - 1]
        return float(rows[-1].split(",")[columns.index(TIME)])
    except (OSError, ValueError, IndexError):
        return None


def mean_temperatures(path: Path) -> tuple[float | None, dict[str, float]]:
    """Means over the rows of a log: temperature in K, and of each element; None and {} without rows."""
    table = read_table(path)
    if not table or not len(table[TEMPERATURE]):
        return None, {}
    elements = {
        n.split("_")[1]: float(v.mean()) for n, v in table.items() if n.startswith("temperature_") and n.count("_") > 1
    }
    return float(table[TEMPERATURE].mean()), elements
