"""Going on with a run: what may be asked of it anew, and what must be as it was."""

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mdet_openmm.configuration import as_stored, from_stored
from mdet_openmm.errors import InputError
from mdet_openmm.flags import flag_of
from mdet_openmm.settings import OptionError
from mdet_openmm.simulation.settings import (
    AUTO_CYCLE,
    AUTO_ORIENTATIONS,
    RunSettings,
    S,
    resolved,
)
from mdet_openmm.simulation.setup import Setup

NOT_STORED = ("system", "output", "restart", "max_walltime", "quiet", "time", "largest_drift")
"""Fields that say how this one call goes, not what is simulated (the time is stored as a number of steps, and what a
drift allows as multiple time steps)."""


NOT_IN_OLD_RUNS = {"watch_equivariance": 0, "replicas": 1, "multiple_time_steps": None, "protocol": None}
"""What a run of a version without these settings goes on with."""


MAY_CHANGE = frozenset({"steps", "model", "threads", "teacher", "cuda_graph"})
"""Fields that a restart may give anew (the model is compared by its hash)."""


def stored(settings: RunSettings) -> dict[str, Any]:
    """What of resolved settings belongs into the run's folder, as plain values."""
    values = {k: v for k, v in as_stored(settings).items() if k not in NOT_STORED}
    model = Path(settings.model)
    values["model"] = str(model.resolve()) if model.is_dir() else settings.model
    return values


def changed_from_default(settings: RunSettings) -> set[str]:
    """Names of the fields that differ from their defaults: what a caller of the API can be said to have given."""
    return {f.name for f in dataclasses.fields(settings) if getattr(settings, f.name) != f.default}


def continued(settings: S, before: dict[str, Any], given: Collection[str]) -> S:
    """Settings for going on with a run: the stored ones, where those given now do not contradict them.

    Parameters
    ----------
    settings
        What was asked for now, not yet resolved.
    before
        What :func:`stored` gave for the run.
    given
        Names of the fields that the user set; the others are taken from the run. ``steps`` or ``time`` may be
        larger than before: the run is then extended.

    Raises
    ------
    InputError
        Naming the first setting that differs from the stored run's.
    """
    try:
        kept = {**NOT_IN_OLD_RUNS, **from_stored(type(settings), before)}
        old = dataclasses.replace(settings, time=None, largest_drift=None, **kept)
    except (TypeError, OptionError) as error:
        raise InputError(f"the settings stored in {settings.folder} are not of this version ({error})") from None
    asked = {name: getattr(settings, name) for name in given if name not in NOT_STORED}
    for name in ("backend", "platform", "orientations", "multiple_time_steps"):  # these leave the choice to us
        if asked.get(name) in ("auto", None, AUTO_ORIENTATIONS, AUTO_CYCLE):
            asked.pop(name, None)
    new = resolved(dataclasses.replace(old, **{**asked, "model": old.model}))
    if settings.time is not None:
        new = resolved(dataclasses.replace(new, steps=asked.get("steps"), time=settings.time))
    for name in sorted(set(asked) - MAY_CHANGE):
        if getattr(new, name) != getattr(old, name):
            raise InputError(
                f"{flag_of(name)} {getattr(new, name)} differs from the stored run's {getattr(old, name)}; leave it "
                "out to go on, or start a new run in another folder"
            )
    if (new.steps or 0) < (old.steps or 0):
        raise InputError(f"the stored run has {old.steps} steps; --restart can make it longer, not shorter")
    return dataclasses.replace(new, model=settings.model if "model" in given else old.model)


def check_same_run(setup: Setup, before: dict[str, Any]) -> None:
    """Refuse to go on with another model or another structure than the stored run's."""
    folder = setup.settings.folder
    if before.get("model", {}).get("sha256") != setup.identity["model"]["sha256"]:
        raise InputError(
            f"--model {setup.settings.model} is not the model that the run in {folder} was started with "
            f"({before.get('model', {}).get('name')}, by its hash); start a new run in another folder"
        )
    for name, value in setup.identity["molecule"].items():
        if before.get("molecule", {}).get(name) != value:
            what = "positions differ" if name == "positions_sha256" else f"{name} differs"
            raise InputError(
                f"{setup.settings.system} is not the structure that the run in {folder} was started with ({what})"
            )
