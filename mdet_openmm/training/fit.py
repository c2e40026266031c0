"""From a configuration to a model folder."""

import copy
import dataclasses
import json
import logging
import shutil
import signal
import time
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
import numpy as np
import torch
import yaml
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader
from tqdm import tqdm

from mdet_openmm.data.store import Store
from mdet_openmm.errors import InputError, RunStopped
from mdet_openmm.export.model_folder import load_model, save_model
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.network.electrons import N_ROWS
from mdet_openmm.training.batches import TrainingBatches, load_batch
from mdet_openmm.training.card import model_card
from mdet_openmm.training.config import TrainConfig
from mdet_openmm.training.evaluate import evaluate
from mdet_openmm.training.module import ForceTraining, NotFinite


class Progress(Callback):
    """One line with the steps, the loss and the time left; a CSV of every step; a stop at Ctrl-C or SIGTERM."""

    def __init__(self, folder: Path, config: TrainConfig, first_step: int, quiet: bool) -> None:
        self.path = folder / "loss.csv"
        self.first_step = first_step
        self.interrupted = False
        self.bar = tqdm(
            total=config.steps,
            initial=first_step,
            desc=config.name,
            unit="step",
            mininterval=2.0,
            disable=quiet or rank_zero_only.rank > 0,
        )

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Drop the rows that a resumed run writes again."""
        if trainer.is_global_zero:
            rows = self.path.read_text().splitlines() if self.path.exists() else []
            kept = [r for r in rows[1:] if r.count(",") == 3 and int(r.split(",")[0]) < self.first_step]
            self.path.write_text("\n".join(["step,loss,learning_rate,val_mae_meV_A", *kept]) + "\n")
        self.file = self.path.open("a", buffering=1)  # a line at a time: rows before a checkpoint survive a crash

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Listen for Ctrl-C and SIGTERM, now that Lightning has set its own handlers."""

        def stop(number: int, frame: FrameType | None) -> None:
            self.interrupted = True

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the row of the step."""
        loss = float(outputs["loss"])
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        if trainer.is_global_zero:
            # repr keeps every bit, so that a resumed run can be compared with an unbroken one
            self.file.write(f"{trainer.global_step - 1},{loss!r},{rate:.6g},\n")
        self.bar.update(1)
        if trainer.global_step % 50 == 0:
            self.bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
        if self.interrupted:
            trainer.should_stop = True

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write the validation error in a row of its own."""
        value = trainer.callback_metrics.get("val_mae_meV_A")
        if trainer.is_global_zero and value is not None and not trainer.sanity_checking:
            self.file.write(f"{trainer.global_step - 1},,,{float(value):.4f}\n")
            tqdm.write(f"step {trainer.global_step}: validation force MAE {float(value):.2f} meV/Å (averaged weights)")

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Close the files."""
        self.file.close()
        self.bar.close()


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that can be read; one cut off by a crash is passed over."""
    for path in sorted(folder.glob("step*.ckpt"), key=lambda p: int(p.stem.removeprefix("step")), reverse=True):
        try:
            torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a truncated file raises
            print(f"passing over the unreadable checkpoint {path} ({type(error).__name__})")
            continue
        return path
    return None


def build_network(config: TrainConfig, store: Store) -> EdgeTransformer:
    """The network of the model to start from, or a fresh one whose force scale is the RMS force of the data."""
    if config.start_from is not None:
        return load_model(config.start_from).network.to_trunk(torch.float32).requires_grad_(True).train()
    torch.manual_seed(config.seed)
    total, count = 0.0, 0
    composition, energies = [], []
    for group in store.by_size("train").values():
        sample = np.random.default_rng([config.seed, len(group)]).choice(
            group, size=-(-len(group) // 20), replace=False
        )
        batch = load_batch(store, np.sort(sample))
        total, count = total + float(batch.forces.square().sum()), count + batch.forces.numel()
        composition.append(torch.nn.functional.one_hot(batch.atomic_numbers, N_ROWS).sum(dim=1).double())
        energies.append(batch.energy)
    scale = float(f"{(total / count) ** 0.5:.6g}")
    network = EdgeTransformer(dataclasses.replace(config.network, force_scale=scale))
    if config.network.energy_head:
        # The minimum-norm solution gives elements that always occur together their shares, and absent ones zero.
        solution = torch.linalg.pinv(torch.cat(composition)) @ torch.cat(energies)
        network.atom_energies.copy_(solution)
    return network


def prepare_folder(config: TrainConfig, run: Path, model: Path, restart: bool) -> Path | None:
    """Check the folders before anything is computed; the checkpoint to go on from, if any."""
    if rank_zero_only.rank > 0:  # started by the process that has checked them
        return newest_checkpoint(run / "checkpoints") if restart else None
    if model.exists():
        raise InputError(f"{model} exists and is not overwritten; choose another name or remove it")
    described = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    if run.exists() and any(run.iterdir()):
        if not restart:
            raise InputError(f"{run} holds an earlier training run; add --restart to go on with it, or remove it")
        stored = run / "config.yaml"
        before = yaml.safe_load(stored.read_text()) if stored.exists() else {}
        changed = [k for k in described if before.get(k) != described[k] and k not in ("threads", "compile")]
        if changed:
            raise InputError(f"--restart: {', '.join(changed)} differ from those of the run in {run}")
        return newest_checkpoint(run / "checkpoints")
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
    return None


def run_training(
    config: TrainConfig, *, model_folder: Path, run_folder: Path, restart: bool = False, quiet: bool = False
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
    quiet
        No progress bar.

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
        After Ctrl-C or SIGTERM, with a checkpoint written.
    """
    if config.start_from is None and bool(config.energy_weight) != config.network.energy_head:
        raise InputError("energy_weight and network.energy_head go together: set both or neither")
    store = Store(config.data)
    if len(store.indices("train")) == 0:
        raise InputError(f"{config.data} has no frames in its training split")
    checkpoint = prepare_folder(config, run_folder, model_folder, restart)
    if config.threads:
        torch.set_num_threads(config.threads)
    first_step = int(checkpoint.stem.removeprefix("step")) if checkpoint else 0
    network = build_network(config, store)
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
    progress = Progress(run_folder, config, first_step, quiet)
    checkpoints = ModelCheckpoint(
        run_folder / "checkpoints",
        filename="step{step}",
        auto_insert_metric_name=False,
        monitor="step",
        mode="max",
        save_top_k=2,
        every_n_train_steps=config.checkpoint_every,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*IterableDataset.*")
        warnings.filterwarnings("ignore", message=".*Trying to infer the `batch_size`.*")
        trainer = lightning.Trainer(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.nodes,
            strategy="ddp" if config.devices * config.nodes > 1 else "auto",
            max_steps=config.steps,
            gradient_clip_val=config.clip_norm,
            logger=TensorBoardLogger(run_folder, name="", version="tensorboard"),
            callbacks=[progress, checkpoints],
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            val_check_interval=min(config.validate_every, config.steps),
            check_val_every_n_epoch=None,
            use_distributed_sampler=False,
            log_every_n_steps=50,
        )
        batches = TrainingBatches(
            store,
            batch_size=config.batch_size,
            copies=config.copies,
            seed=config.seed,
            first_step=first_step,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            n_steps=config.steps,
        )
        validation = [
            load_batch(store, chunk)
            for group in store.by_size("val").values()
            for chunk in np.array_split(group, max(1, len(group) // 64))
        ]
        started = time.time()
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
    if progress.interrupted:
        trainer.save_checkpoint(run_folder / "checkpoints" / f"step{trainer.global_step}.ckpt")
        raise KeyboardInterrupt
    if trainer.is_global_zero:
        hours = (time.time() - started) / 3600
        _write_model(config, store, module, model_folder, {"steps": trainer.global_step, "hours_last_run": hours})
    return model_folder


def _write_model(
    config: TrainConfig, store: Store, module: ForceTraining, folder: Path, training: dict[str, float]
) -> None:
    average = EdgeTransformer(module.network.config)
    average.load_state_dict(module.average.module.state_dict())
    metrics = evaluate(copy.deepcopy(average), store, ("test", "unseen"))
    training = {**json.loads(json.dumps(dataclasses.asdict(config), default=str)), **training}
    training["teacher"] = store.attributes["teacher"]
    save_model(
        folder,
        average,
        elements=store.elements,
        training=training,
        metrics=metrics,
        card=model_card(config, store, metrics, average),
    )
