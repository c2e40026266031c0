"""Learning from failures: run, take what went wrong, have the teacher label it, fine-tune, and run again.

::

    OUTPUT/study.json                          what was asked for
    OUTPUT/systems/SYSTEM.xyz                  the structures that runs start from
    OUTPUT/errors_test.json                    errors of the first model on the test split
    OUTPUT/round-1/runs/SYSTEM/nvt-.../replica-1   run folders
    OUTPUT/round-1/harvest.json, frames/SYSTEM.xyz  frames taken from them
    OUTPUT/round-1/labels.h5, data.h5          their labels; all data with them
    OUTPUT/round-1/training/                   checkpoints and losses
    MODELS/NAME-round1/                        the new model, with which round 2 runs
    OUTPUT/table.md, table.csv, table.json

A step whose result is there is not done again, and a run, labelling or training that was interrupted goes on.
"""

from collections.abc import Collection, Sequence
from dataclasses import fields, replace
from pathlib import Path

from mdet_openmm.dask_cluster import check_scheduler
from mdet_openmm.data.merge import file_digest
from mdet_openmm.data.store import Store
from mdet_openmm.errors import InputError
from mdet_openmm.export.model_folder import Model, load_model
from mdet_openmm.files import locked
from mdet_openmm.studies import folder
from mdet_openmm.studies.ablation import digest, speaker
from mdet_openmm.studies.failure_runs import check_systems, do_runs, plan_runs, read_systems, round_folder, write_starts
from mdet_openmm.studies.failure_settings import FailureSettings
from mdet_openmm.studies.failure_table import Round, write_table
from mdet_openmm.studies.relearn import check_learning, learn, measured, namesakes, new_model_folder

DECIDES = ("replicas", "conditions", "time")
"""Settings that other studies may change later; here the runs of a round are what was learnt from."""


def learn_from_failures(
    settings: FailureSettings, data: Path, systems: Sequence[str], given: Collection[str] | None = None
) -> list[Round]:
    """Let a model learn from the runs in which it fails, round by round.

    With more than one worker, a script that calls this needs ``if __name__ == "__main__":``.

    Parameters
    ----------
    settings
        What to do.
    data
        The data set that the model was trained on; its teacher labels the new frames.
    systems
        Structure files and SMILES.
    given
        For a restart: names of the settings that were set on purpose; None: those that differ from their defaults.
        ``rounds`` may differ from the stored study's.

    Returns
    -------
    list of Round
        One more than were asked for: the last has only runs, with the last model. Fewer if in one of them no run
        failed or was flagged.

    Raises
    ------
    InputError
        For anything that cannot work, before anything is computed or written.
    RunStopped
        If the teacher has an answer for none of the frames, or the training met a NaN.
    KeyboardInterrupt
        After Ctrl-C; go on with ``restart``.
    """
    model = load_model(settings.model)
    settings = _complete(settings, model, given)
    say = speaker(settings.quiet)
    members = read_systems(systems, settings)
    check_systems(members, model, settings)
    check_scheduler(settings.scheduler)
    data = Path(data).resolve()
    check_learning(data, model, settings)
    with Store(data) as store:
        notes = namesakes(members, store)
    output = Path(settings.output or ".").resolve()
    if not settings.restart:
        _check_no_models(settings)
    folder.store(
        settings,
        {
            "the model": model.sha256,
            "the data set": file_digest(data),
            "the list of systems": digest(*(s.molecule for s in members)),
            **{f"--{name}": str(getattr(settings, name)) for name in DECIDES},
        },
    )
    rounds: list[Round] = []
    with locked(output):
        write_starts(output, members)
        with Store(data) as store:
            test = measured(model, store, "test", output / "errors_test.json")["all"].get("mae")
        for number in range(1, settings.rounds + 2):
            say(f"round {number}: runs of {model.name}")
            runs = tuple(do_runs(plan_runs(members, model, number, settings), settings, f"round {number}"))
            wrong = any(ran.failed or ran.flagged for ran in runs)
            learnt = None
            if wrong and number <= settings.rounds:
                here = round_folder(output, number)
                learnt = learn(members, runs, model, data, here, number, settings, say)
            elif not wrong:
                say(f"round {number}: no run of {model.name} failed or was flagged; there is nothing to learn from")
            rounds.append(Round(number, model.name, test, runs, learnt))
            text = write_table(output, rounds, members, settings, notes)
            if learnt is None:
                break
            model = load_model(new_model_folder(settings, number))
            test = model.metadata["metrics"].get("test", {}).get("all", {}).get("mae")
    say(f"\n{text}\ntable.md, table.csv and table.json are in {output}")
    return rounds


def _complete(settings: FailureSettings, model: Model, given: Collection[str] | None) -> FailureSettings:
    """The settings of the study, stored ones included, with what depends on others filled in."""
    if given is None:
        given = {f.name for f in fields(settings) if getattr(settings, f.name) != f.default}
    name = settings.name or model.name
    if name != Path(name).name or name.startswith("."):
        raise InputError(f"--name must be a plain name, not {name!r}")
    asked = replace(
        settings,
        name=name,
        models=str(Path(settings.models).resolve()),
        output=Path(settings.output or Path("runs") / "failures" / name),
    )
    found = folder.go_on(asked, set(given) - {"rounds"})
    return replace(found, rounds=settings.rounds) if "rounds" in given else found


def _check_no_models(settings: FailureSettings) -> None:
    for number in range(1, settings.rounds + 1):
        path = new_model_folder(settings, number)
        if path.exists():
            raise InputError(f"{path} exists and is not overwritten; choose another --name or remove it")
