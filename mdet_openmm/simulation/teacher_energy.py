"""The teacher's energy along a run that has ended: ``reference.csv``, one row per evaluated frame.

Frames come from the trajectory, in fp32. Rounding moves a coordinate x by ulp(x)/√12 rms (1.4e-7 Å at 5 Å), and so the
energy by √(Σ (F·ulp/√12)²); a column has that error. For a small molecule at the origin it is below 1e-3 meV, a
thousandth of what the energy fluctuates by.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mdet_openmm.configuration import from_stored
from mdet_openmm.data.config import TeacherConfig
from mdet_openmm.data.teacher import Teacher, TeacherFailure, make_teacher, teacher_of_name
from mdet_openmm.errors import InputError
from mdet_openmm.export.model_folder import Model
from mdet_openmm.interrupt import Interrupt
from mdet_openmm.molecules.dcd import read_frame
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.conservation import EnergySource
from mdet_openmm.simulation.log_file import KINETIC, POTENTIAL, STEP, TIME, CsvFile, Log, read_table
from mdet_openmm.simulation.settings import NO_TEACHER, NveSettings
from mdet_openmm.units import KJ_PER_MOL_PER_EV

MOST_FRAMES = 500
ENERGY, ERROR = "potential_energy_eV", "position_error_eV"
COLUMNS = (STEP, TIME, ENERGY, ERROR)


def teacher_for(
    kind: str | None, model: Model, molecule: Molecule, say: Callable[[str], None]
) -> tuple[str, Teacher | None]:
    """Whose energy stands beside a model's, and its function.

    Parameters
    ----------
    kind
        Of the teacher; "none"; None for the one that the model learnt from, if it is installed and can take the
        molecule.
    model, molecule
        Of the run.
    say
        Takes the sentence on why there is none.
    """
    if kind == NO_TEACHER:
        return NO_TEACHER, None
    if kind is not None:
        return kind, make_teacher(TeacherConfig(kind=kind), molecule)
    config = teacher_of_name(model.teacher)
    if config is None:
        return NO_TEACHER, None
    try:
        return config.kind, make_teacher(config, molecule)
    except InputError as error:
        say(f"the energy is not compared with that of {model.teacher}: {error}")
        return NO_TEACHER, None


def stride(rows: int) -> int:
    """Every how manieth frame is evaluated: a power of two, so that a longer run uses what a shorter one has."""
    every = 1
    while rows // every > MOST_FRAMES:
        every *= 2
    return every


def evaluate(folder: Path, teacher: Teacher, n_atoms: int, log: Log, interrupt: Interrupt, quiet: bool) -> bool:
    """Evaluate the frames that are due and not in ``reference.csv`` yet; whether all of them are now.

    A geometry that the teacher has no answer for gets a row of NaN.

    Parameters
    ----------
    folder
        Of the run; its log and its trajectory have the same rows.
    teacher
        Of this molecule.
    n_atoms
        Atoms of a frame.
    log
        Columns of ``log.csv``.
    interrupt
        Asked between frames.
    quiet
        Show no progress bar.
    """
    path, steps = folder / run_folder.TEACHER_ENERGY, log[STEP].astype(int)
    every = stride(len(steps))
    done = read_table(path).get(STEP, np.zeros(0))
    last = int(done[-1]) if len(done) else 0
    table = CsvFile(path, COLUMNS, last)
    due = [row for row in range(every - 1, len(steps), every) if steps[row] > last]
    try:
        for row in tqdm(due, desc="teacher", unit="frame", disable=quiet, leave=False):
            if interrupt.asked:
                return False
            positions = read_frame(folder / run_folder.TRAJECTORY, n_atoms, row)
            energy = error = float("nan")
            try:
                label = teacher(positions.astype(np.float64))
                energy = label.energy
                error = float(np.sqrt(np.sum((label.forces * np.spacing(np.abs(positions))) ** 2) / 12.0))
            except TeacherFailure:
                pass
            table.write([str(steps[row]), f"{log[TIME][row]:.10g}", f"{energy:.9f}", f"{error:.3e}"])
        table.sync()
    finally:
        table.close()
    return True


def total_energy(
    folder: Path, log: Log, source: EnergySource | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Times in ps and total energies in kJ/mol of an NVE run: potential and kinetic energy of the same instants.

    Parameters
    ----------
    folder
        Of the run.
    log
        Columns of ``log.csv``.
    source
        Whose potential energy; without one there is no total energy, and None comes back.

    Raises
    ------
    InputError
        If ``reference.csv`` is needed and cannot be read.
    """
    if source is None:
        return None
    if not source.is_teacher:
        return log[TIME], log[POTENTIAL] + log[KINETIC]
    table = read_table(folder / run_folder.TEACHER_ENERGY, *COLUMNS)
    every = stride(len(log[STEP]))
    rows = np.arange(every - 1, len(log[STEP]), every)
    _, ours, theirs = np.intersect1d(log[STEP][rows], table[STEP], return_indices=True)
    potential = KJ_PER_MOL_PER_EV * table[ENERGY][theirs]
    finite = np.isfinite(potential)
    return log[TIME][rows][ours][finite], (potential + log[KINETIC][rows][ours])[finite]


def largest_position_error(folder: Path, n_atoms: int) -> float | None:
    """Largest error of an energy from the rounding of its positions, meV per atom; None without rows."""
    errors = read_table(folder / run_folder.TEACHER_ENERGY, *COLUMNS)[ERROR]
    errors = errors[np.isfinite(errors)]
    return 1e3 * float(errors.max()) / n_atoms if len(errors) else None


def forget_another(folder: Path, before: dict[str, Any], now: NveSettings) -> None:
    """Remove the energies of another teacher than the one that is asked for now.

    Parameters
    ----------
    folder
        Of the run.
    before, now
        Its stored settings, and those that it goes on with.
    """
    stored = from_stored(NveSettings, before).get("teacher")
    if now.teacher != NO_TEACHER and stored != now.teacher:
        (folder / run_folder.TEACHER_ENERGY).unlink(missing_ok=True)


def cut_back(folder: Path, last_step: int) -> None:
    """Forget frames after this step, which a restart is about to write anew."""
    path = folder / run_folder.TEACHER_ENERGY
    if path.exists():
        CsvFile(path, COLUMNS, last_step).close()
