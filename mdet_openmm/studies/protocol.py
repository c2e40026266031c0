"""The protocol of "Forces are not enough" (Fu et al. 2023, 2210.07237): NVT beside a reference trajectory.

Runs start from frames of the reference, with velocities of Maxwell's distribution, and go on until a bond has collapsed
or the time is over. They are cut into pieces after each of which the bonds are looked at: a run that has fallen apart
need not be computed to its end, and the criterion is the protocol's, not that of the run itself.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.dask_cluster import check_scheduler
from mdet_openmm.errors import InputError
from mdet_openmm.export.memory import check_memory
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.checks import check_elements, check_molecule
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.trajectories import Trajectory, read_trajectory
from mdet_openmm.side_by_side import run_side_by_side
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.ended_run import read_positions
from mdet_openmm.simulation.settings import NvtSettings, resolved
from mdet_openmm.studies import folder
from mdet_openmm.studies.ablation import digest, speaker
from mdet_openmm.studies.estimate import estimate
from mdet_openmm.studies.runs import StudyRun, cost_of, do_run, fraction_done
from mdet_openmm.studies.scores import Score, Yardstick, collapse_frame, make_yardstick, score
from mdet_openmm.studies.settings import ProtocolSettings
from mdet_openmm.studies.table import Cell, write_tables
from mdet_openmm.system.force import choose_backend
from mdet_openmm.system.platform import choose_platform

PIECE_PS = 10.0
"""Between two looks at the bonds; each piece costs a second or two to set up."""
COLUMNS = {
    "reference": "reference",
    "atoms": "atoms",
    "stable": "runs that kept their bonds",
    "stability_ps": "stability, ps",
    "density_error": "h(r) error",
    "temperature_K": "T, K",
    "steps_per_second": "steps/s",
}


@dataclass(frozen=True)
class ProtocolRun:
    """One replica: its run, and what its bonds are compared with."""

    reference: str
    replica: int
    run: StudyRun
    yardstick: Yardstick


@dataclass(frozen=True)
class ProtocolResult:
    """What came of one replica."""

    reference: str
    atoms: int
    replica: int
    folder: Path
    score: Score
    summary: dict[str, Any]


def benchmark(
    settings: ProtocolSettings, references: Sequence[Path], given: Collection[str] | None = None
) -> list[ProtocolResult]:
    """Run the protocol for each reference, and write ``table.md``, ``table.csv`` and ``table.json``.

    Parameters
    ----------
    settings
        What to do.
    references
        Run folders, or files that `read_trajectory` reads.
    given
        For a restart: names of the settings that were set on purpose; by default those that differ from their
        defaults.

    Raises
    ------
    InputError
        For anything that cannot work, before anything is written.
    KeyboardInterrupt
        After Ctrl-C; go on with ``restart``.
    """
    settings = folder.go_on(replace(settings, output=settings.folder), given)
    say = speaker(settings.quiet)
    model = load_model(settings.model)
    choose_platform(settings.platform, settings.precision)
    choose_backend(settings.backend)
    options = ForceOptions(precision=settings.precision, orientations=settings.orientations, forces=settings.forces)
    trajectories = [_reference(Path(path)) for path in references]
    names = [t.name for t in trajectories]
    planned, structures = [], {}
    for trajectory in trajectories:
        if names.count(trajectory.name) > 1:
            raise InputError(f"two references are called {trajectory.name}; rename one")
        numbers = trajectory.atomic_numbers
        check_memory(model, len(numbers), options)
        yardstick = make_yardstick(trajectory)
        for replica, frame in enumerate(_start_frames(trajectory, settings), 1):
            molecule = Molecule(
                numbers, trajectory.positions[frame], settings.charge or 0, settings.multiplicity or 1, trajectory.name
            )
            check_elements(molecule, model.elements, model.name)
            check_molecule(molecule)
            run = _run(trajectory.name, len(numbers), replica, settings)
            resolved(run.settings)
            planned.append(ProtocolRun(trajectory.name, replica, run, yardstick))
            structures[run.settings.system] = molecule
    check_scheduler(settings.scheduler)
    folder.store(settings, {"model": model.sha256, **{f"reference {t.name}": _digest(t) for t in trajectories}})
    for path, molecule in structures.items():
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            run_folder.write_start(path, molecule.atomic_numbers, molecule.positions)
    say(f"{len(planned)} runs of {settings.time:g} ps at {settings.temperature:g} K")
    summaries = run_side_by_side(
        run_protocol,
        planned,
        workers=settings.workers,
        scheduler=settings.scheduler,
        cost=lambda task: task.run.cost,
        done=lambda task: fraction_done(task.run),
        title="NVT",
        quiet=settings.quiet,
    )
    results = [
        ProtocolResult(task.reference, len(summary["atomic_numbers"]), task.replica, task.run.folder, found, summary)
        for task, summary in zip(planned, summaries, strict=True)
        for found in [score_run(task, summary)]
    ]
    rows = [_row([r for r in results if r.reference == name]) for name in names]
    text = write_tables(Path(settings.folder), COLUMNS, rows, [_plain(r) for r in results])
    say(f"\n{text}\ntable.md, table.csv and table.json are in {settings.folder}")
    return results


def run_protocol(task: ProtocolRun) -> dict[str, Any]:
    """Run a replica piece by piece until it is over or a bond has collapsed; returns the summary.

    A run on the Reference platform that is made longer has the same bytes as one made at once.
    """
    begun = _steps_begun(task.run.folder)
    whole = float(task.run.settings.time or 0.0)
    pieces = max(1, math.ceil(whole / PIECE_PS))
    for time in [*(k * PIECE_PS for k in range(1, pieces)), whole]:
        piece = replace(task.run, settings=replace(task.run.settings, time=time))
        if piece.steps < begun:
            continue
        summary = do_run(piece)
        if summary["exit_reason"] != "completed":
            break
        if collapse_frame(task.yardstick, _positions(task, summary)) is not None:
            break
    return summary


def _steps_begun(folder: Path) -> int:
    """Steps that the run in a folder was last asked for; a piece with fewer is done."""
    begun = (folder / run_folder.SETTINGS).exists()
    return int(run_folder.read_settings(folder)["settings"]["steps"]) if begun else 0


def score_run(task: ProtocolRun, summary: dict[str, Any]) -> Score:
    """Score the trajectory of a replica."""
    broken = summary["exit_reason"] != "completed"
    interval = summary["report_interval_fs"] * 1e-3
    return score(task.yardstick, _positions(task, summary), interval, broken=broken)


def _positions(task: ProtocolRun, summary: dict[str, Any]) -> NDArray[np.float64]:
    return read_positions(task.run.folder, len(summary["atomic_numbers"]))


def _reference(path: Path) -> Trajectory:
    """A reference, named after its file or its run folder."""
    trajectory = read_trajectory(run_folder.trajectory_of(path))
    return replace(trajectory, name=path.resolve().name) if path.is_dir() else trajectory


def _start_frames(trajectory: Trajectory, settings: ProtocolSettings) -> list[int]:
    """A frame for each replica: the one asked for, or evenly spread ones, the first of them the first."""
    count = len(trajectory.positions)
    if settings.start is None:
        return [k * count // settings.replicas for k in range(settings.replicas)]
    if not 0 <= settings.start < count:
        raise InputError(f"--start {settings.start} is not a frame of {trajectory.name}, which has {count}")
    return [settings.start] * settings.replicas


def _run(name: str, n_atoms: int, replica: int, settings: ProtocolSettings) -> StudyRun:
    here = Path(settings.folder).resolve() / name
    nvt = NvtSettings(
        system=here / f"start-{replica}.xyz",
        model=settings.model,
        charge=settings.charge or 0,
        multiplicity=settings.multiplicity or 1,
        temperature=settings.temperature,
        thermostat=settings.thermostat,
        friction=settings.friction,
        timestep=settings.timestep,
        time=settings.time,
        equilibrate=0.0,
        minimize=False,
        watch=False,
        watch_equivariance=0,
        report_interval=settings.report_interval,
        precision=settings.precision,
        offset=settings.offset,
        orientations=settings.orientations,
        forces=settings.forces,
        backend=settings.backend,
        platform=settings.platform,
        threads=1,
        seed=settings.seed_of(replica),
        output=here / f"replica-{replica}",
    )
    return StudyRun(nvt, cost_of(n_atoms, settings.orientations, round(1000.0 * settings.time / settings.timestep)))


def _digest(trajectory: Trajectory) -> str:
    return digest(Molecule(trajectory.atomic_numbers, trajectory.positions))


def _row(results: Sequence[ProtocolResult]) -> dict[str, Cell]:
    return {
        "reference": results[0].reference,
        "atoms": results[0].atoms,
        "stable": f"{sum(not r.score.collapsed for r in results)} of {len(results)}",
        "stability_ps": estimate(r.score.stable_ps for r in results),
        "density_error": estimate(r.score.density_error for r in results),
        "temperature_K": estimate(r.summary["temperature_mean_K"] for r in results if not r.score.collapsed),
        "steps_per_second": estimate(1e3 / r.summary["ms_per_step"] for r in results if r.summary["ms_per_step"]),
    }


def _plain(result: ProtocolResult) -> dict[str, Any]:
    return {**asdict(result), "folder": str(result.folder)}
