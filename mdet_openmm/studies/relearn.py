"""What a round makes of its runs: frames, their labels, the data with them, and a model that has learnt from both."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mdet_openmm.configuration import from_mapping
from mdet_openmm.data.config import LabelConfig, MoleculeEntry, TeacherConfig
from mdet_openmm.data.label import run_label
from mdet_openmm.data.merge import merge_data
from mdet_openmm.data.store import Store
from mdet_openmm.data.teacher import teacher_version
from mdet_openmm.errors import InputError
from mdet_openmm.export.model_folder import Model, load_model
from mdet_openmm.files import write_json
from mdet_openmm.studies.failure_runs import Ran
from mdet_openmm.studies.failure_settings import FailureSettings
from mdet_openmm.studies.harvest import Frames, take_frames, write_frames
from mdet_openmm.studies.molecules import StudyMolecule
from mdet_openmm.training.config import FINETUNE_DEFAULTS, FINETUNE_ENERGY_WEIGHT, TrainConfig
from mdet_openmm.training.evaluate import evaluate
from mdet_openmm.training.fit import run_training

HARVEST, LABELS, MERGED, TRAINING = "harvest.json", "labels.h5", "data.h5", "training"


@dataclass(frozen=True)
class Learnt:
    """What a round has learnt from.

    Attributes
    ----------
    taken
        Frames taken from each run, by the run's name.
    labelled, skipped
        Frames that the teacher labelled, and those left out for each reason.
    repeats, share
        How often each new frame is in the training data, and what part of it all of them are.
    before, after
        By system, force MAE in meV/Å on the labelled frames, of the model that the runs were made with
        and of the one that has learnt from them.
    """

    taken: dict[str, int]
    labelled: int
    skipped: dict[str, int]
    repeats: int
    share: float
    before: dict[str, float]
    after: dict[str, float]


def teacher_of(store: Store) -> TeacherConfig:
    """The teacher that labelled a data set, which labels what is added to it.

    Raises
    ------
    InputError
        If the data set does not tell.
    """
    config = store.attributes.get("config")
    teacher = config.get("teacher") if isinstance(config, dict) else None
    if teacher is None:
        raise InputError(
            f"{store.path} does not say which teacher labelled it; only sets of mdet label can be added to"
        )
    return from_mapping(TeacherConfig, teacher, f"{store.path}: teacher")


def check_learning(data: Path, model: Model, settings: FailureSettings) -> None:
    """Refuse what could not be labelled or trained, before anything is computed.

    Raises
    ------
    InputError
        For data without a known teacher, a network that cannot be trained, or a setting that makes no sense.
    """
    with Store(data) as store:
        teacher_version(teacher_of(store))  # is it installed?
    if not model.network.config.force_head:
        raise InputError(f"model {model.name} has no force head: energy-conserving ones can be run, not trained")
    _train_config(data, model, 1, settings)


def new_model_folder(settings: FailureSettings, number: int) -> Path:
    """Where the model of a round, counted from 1, is written."""
    return Path(settings.models) / f"{settings.name}-round{number}"


def learn(
    members: Sequence[StudyMolecule],
    runs: Sequence[Ran],
    model: Model,
    data: Path,
    folder: Path,
    number: int,
    settings: FailureSettings,
    say: Callable[[str], None],
) -> Learnt:
    """Take frames, label them and fine-tune the model; a step whose result is there is not done again.

    Parameters
    ----------
    members, runs
        Of the round.
    model
        That the runs were made with.
    data
        The data set that the first model was trained on.
    folder
        Of the round; those of earlier rounds stand beside it.
    number
        Of the round, counted from 1.
    settings
        Of the study.
    say
        Takes lines for the user.

    Raises
    ------
    InputError
        If the new model's folder holds another model.
    RunStopped
        If not one frame could be labelled, or the loss became NaN.
    """
    taken = _harvest(members, runs, folder, settings)
    say(f"round {number}: {sum(taken.values())} frames taken from {len(runs)} runs")
    labels = folder / LABELS
    if not labels.exists():
        run_label(_label_config(members, data, folder, number, settings), labels, settings.workers, restart=True)
    added = [folder.with_name(f"round-{k}") / LABELS for k in range(1, number + 1)]
    merged, target = folder / MERGED, new_model_folder(settings, number)
    if not merged.exists():
        merge_data(data, added, merged, settings.share)
    if not target.exists():
        training = folder / TRAINING
        restart = training.is_dir() and any(training.iterdir())
        run_training(
            _train_config(merged, model, number, settings),
            model_folder=target,
            run_folder=training,
            restart=restart,
            quiet=settings.quiet,
        )
    new = load_model(target)
    if new.metadata["training"].get("data") != str(merged):
        raise InputError(f"{target} is another model, not the one of this round; remove it or choose another --name")
    with Store(labels) as store, Store(merged) as whole:
        part = whole.attributes["config"]["merged"][-1]
        fresh = sum(m["training_frames"] * m["repeats"] for m in whole.attributes["config"]["merged"][1:])
        learnt = Learnt(
            taken=taken,
            labelled=len(store),
            skipped=store.attributes["skipped"],
            repeats=part["repeats"],
            share=fresh / len(whole.indices("train")),
            before=_errors(model, store, folder / "errors_before.json"),
            after=_errors(new, store, folder / "errors_after.json"),
        )
    write_json(folder / "learnt.json", asdict(learnt))
    return learnt


def frames_file(folder: Path, member: StudyMolecule) -> Path:
    """The frames of a system that a round has taken."""
    return folder / "frames" / f"{member.folder}.xyz"


def _harvest(
    members: Sequence[StudyMolecule], runs: Sequence[Ran], folder: Path, settings: FailureSettings
) -> dict[str, int]:
    """Write the frames of every system, and count those of every run."""
    done = folder / HARVEST
    if not done.exists():
        counts, reasons = {}, {}
        for member in members:
            taken: dict[str, Frames] = {}
            for ran in (r for r in runs if r.planned.system == member.folder):
                taken[ran.planned.name] = frames = take_frames(
                    ran.planned.run.folder,
                    window=settings.window,
                    way_frames=settings.way_frames,
                    healthy_frames=settings.healthy_frames,
                    equivariance_limit=settings.equivariance_limit,
                )
                counts[ran.planned.name] = len(frames.reasons)
                reasons[ran.planned.name] = dict(Counter(frames.reasons))
            if any(len(frames.reasons) for frames in taken.values()):
                write_frames(frames_file(folder, member), member.molecule.atomic_numbers, taken)
        write_json(done, {"frames": counts, "reasons": reasons})
    frames_of: dict[str, int] = json.loads(done.read_text(encoding="utf-8"))["frames"]
    return frames_of


def added_name(member: StudyMolecule, number: int) -> str:
    """The name in the data of what a round has added, apart from a molecule of the same name that was there before."""
    return f"{member.molecule.name} (round {number})"


def _label_config(
    members: Sequence[StudyMolecule], data: Path, folder: Path, number: int, settings: FailureSettings
) -> LabelConfig:
    with Store(data) as store:
        teacher = teacher_of(store)
    entries = tuple(
        MoleculeEntry(
            trajectory=frames_file(folder, member),
            name=added_name(member, number),
            charge=member.molecule.charge,
            multiplicity=member.molecule.multiplicity,
        )
        for member in members
        if frames_file(folder, member).exists()
    )
    return LabelConfig(
        molecules=entries, seed=settings.seed, teacher=teacher, max_force=settings.max_force, task_frames=20
    )


def _train_config(merged: Path, model: Model, number: int, settings: FailureSettings) -> TrainConfig:
    given = {
        "steps": settings.steps,
        "learning_rate": settings.learning_rate,
        "batch_size": settings.batch_size,
        "energy_weight": FINETUNE_ENERGY_WEIGHT if model.has_energy else 0.0,
        "antisymmetry_weight": settings.antisymmetry_weight,
        "penalties_from": 0.0,  # a trained network has forces to make conservative
        "seed": settings.seed + number,
        "checkpoint_every": 100,
        "threads": settings.workers or 0,
    }
    return TrainConfig(
        name=new_model_folder(settings, number).name,
        data=merged,
        start_from=str(model.path),
        description=f"Fine-tuned from {model.name} on its data and on frames of runs of its that went wrong.",
        **{**FINETUNE_DEFAULTS, **given},  # type: ignore[arg-type]
    )


def _errors(model: Model, store: Store, path: Path) -> dict[str, float]:
    """Force MAE by molecule of all frames of a set of new labels."""
    return {name: values["mae"] for name, values in measured(model, store, "train", path)["by_molecule"].items()}


def measured(model: Model, store: Store, split: str, path: Path) -> dict[str, Any]:
    """Errors of a model on one split, see `evaluate`; kept in a file, and read from there if they are."""
    if not path.exists():
        found = evaluate(model.network, store, (split,)).get(split, {"all": {}, "by_molecule": {}})
        write_json(path, found)
    errors: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return errors


def namesakes(members: Sequence[StudyMolecule], store: Store) -> list[str]:
    """A note for each held-out molecule that a system has the composition of, and so may be."""
    notes = []
    for molecule in np.unique(store.molecule[store.indices("unseen")]):
        elements = np.sort(store.load(np.flatnonzero(store.molecule == molecule)[0]).atomic_numbers[0])
        for member in members:
            if np.array_equal(elements, np.sort(member.molecule.atomic_numbers)):
                held_out = store.molecules[molecule].name
                notes.append(
                    f"{member.molecule.name} has the composition of {held_out}, which the data hold out: if it is "
                    "that molecule, the 'unseen' errors of the new models are not of unseen molecules."
                )
    return notes
