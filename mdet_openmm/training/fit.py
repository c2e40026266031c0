"""From a configuration to a model folder."""

import contextlib
import copy
import dataclasses
import importlib.util
import logging
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader

from mdet_openmm.data.store import Store
from mdet_openmm.errors import InputError, RunStopped
from mdet_openmm.export.model_folder import load_model, save_model
from mdet_openmm.files import holds_nothing, locked, plain, unfinished, write_file
from mdet_openmm.interrupt import Interrupt
from mdet_openmm.measure.coverage import coverage_of
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.training.batches import TrainingBatches, load_batch
from mdet_openmm.training.card import model_card
from mdet_openmm.training.config import TrainConfig
from mdet_openmm.training.evaluate import evaluate
from mdet_openmm.training.initial_network import build_network
from mdet_openmm.training.module import ForceTraining, NotFinite
from mdet_openmm.training.progress import LOSSES, Progress, Stopped, WholeCheckpoints, validation_due
from mdet_openmm.walltime import Deadline


def has_tensorboard() -> bool:
    """Whether logs for TensorBoard can be written."""
    return any(importlib.util.find_spec(name) is not None for name in ("tensorboard", "tensorboardX"))


def newest_checkpoint(folder: Path, usable: Callable[[int], bool] = lambda step: True) -> Path | None:
    """The newest checkpoint that can be read, of the steps that are usable; one cut off by a crash is passed over."""
    for path in sorted(folder.glob("step*.ckpt"), key=lambda p: (_steps_of(p), p.name), reverse=True):
        if not usable(_steps_of(path)):
            continue
        try:
            torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a truncated file raises
            print(f"passing over the unreadable checkpoint {path} ({type(error).__name__})")
            continue
        return path
    return None


CONFIG = "config.yaml"
FREE = ("threads", "compile", "validate_every", "checkpoint_every", "description")
"""Settings that may change at a restart: no loss depends on them."""


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
    return dict(yaml.safe_load(path.read_text())) if path.exists() else {}


def _with_defaults(before: dict[str, Any]) -> dict[str, Any]:
    """A stored configuration, with the defaults of the settings that its version did not have."""
    defaults = stored(TrainConfig(name="-", data=Path("-")))
    return {**defaults, **before, "network": {**defaults["network"], **before.get("network", {})}}


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
    done = _steps_of(checkpoint)
    if cooldown is not None:
        if config.schedule != "constant":
            raise InputError("--cooldown needs schedule: constant")
        config = dataclasses.replace(config, steps=done + cooldown, cooldown_steps=cooldown)
    if config.steps <= done:
        raise InputError(f"the run in {run} has done {done} steps already; set steps to more")
    return config, checkpoint


def _steps_of(checkpoint: Path) -> int:
    # Lightning once called a file "step7-v1" where a damaged step7 stood
    return int(checkpoint.stem.removeprefix("step").partition("-")[0])


def run_training(
    config: TrainConfig,
    *,
    model_folder: Path,
    run_folder: Path,
    restart: bool = False,
    continue_from: Path | None = None,
    cooldown: int | None = None,
    quiet: bool = False,
    max_walltime: float | None = None,
) -> Path:
    """Train a network, evaluate it and write its model folder.

    Parameters
    ----------
    config
        What to train.
    model_folder
        Written at the end; must not exist.
    run_folder
        Checkpoints, ``loss.csv`` and TensorBoard logs.
    restart
        Go on from the newest checkpoint of ``run_folder``; the losses are those of a run that was never stopped.
    continue_from, cooldown
        The folder of another run to go on from, see `branched`. A restart has what they gave in its own folder.
    quiet
        No progress bar.
    max_walltime
        Stop before so many hours have passed.

    Returns
    -------
    Path
        The model folder.

    Raises
    ------
    InputError
        For folders that exist, changed settings, or data that does not fit.
    RunStopped
        If the loss becomes NaN or infinite; the batch is saved in ``run_folder``.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM, or with ``max_walltime`` nearly over, with a checkpoint written.
    """
    if config.start_from is None and bool(config.energy_weight) != config.network.energy_head:
        raise InputError("energy_weight and network.energy_head go together: set both or neither")
    if config.start_from is None and bool(config.dipole_weight) != config.network.dipole_head:
        raise InputError("dipole_weight and network.dipole_head go together: set both or neither")
    if config.energy_from and config.start_from is None and config.network.energy_pooling != "atoms":
        raise InputError("energy_from needs network.energy_pooling: atoms, whose energy has features of its own")
    store = Store(config.data)
    if len(store.indices("train")) == 0:
        raise InputError(f"{config.data} has no frames in its training split")
    if config.dipole_weight and not np.isfinite(store.dipoles[store.indices("train")]).all(axis=1).any():
        raise InputError(f"{config.data} has no dipoles in its training split: its teacher gave none")
    taken_over: Path | None = None
    if restart and cooldown is not None:
        config = _as_begun(config, run_folder)
    elif continue_from is not None and not restart:
        config, taken_over = branched(config, continue_from, cooldown)
    check_folders(config, run_folder, model_folder, restart)
    if config.threads:
        torch.set_num_threads(config.threads)
    goes_on = restart and (run_folder / CONFIG).exists()
    checkpoint = (_left_by(store, run_folder) if goes_on else None) or taken_over
    network = build_network(config, store, _shape_of(checkpoint))
    deadline = Deadline(max_walltime)
    # the processes of other GPUs are started by the one that has the folder
    alone = locked(run_folder) if rank_zero_only.rank == 0 else contextlib.nullcontext()
    with deadline.kept(), alone:
        check_folders(config, run_folder, model_folder, restart)  # once more, now that nobody else can be at work
        if checkpoint is not None and not checkpoint.exists():
            raise InputError(f"another process has gone on with {run_folder} just now; try again")
        if checkpoint is taken_over and rank_zero_only.rank == 0:
            _begin(config, run_folder, taken_over)
        trained = _train(config, store, network, run_folder, checkpoint, Interrupt(deadline), quiet)
        if trained is not None:
            _write_model(config, store, model_folder, *trained)
    return model_folder


def _left_by(store: Store, run: Path) -> Path | None:
    """The checkpoint to go on from: the newest whose validation, if one was due, is in ``loss.csv``.

    It is written before that validation, which Lightning does not make up for.
    """
    folder, log, before = run / "checkpoints", run / LOSSES, _with_defaults(_stored_in(run))
    rows = log.read_text() if log.exists() else ""

    def validated(step: int) -> bool:
        return not validation_due(step, before["validate_every"], before["steps"]) or f"\n{step - 1},,," in rows

    found = newest_checkpoint(folder, validated) if len(store.indices("val")) else None
    return found or newest_checkpoint(folder)


def _begin(config: TrainConfig, run: Path, taken_over: Path | None) -> None:
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


def _train(
    config: TrainConfig,
    store: Store,
    network: EdgeTransformer,
    run_folder: Path,
    checkpoint: Path | None,
    interrupt: Interrupt,
    quiet: bool,
) -> tuple[ForceTraining, torch.device, dict[str, Any]] | None:
    """Do the steps that are left; what was trained, where, and how long it took, in the process that writes the model.

    Raises
    ------
    KeyboardInterrupt
        When it was interrupted, with a checkpoint written.
    """
    first_step = _steps_of(checkpoint) if checkpoint else 0
    module = ForceTraining(network, config, run_folder)
    if config.compile:
        if shutil.which("g++") is None and shutil.which("clang++") is None:
            print("no C++ compiler found: training without torch.compile, about half as fast")
        else:
            # every molecule size gets code of its own
            torch._dynamo.config.recompile_limit = 256
            torch._dynamo.config.accumulated_recompile_limit = 4096
            for layer in network.layers:
                layer.compile(dynamic=False)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    progress = Progress(run_folder, config, first_step, quiet, interrupt)
    checkpoints = ModelCheckpoint(
        run_folder / "checkpoints",
        filename="step{step}",
        auto_insert_metric_name=False,
        monitor="step",
        mode="max",
        save_top_k=2,
        every_n_train_steps=config.checkpoint_every,
        enable_version_counter=False,  # a damaged file is written over
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*IterableDataset.*")
        warnings.filterwarnings("ignore", message=".*val_dataloader.*")
        warnings.filterwarnings("ignore", message=".*Trying to infer the `batch_size`.*")
        warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
        trainer = lightning.Trainer(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.nodes,
            strategy="ddp" if config.devices * config.nodes > 1 else "auto",
            max_steps=config.steps,
            gradient_clip_val=config.clip_norm,
            # not everywhere is there a TensorBoard; loss.csv has every step
            logger=TensorBoardLogger(run_folder, name="", version="tensorboard") if has_tensorboard() else False,
            callbacks=[progress, checkpoints],
            plugins=[WholeCheckpoints()],
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            accumulate_grad_batches=config.accumulate,
            val_check_interval=min(config.validate_every, config.steps) * config.accumulate,
            check_val_every_n_epoch=None,
            use_distributed_sampler=False,
            log_every_n_steps=50,
        )
        batches = TrainingBatches(
            store,
            batch_size=config.batch_size,
            batch_pairs=config.batch_pairs,
            copies=config.copies,
            seed=config.seed,
            first_batch=first_step * config.accumulate,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            n_batches=config.steps * config.accumulate,
        )
        validation = [
            load_batch(store, chunk)
            for group in store.by_size("val").values()
            for chunk in np.array_split(group, max(1, len(group) // 64))
        ]
        started = time.time()
        with interrupt:
            try:
                trainer.fit(
                    module,
                    DataLoader(batches, batch_size=None),
                    DataLoader(validation, batch_size=None) if validation else None,  # type: ignore[arg-type]
                    ckpt_path=checkpoint,
                    weights_only=True,
                )
            except NotFinite as error:
                raise RunStopped(str(error)) from None
            except (Stopped, SystemExit):  # the second is Lightning's answer to a signal in its set-up
                raise KeyboardInterrupt from None
            if interrupt.asked:  # after the last step
                raise KeyboardInterrupt
    if not trainer.is_global_zero:
        return None
    hours = (time.time() - started) / 3600
    return module, trainer.strategy.root_device, {"steps": trainer.global_step, "hours_last_run": hours}


def _as_begun(config: TrainConfig, run: Path) -> TrainConfig:
    """The configuration with the steps of a cool-down that was begun in a run folder."""
    begun = _stored_in(run)
    return dataclasses.replace(config, **{key: begun[key] for key in ("steps", "cooldown_steps") if key in begun})


def _shape_of(checkpoint: Path | None) -> NetworkConfig | None:
    """The network of a checkpoint: its scale of forces comes from the data that the run began with."""
    if checkpoint is None:
        return None
    stored = torch.load(checkpoint, map_location="cpu", weights_only=True).get("network")
    return None if stored is None else NetworkConfig(**stored)


def _write_model(
    config: TrainConfig,
    store: Store,
    folder: Path,
    module: ForceTraining,
    device: torch.device,
    run: dict[str, Any],
) -> None:
    average = EdgeTransformer(module.network.config)
    average.load_state_dict(module.average.module.state_dict())
    metrics = evaluate(copy.deepcopy(average).to(device), store, ("test", "unseen"))
    training = {**stored(config), **run}
    training["teacher"] = store.attributes["teacher"]
    learnt = [m for m in store.molecules if m.split == "train"]
    training["trained_on"] = {
        "charge": sorted({m.charge for m in learnt}),
        "multiplicity": sorted({m.multiplicity for m in learnt}),
    }
    training["coverage"] = coverage_of(store, metrics).plain()
    elements = store.elements
    if config.train_only != "all" and config.start_from is not None:
        # What the forces were trained on is what it was before, and is not known from this data.
        base = load_model(config.start_from)
        training[f"{config.train_only}_trained_on"] = {"elements": elements, **training.pop("trained_on")}
        del training["coverage"]
        before = base.metadata["training"]
        training |= {key: before[key] for key in ("trained_on", "coverage", "seen") if key in before}
        training["forces_of"] = {"name": base.name, "sha256": base.sha256}
        elements = base.elements
    save_model(
        folder,
        average,
        elements=elements,
        training=training,
        metrics=metrics,
        card=model_card(config, store, metrics, average),
    )
