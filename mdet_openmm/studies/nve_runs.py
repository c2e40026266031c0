"""Runs at constant energy of several molecules under several conditions, from the same starts.

A start is a structure of Langevin dynamics at the starting temperature, the same for every condition. The run itself
draws velocities from Maxwell's distribution with its seed; in the canonical ensemble they do not depend on the
positions, so that start and velocities together are a sample of it. All conditions of a replica have its seed, and so
the same positions and velocities.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mdet_openmm.errors import InputError
from mdet_openmm.export.memory import check_memory
from mdet_openmm.export.model_folder import Model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.checks import check_molecule
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.side_by_side import run_side_by_side
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.settings import NO_TEACHER, NveSettings, NvtSettings, resolved
from mdet_openmm.simulation.setup import check_held
from mdet_openmm.studies.conditions import HOLD_PS, Condition
from mdet_openmm.studies.molecules import StudyMolecule
from mdet_openmm.studies.runs import StudyRun, cost_of, do_run, fraction_done
from mdet_openmm.studies.settings import NveStudySettings
from mdet_openmm.system.force import choose_backend
from mdet_openmm.system.platform import choose_platform
from mdet_openmm.units import ANGSTROM_PER_NM

START_FRICTION = 10.0
"""1/ps: half of the heat goes into the springs of the relaxed structure, and has to come back from the bath soon."""
TEACHER_STEPS = 3.0
"""A call of the teacher costs about as much as so many of a small network."""


@dataclass(frozen=True)
class NveResult:
    """What came of one run; ``summary`` is None where there was no start, and ``problem`` says why."""

    member: StudyMolecule
    condition: Condition
    replica: int
    folder: Path
    summary: dict[str, Any] | None
    problem: str | None


def check_runs(
    members: Sequence[StudyMolecule], conditions: Sequence[Condition], model: Model, settings: NveStudySettings
) -> None:
    """Check everything that can be known before anything is computed or written.

    Raises
    ------
    InputError
        For a molecule, condition or number that cannot work.
    """
    choose_platform(settings.platform)
    choose_backend(settings.backend)
    forces = ForceOptions(forces=settings.forces).resolved(model)
    if any(condition.held for condition in conditions):
        check_held(model, forces)
    for member in members:
        check_molecule(replace(member.molecule, smiles=None))  # a run reads it from a file, which has none
        for condition in conditions:
            options = replace(forces, orientations=condition.orientations, precision=condition.precision)
            check_memory(model, member.molecule.n_atoms, options)
    if members:
        resolved(_start_run(members[0], 1, settings).settings)
        if settings.time * 1000.0 < settings.timestep:
            raise InputError(f"--time must be a number of ps that is longer than the time step, not {settings.time}")


def run_conditions(
    members: Sequence[StudyMolecule],
    conditions: Sequence[Condition],
    settings: NveStudySettings,
    say: Callable[[str], None],
) -> list[NveResult]:
    """Make the starts, then do every run that has not ended yet.

    Parameters
    ----------
    members, conditions
        Each with each, ``settings.replicas`` times.
    settings
        With the output folder set; see :func:`check_runs`.
    say
        Takes lines for the user.
    """
    side_by_side: dict[str, Any] = {
        "workers": settings.workers,
        "scheduler": settings.scheduler,
        "cost": lambda run: run.cost,
        "done": fraction_done,
        "quiet": settings.quiet,
    }
    replicas = range(1, settings.replicas + 1)
    starts = [_start_run(s, k, settings) for s in members for k in replicas]
    for member in members:
        _write_structure(member, settings)
    say(f"starts: {len(starts)} runs of {settings.thermalize:g} ps")
    summaries = run_side_by_side(do_run, starts, title="starts", **side_by_side)
    problems = {
        run.folder: None
        if summary["exit_reason"] == "completed"
        else f"{summary['exit_reason']} while a start was made"
        for run, summary in zip(starts, summaries, strict=True)
    }
    planned = []
    for member in members:
        for k in replicas:
            problem = problems[_start_folder(member, k, settings)] or _write_start(member, k, settings)
            planned += [(member, condition, k, problem) for condition in conditions]
    runs = {(s.folder, c, k): _nve_run(s, c, k, settings) for s, c, k, problem in planned if problem is None}
    say(f"constant energy: {len(runs)} runs of {settings.time:g} ps")
    found = dict(zip(runs, run_side_by_side(do_run, list(runs.values()), title="NVE", **side_by_side), strict=True))
    return [
        NveResult(s, c, k, _nve_folder(s, c, k, settings), found.get((s.folder, c, k)), problem)
        for s, c, k, problem in planned
    ]


def _folder(member: StudyMolecule, settings: NveStudySettings) -> Path:
    return Path(settings.output or ".").resolve() / member.folder


def _start_folder(member: StudyMolecule, replica: int, settings: NveStudySettings) -> Path:
    return _folder(member, settings) / f"start-{replica}"


def _nve_folder(member: StudyMolecule, condition: Condition, replica: int, settings: NveStudySettings) -> Path:
    return _folder(member, settings) / condition.folder / f"replica-{replica}"


def _write_structure(member: StudyMolecule, settings: NveStudySettings) -> None:
    path = _folder(member, settings) / "structure.xyz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        run_folder.write_start(path, member.molecule.atomic_numbers, member.molecule.positions)


def _start_run(member: StudyMolecule, replica: int, settings: NveStudySettings) -> StudyRun:
    molecule = member.molecule
    nvt = NvtSettings(
        system=_folder(member, settings) / "structure.xyz",
        model=settings.model,
        charge=molecule.charge,
        multiplicity=molecule.multiplicity,
        temperature=settings.temperature,
        friction=START_FRICTION,
        timestep=settings.timestep,
        time=settings.thermalize,
        equilibrate=0.0,
        report_interval=settings.report_interval,
        forces=settings.forces,
        backend=settings.backend,
        platform=settings.platform,
        threads=1,
        watch_equivariance=0,  # it costs force calls, and the conditions are to differ in nothing else
        seed=settings.seed_of(replica),
        output=_start_folder(member, replica, settings),
    )
    return StudyRun(nvt, cost_of(molecule.n_atoms, 1, round(1000.0 * settings.thermalize / settings.timestep)))


def _write_start(member: StudyMolecule, replica: int, settings: NveStudySettings) -> str | None:
    """Write the last positions of a start's run as a file that the runs read; what is wrong with them, if anything."""
    import openmm

    folder, molecule = _start_folder(member, replica, settings), member.molecule
    path = folder.with_suffix(".xyz")
    if not path.exists():
        state = openmm.XmlSerializer.deserialize((folder / run_folder.STATE).read_text(encoding="utf-8"))
        positions = ANGSTROM_PER_NM * state.getPositions(asNumpy=True)._value
        run_folder.write_start(path, molecule.atomic_numbers, positions)
    try:  # as the runs do: without a bond for long, a molecule may have lost it for them
        read_molecule(path, molecule.charge, molecule.multiplicity)
    except InputError as error:
        return f"the start has come apart: {error}"
    return None


def _nve_run(member: StudyMolecule, condition: Condition, replica: int, settings: NveStudySettings) -> StudyRun:
    molecule = member.molecule
    nve = NveSettings(
        system=_start_folder(member, replica, settings).with_suffix(".xyz"),
        model=settings.model,
        charge=molecule.charge,
        multiplicity=molecule.multiplicity,
        temperature=settings.temperature,
        timestep=settings.timestep,
        time=settings.time,
        equilibrate=0.0,
        minimize=False,
        report_interval=settings.report_interval,
        precision=condition.precision,
        offset=condition.offset,
        orientations=condition.orientations,
        hold_energy=HOLD_PS if condition.held else None,
        forces=settings.forces,
        teacher=settings.teacher,
        backend=settings.backend,
        platform=settings.platform,
        threads=1,
        watch_equivariance=0,
        seed=settings.seed_of(replica),
        output=_nve_folder(member, condition, replica, settings),
    )
    steps = round(1000.0 * settings.time / settings.timestep)
    cost = cost_of(molecule.n_atoms, condition.orientations, steps)
    cost *= 0.6 if condition.precision != "double" else 1.0
    if settings.teacher != NO_TEACHER:
        cost += cost_of(
            molecule.n_atoms, 1, round(steps * TEACHER_STEPS * settings.timestep / settings.report_interval)
        )
    return StudyRun(nve, cost)
