"""From a configuration to a model folder."""

import contextlib
import copy
import dataclasses
import importlib.util
import logging
import time
import warnings
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader

from mdet_openmm.data.store import Store
from mdet_openmm.errors import InputError, RunStopped
from mdet_openmm.export.model_folder import load_model, save_model
from mdet_openmm.files import locked, plain
from mdet_openmm.interrupt import Interrupt
from mdet_openmm.measure.coverage import coverage_of
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.training.batches import TrainingBatches, load_batch
from mdet_openmm.training.card import model_card
from mdet_openmm.training.compilation import compile_network, on_gpu
from mdet_openmm.training.config import TrainConfig
from mdet_openmm.training.evaluate import evaluate
from mdet_openmm.training.initial_network import build_network
from mdet_openmm.training.module import ForceTraining, NotFinite
from mdet_openmm.training.progress import Progress, Stopped, WholeCheckpoints
from mdet_openmm.training.run_folder import (
    CONFIG,
    as_begun,
    begin,
    branched,
    check_folders,
    left_by,
    shape_of,
    steps_of,
    stored,
)
from mdet_openmm.walltime import Deadline


def has_tensorboard() -> bool:
    """Whether logs for TensorBoard can be written."""
    return any(importlib.util.find_spec(name) is not None for name in ("tensorboard", "tensorboardX"))


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
        config = as_begun(config, run_folder)
    elif continue_from is not None and not restart:
        config, taken_over = branched(config, continue_from, cooldown)
    check_folders(config, run_folder, model_folder, restart)
    if config.threads:
        torch.set_num_threads(config.threads)
    goes_on = restart and (run_folder / CONFIG).exists()
    checkpoint = (left_by(store, run_folder) if goes_on else None) or taken_over
    network = build_network(config, store, shape_of(checkpoint))
    deadline = Deadline(max_walltime)
    # the processes of other GPUs are started by the one that has the folder
    alone = locked(run_folder) if rank_zero_only.rank == 0 else contextlib.nullcontext()
    with deadline.kept(), alone:
        check_folders(config, run_folder, model_folder, restart)  # once more, now that nobody else can be at work
        if checkpoint is not None and not checkpoint.exists():
            raise InputError(f"another process has gone on with {run_folder} just now; try again")
        if checkpoint is taken_over and rank_zero_only.rank == 0:
            begin(config, run_folder, taken_over)
        trained = _train(config, store, network, run_folder, checkpoint, Interrupt(deadline), quiet)
        if trained is not None:
            _write_model(config, store, model_folder, *trained)
    return model_folder


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
    first_step = steps_of(checkpoint) if checkpoint else 0
    module = ForceTraining(network, config, run_folder)
    gpu = on_gpu(config)
    if config.compile:
        compile_network(network, gpu)
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
            inference_mode=config.forces == "direct",  # whose tensors have no gradients, in a validation either
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
            thin_force=config.thin_force,
            size_power=config.size_power,
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
                    batches.loader(side_by_side=gpu),
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
    both = config.forces == "both"
    metrics = evaluate(copy.deepcopy(average).to(device), store, ("test", "unseen"), gradient=both)
    # of a model that started from another, the configuration has no word on the network
    training = {**stored(config), "network": plain(dataclasses.asdict(average.config), str), **run}
    training["teacher"] = store.attributes["teacher"]
    learnt = [store.molecules[k] for k in np.unique(store.molecule[store.indices("train")])]
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
