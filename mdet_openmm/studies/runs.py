"""One run of a study: started, gone on with, or only read if it has ended. Every run is a run folder."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mdet_openmm.errors import InputError, RunStopped
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.ended_run import read_summary
from mdet_openmm.simulation.log_file import last_time
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


def cost_of(n_atoms: int, orientations: int, steps: int) -> float:
    """Relative time of a run: attention grows with n³, the rest with n² (they meet at about 30 atoms)."""
    return float(orientations * steps * n_atoms**2 * (30 + n_atoms))


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
    try:
        return read_summary(folder, "exit_reason", "steps")
    except InputError as error:
        raise InputError(f"{error}; remove {folder} to run it anew") from None


def fraction_done(run: StudyRun) -> float:
    """How much of a run is done, from the last row of its log; 0 without one."""
    done = last_time(run.folder / run_folder.LOG)
    return 0.0 if done is None else min(1.0, done / (run.settings.time or done or 1.0))
