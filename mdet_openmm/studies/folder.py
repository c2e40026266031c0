"""The folder of a study: what was asked for, so that it can be gone on with and is not mixed up with another."""

import dataclasses
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

from mdet_openmm.configuration import as_stored, from_stored, stored_name
from mdet_openmm.errors import InputError
from mdet_openmm.files import write_json
from mdet_openmm.flags import flag_of
from mdet_openmm.simulation import run_folder
from mdet_openmm.studies.settings import StudySettings

STUDY = "study.json"
MAY_CHANGE = ("replicas", "conditions", "structures", "time", "model")
"""Fields that a later call may have otherwise: further runs are added, and those that are there made longer. Of the
model the hash is compared."""
NOT_STORED = ("system", "workers", "scheduler", "output", "restart", "quiet")
"""Fields that say how a call goes; of the system the hash is compared."""

Settings = TypeVar("Settings", bound=StudySettings)


def go_on(settings: Settings, given: Collection[str] | None) -> Settings:
    """The settings that a study has: checked, and on a restart the stored ones where none were given.

    Parameters
    ----------
    settings
        As they were asked for.
    given
        Names of the fields that the user set; None: those that differ from their defaults.

    Raises
    ------
    InputError
        If the output folder cannot be used, or a setting differs from the stored one.
    """
    folder = settings.output or Path(".")
    stored_at = folder / STUDY
    if not settings.restart:
        if stored_at.exists():
            raise InputError(f"{folder} holds a study; go on with it with --restart, or choose another --output")
        run_folder.check_new_folder(folder)
        return settings
    if not stored_at.is_file():
        raise InputError(f"nothing to restart: {folder} holds no {STUDY}; leave out --restart to start a study")
    try:
        before = json.loads(stored_at.read_text(encoding="utf-8"))["settings"]
        known = {stored_name(field) for field in dataclasses.fields(settings)}
        if not set(before) <= known:
            raise ValueError(f"unknown settings {sorted(set(before) - known)}")
        before = from_stored(type(settings), before)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot read {stored_at}: {error}") from None
    if given is None:
        given = {field.name for field in dataclasses.fields(settings) if getattr(settings, field.name) != field.default}
    now = from_stored(type(settings), _stored(settings))
    for name in sorted(set(given) & set(before) - set(MAY_CHANGE)):
        if now[name] != before[name]:
            raise InputError(
                f"{flag_of(name)} {now[name]} differs from the stored study's {before[name]}; leave it out "
                "to go on, or start a new study in another folder"
            )
    if "time" in given and getattr(settings, "time", 0.0) < before["time"]:
        raise InputError(
            f"the stored study has runs of {before['time']} ps; --restart can make them longer, not shorter"
        )
    kept = {name: value for name, value in before.items() if name not in given}
    return dataclasses.replace(settings, **kept)


def store(settings: StudySettings, identity: dict[str, Any]) -> None:
    """Write ``study.json`` into the folder, which is made; what identifies the study must be as before.

    Parameters
    ----------
    settings
        Of the study.
    identity
        Hashes of what is simulated and with what.

    Raises
    ------
    InputError
        If the stored study is of another model or another structure.
    """
    folder = settings.output or Path(".")
    if settings.restart:
        before = json.loads((folder / STUDY).read_text(encoding="utf-8"))
        for name, value in identity.items():
            if name in before.get("identity", {}) and before["identity"][name] != value:
                raise InputError(
                    f"{name} is not the one that the study in {folder} was started with; use another folder"
                )
        identity = {**before.get("identity", {}), **identity}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / STUDY, {"settings": _stored(settings), "identity": identity})


def _stored(settings: StudySettings) -> dict[str, Any]:
    values = {name: value for name, value in as_stored(settings).items() if name not in NOT_STORED}
    model = Path(values["model"])
    values["model"] = str(model.resolve()) if model.is_dir() else values["model"]
    return values
