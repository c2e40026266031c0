"""One run of a study: started, gone on with, or only read if it has ended. Every run is a run folder."""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mdet_openmm.errors import InputError, RunStopped
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.settings import NveSettings, NvtSettings

LEFT_BY_A_KILL = (".lock", f"{run_folder.SETTINGS}.tmp")
"""All that a run may have written that was killed before it had stored its settings."""


@dataclass(frozen=True)
class StudyRun:
    """One run.

    Attributes
    ----------
    settings
        With an absolute output folder, for a worker may have another working directory, and with ``time`` set.
    cost
        Relative time that it takes, for the time left.
    """

    settings: NvtSettings | NveSettings
    cost: float

    @property
    def folder(self) -> Path:
        """Its run folder."""
        return self.settings.folder

    @property
    def steps(self) -> int:
        """Steps that it shall have."""
        return round(1000.0 * (self.settings.time or 0.0) / self.settings.timestep)


def cost_of(n_atoms: int, frames: int, steps: int) -> float:
    """Relative time of a run: attention grows with n³, the rest with n² (they meet at about 30 atoms)."""
    return float(frames * steps * n_atoms**2 * (30 + n_atoms))


def do_run(run: StudyRun) -> dict[str, Any]:
    """Do what is left of a run.

    Returns
    -------
    dict
        Its summary. A run that was stopped because its physics went wrong is a result like any other.

    Raises
    ------
    InputError
        For what cannot work.
    KeyboardInterrupt
        If it was interrupted; its checkpoint is written.
    """
    ended = summary_of(run)
    if ended is not None:
        return ended
    folder = run.folder
    restart = (folder / run_folder.SETTINGS).exists()
    if not restart and folder.is_dir():
        for name in LEFT_BY_A_KILL:
            (folder / name).unlink(missing_ok=True)
    settings = replace(run.settings, restart=restart, quiet=True)
    try:
        if isinstance(settings, NvtSettings):
            from mdet_openmm.simulation.nvt import run_nvt

            return run_nvt(settings)
        from mdet_openmm.simulation.nve import run_nve

        return run_nve(settings)
    except RunStopped:
        return _read_summary(folder)


def summary_of(run: StudyRun) -> dict[str, Any] | None:
    """The summary of a run that has ended, with all its steps or for its physics; else None."""
    if not (run.folder / run_folder.SUMMARY).is_file():
        return None
    summary = _read_summary(run.folder)
    if summary["exit_reason"] == "interrupted":
        return None
    return summary if summary["exit_reason"] != "completed" or summary["steps"] >= run.steps else None


def _read_summary(folder: Path) -> dict[str, Any]:
    path = folder / run_folder.SUMMARY
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        if "exit_reason" not in summary or "steps" not in summary:
            raise ValueError("not the summary of a run")
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"cannot read {path} ({error}); remove {folder} to run it anew") from None
    return dict(summary)


def fraction_done(run: StudyRun) -> float:
    """How much of a run is done, from the last row of its log; 0 without one."""
    try:
        with (run.folder / run_folder.LOG).open("rb") as file:
            columns = file.readline().decode().strip().split(",")
            file.seek(max(file.tell(), os.fstat(file.fileno()).st_size - 2000))
            rows = [row for row in file.read().decode().split("\n")[:-1] if row.count(",") == len(columns) - 1]
        done = float(rows[-1].split(",")[columns.index("time_ps")])
    except (OSError, ValueError, IndexError):
        return 0.0
    return min(1.0, done / (run.settings.time or done or 1.0))
