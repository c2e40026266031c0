"""The runs of a round: every system under every condition, at constant temperature and at constant energy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mdet_openmm.errors import InputError
from mdet_openmm.export.memory import check_memory
from mdet_openmm.export.model_folder import Model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.checks import check_elements, check_molecule
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.side_by_side import run_side_by_side
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.settings import NveSettings, NvtSettings, resolved
from mdet_openmm.studies.conditions import Condition, read_conditions
from mdet_openmm.studies.failure_settings import FailureSettings
from mdet_openmm.studies.harvest import FAILURES, flagged_times
from mdet_openmm.studies.molecules import GIVEN, StudyMolecule
from mdet_openmm.studies.runs import StudyRun, cost_of, do_run, fraction_done
from mdet_openmm.system.force import choose_backend
from mdet_openmm.system.platform import choose_platform


@dataclass(frozen=True)
class PlannedRun:
    """One run of a round.

    Attributes
    ----------
    system
        Name of the folder of its molecule.
    temperature
        K.
    condition
        Precision, offset and orientations.
    run
        What `do_run` does.
    """

    system: str
    temperature: float
    condition: Condition
    run: StudyRun

    @property
    def name(self) -> str:
        """Such as ``ethanol/nve-300K-mixed-hashed/replica-1``."""
        return "/".join(self.run.folder.parts[-3:])


@dataclass(frozen=True)
class Ran:
    """A run that has ended: its plan, its summary, and how many measurements flagged it."""

    planned: PlannedRun
    summary: dict[str, Any]
    flagged: int

    @property
    def failed(self) -> bool:
        """Whether it ended because something went wrong."""
        return self.summary["exit_reason"] in FAILURES


def read_systems(words: Sequence[str], settings: FailureSettings) -> list[StudyMolecule]:
    """Molecules from names of files and SMILES.

    Raises
    ------
    InputError
        For what is neither, and for two that would share a folder.
    """
    if not words:
        raise InputError("no system to run; give structure files or SMILES")
    found = [StudyMolecule(GIVEN, read_molecule(word, settings.charge, settings.multiplicity)) for word in words]
    folders = [each.folder.lower() for each in found]
    for each in found:
        if folders.count(each.folder.lower()) > 1:
            raise InputError(f"two systems would share the folder {each.folder}; give files of different names")
    return found


def check_systems(members: Sequence[StudyMolecule], model: Model, settings: FailureSettings) -> None:
    """Check all that can be known of the runs before anything is computed or written.

    Raises
    ------
    InputError
        For a molecule, condition or number that cannot work.
    """
    choose_platform(settings.platform)
    choose_backend(settings.backend)
    forces = ForceOptions(forces=settings.forces).resolved(model)
    for member in members:
        molecule = member.molecule
        check_elements(molecule, model.elements, model.name)
        check_molecule(replace(molecule, smiles=None))  # a run reads it from a file, which has none
        for condition in read_conditions(settings.conditions):
            if condition.held:
                raise InputError(f"--conditions: {condition.name} would hide what these runs are to find")
            options = replace(forces, orientations=condition.orientations, precision=condition.precision)
            check_memory(model, molecule.n_atoms, options)
    for planned in plan_runs(members[:1], model, 1, settings):
        resolved(planned.run.settings)


def plan_runs(
    members: Sequence[StudyMolecule], model: Model, number: int, settings: FailureSettings
) -> list[PlannedRun]:
    """The runs of a round, counted from 1.

    Every round has seeds of its own: a model is not judged by the trajectories that it has learnt from.
    """
    return [
        PlannedRun(member.folder, kelvin, condition, StudyRun(run, _cost(member.molecule, condition, run)))
        for member in members
        for kelvin in settings.kelvins()
        for condition in read_conditions(settings.conditions)
        for replica in range(1, settings.replicas + 1)
        for run in _pair(member, kelvin, condition, replica, model, number, settings)
    ]


def _pair(
    member: StudyMolecule,
    kelvin: float,
    condition: Condition,
    replica: int,
    model: Model,
    number: int,
    settings: FailureSettings,
) -> tuple[NvtSettings, NveSettings]:
    molecule, output = member.molecule, Path(settings.output or ".").resolve()
    common: dict[str, Any] = {
        "system": start_file(output, member),
        "model": str(model.path),
        "charge": molecule.charge,
        "multiplicity": molecule.multiplicity,
        "temperature": kelvin,
        "timestep": settings.timestep,
        "time": settings.time,
        "backend": settings.backend,
        "platform": settings.platform,
        "precision": condition.precision,
        "offset": condition.offset,
        "orientations": condition.orientations,
        "forces": settings.forces,
        "threads": 1,
        "seed": settings.seed_of(replica) + (number - 1) * settings.replicas,
        "watch_equivariance": 0 if settings.equivariance_limit is None else None,
        "largest_equivariance_error": settings.equivariance_limit,
        "equivariance_action": settings.equivariance_action,
        "report_interval": settings.report_interval,
    }

    def folder(ensemble: str) -> Path:
        conditions = f"{ensemble}-{kelvin:g}K-{condition.folder}"
        return round_folder(output, number) / "runs" / member.folder / conditions / f"replica-{replica}"

    # From the relaxed structure: a run at constant energy is first brought to its temperature, while one at constant
    # temperature finds it by itself, and keeps the frames of a failure on the way there.
    return (
        NvtSettings(**common, equilibrate=0.0, output=folder("nvt")),
        NveSettings(**common, equilibrate=settings.equilibrate, output=folder("nve")),
    )


def _cost(molecule: Molecule, condition: Condition, run: NvtSettings | NveSettings) -> float:
    steps = round(1000.0 * ((run.time or 0.0) + run.equilibrate) / run.timestep)
    return cost_of(molecule.n_atoms, condition.orientations, steps)


def round_folder(output: Path, number: int) -> Path:
    """The folder of a round, counted from 1."""
    return output / f"round-{number}"


def start_file(output: Path, member: StudyMolecule) -> Path:
    """The structure that the runs of a molecule read."""
    return output / "systems" / f"{member.folder}.xyz"


def write_starts(output: Path, members: Sequence[StudyMolecule]) -> None:
    """Write what the runs read, where it is not there yet."""
    for member in members:
        path = start_file(output, member)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            run_folder.write_start(path, member.molecule.atomic_numbers, member.molecule.positions)


def do_runs(planned: Sequence[PlannedRun], settings: FailureSettings, title: str) -> list[Ran]:
    """Do what is left of the runs; those that have ended are only read."""
    summaries = run_side_by_side(
        do_run,
        [each.run for each in planned],
        workers=settings.workers,
        scheduler=settings.scheduler,
        cost=lambda run: run.cost,
        done=fraction_done,
        title=title,
        quiet=settings.quiet,
    )
    limit = settings.equivariance_limit
    return [
        Ran(each, summary, len(flagged_times(each.run.folder, limit)))
        for each, summary in zip(planned, summaries, strict=True)
    ]
