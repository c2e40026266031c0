"""The run folder of a training: its configuration, its checkpoints, and going on from them."""

import dataclasses
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch.utilities import rank_zero_only

from mdet_openmm.configuration import read_mapping
from mdet_openmm.data.store import Store
from mdet_openmm.errors import InputError
from mdet_openmm.files import holds_nothing, plain, unfinished, write_file
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.training.config import TrainConfig
from mdet_openmm.training.progress import LOSSES, losses_in, validation_due

CONFIG = "config.yaml"
FREE = ("threads", "compile", "validate_every", "checkpoint_every", "description")
"""Settings that may change at a restart: no loss depends on them."""


def newest_checkpoint(folder: Path, usable: Callable[[int], bool] = lambda step: True) -> Path | None:
    """The newest checkpoint that can be read, of the steps that are usable; one cut off by a crash is passed over."""
    for path in sorted(folder.glob("step*.ckpt"), key=lambda p: (steps_of(p), p.name), reverse=True):
        if not usable(steps_of(path)):
            continue
        try:
            torch.load(path, map_location="cpu", weights_only=True)
            with zipfile.ZipFile(path) as parts:  # torch does not look at its checksums
                if parts.testzip() is not None:
                    raise zipfile.BadZipFile
        except Exception as error:  # whatever a truncated file raises
            print(f"passing over the unreadable checkpoint {path} ({type(error).__name__})")
            continue
        return path
    return None


def check_folders(config: TrainConfig, run: Path, model: Path, restart: bool) -> None:
    """Check the folders before anything is computed or written."""
    if rank_zero_only.rank > 0:  # started by the process that has checked them
        return
    if model.exists():
        raise InputError(f"{model} exists and is not overwritten; choose another name or remove it")
    before = _stored_in(run)
    if before or (run.exists() and not holds_nothing(run, but=("checkpoints",))):
        if not restart:
            raise InputError(f"{run} holds an earlier training run; add --restart to go on with it, or remove it")
        before, now = _with_defaults(before), stored(config)
        # a constant rate does not know how long it will go on
        free = (*FREE, "steps") if config.schedule == "constant" and not config.cooldown_steps else FREE
        changed = [k for k in now if before.get(k) != now[k] and k not in free]
        if changed:
            raise InputError(f"--restart: {', '.join(changed)} differ from those of the run in {run}")


def _stored_in(run: Path) -> dict[str, Any]:
    path = run / CONFIG
    return read_mapping(path) if path.exists() else {}


def _with_defaults(before: dict[str, Any]) -> dict[str, Any]:
    """A stored configuration, with the defaults of the settings that its version did not have."""
    defaults = stored(TrainConfig(name="-", data=Path("-")))
    network = before.get("network", {})
    return {**defaults, **before, "network": {**defaults["network"], **network} if isinstance(network, dict) else None}


def stored(config: TrainConfig) -> dict[str, Any]:
    """The configuration as it stands in the run folder, in types that YAML and JSON know."""
    return dict(plain(dataclasses.asdict(config), str))


def branched(config: TrainConfig, run: Path, cooldown: int | None) -> tuple[TrainConfig, Path]:
    """What a training does that goes on from the newest checkpoint of another run, and that checkpoint.

    Weights, their average, the optimiser's state and the number of steps are taken over; the data, the rates and the
    weights of the loss may be others. With ``cooldown`` the rates fall in a line over so many further steps, which
    makes a finished model of a run at a constant rate that itself goes on.

    Raises
    ------
    InputError
        If the run has no checkpoint, or has done all steps of the configuration.
    """
    checkpoint = newest_checkpoint(run / "checkpoints")
    if checkpoint is None:
        raise InputError(f"{run} has no checkpoint to continue from")
    done = steps_of(checkpoint)
    if cooldown is not None:
        if config.schedule != "constant":
            raise InputError("--cooldown needs schedule: constant")
        config = dataclasses.replace(config, steps=done + cooldown, cooldown_steps=cooldown)
    if config.steps <= done:
        raise InputError(f"the run in {run} has done {done} steps already; set steps to more")
    return config, checkpoint


def steps_of(checkpoint: Path) -> int:
    # Lightning once called a file "step7-v1" where a damaged step7 stood
    return int(checkpoint.stem.removeprefix("step").partition("-")[0])


def left_by(store: Store, run: Path) -> Path | None:
    """The checkpoint to go on from: the newest whose validation, if one was due, is in ``loss.csv``.

    It is written before that validation, which Lightning does not make up for.
    """
    folder, before = run / "checkpoints", _with_defaults(_stored_in(run))
    every, steps = before["validate_every"], before["steps"]
    if not all(isinstance(value, int) and value > 0 for value in (every, steps)):
        raise InputError(f"{run / CONFIG} is damaged: validate_every and steps must be positive numbers")
    validations = {step for step, row in losses_in(run / LOSSES) if ",,," in row}

    def validated(step: int) -> bool:
        return not validation_due(step, every, steps) or step - 1 in validations

    found = newest_checkpoint(folder, validated) if len(store.indices("val")) else None
    return found or newest_checkpoint(folder)


def begin(config: TrainConfig, run: Path, taken_over: Path | None) -> None:
    """Make the run folder. Its configuration comes last: a folder without it is begun anew."""
    try:
        if not (run / CONFIG).exists():
            shutil.rmtree(run / "checkpoints", ignore_errors=True)
        (run / "checkpoints").mkdir(parents=True, exist_ok=True)
        if taken_over is not None:
            with unfinished(run / "checkpoints" / taken_over.name) as copy_of:
                shutil.copyfile(taken_over, copy_of)
        write_file(run / CONFIG, yaml.safe_dump(stored(config), sort_keys=False))
    except OSError as error:
        raise InputError(f"cannot write {run}: {error.strerror}") from None


def as_begun(config: TrainConfig, run: Path) -> TrainConfig:
    """The configuration with the steps of a cool-down that was begun in a run folder."""
    begun = _stored_in(run)
    return dataclasses.replace(config, **{key: begun[key] for key in ("steps", "cooldown_steps") if key in begun})


def shape_of(checkpoint: Path | None) -> NetworkConfig | None:
    """The network of a checkpoint: its scale of forces comes from the data that the run began with."""
    if checkpoint is None:
        return None
    stored = torch.load(checkpoint, map_location="cpu", weights_only=True).get("network")
    return None if stored is None else NetworkConfig(**stored)
