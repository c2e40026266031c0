"""What a training run shows and writes while it goes."""

import io
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only
from tqdm import tqdm

from mdet_openmm.errors import InputError
from mdet_openmm.files import write_file
from mdet_openmm.interrupt import Interrupt, held_back
from mdet_openmm.training.config import TrainConfig

LOSSES = "loss.csv"


def validation_due(step: int, validate_every: int, steps: int) -> bool:
    """Whether there is a validation after so many steps of the training."""
    return step % min(validate_every, steps) == 0


def losses_in(path: Path) -> list[tuple[int, str]]:
    """Rows of ``loss.csv``, with their steps; one that a crash cut off at the end does not count.

    Raises
    ------
    InputError
        If the file cannot be read or is damaged before that.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}; mend it, or begin the run anew") from None
    rows = []
    for number, line in enumerate(lines[1:], 2):
        step = line.split(",")[0]
        if step.isdecimal() and line.count(",") == 3:
            rows.append((int(step), line))
        elif number < len(lines):
            raise InputError(f"{path} is damaged in line {number}: {line[:80]!r}; mend or remove that line")
    return rows


class Stopped(Exception):
    """The training was asked to stop, and has written a checkpoint."""


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are whole whenever they are seen; Lightning's pass through another folder, and maybe disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        content = io.BytesIO()
        with held_back():
            torch.save(checkpoint, content)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_file(Path(path), content.getvalue())


class Progress(Callback):
    """One line with the steps, the loss and the time left; a CSV of every step; a stop where it is asked for."""

    def __init__(self, folder: Path, config: TrainConfig, first_step: int, quiet: bool, interrupt: Interrupt) -> None:
        self.interrupt = interrupt
        self.path, self.config = folder / LOSSES, config
        self.first_step = first_step
        self.loss, self.step = 0.0, first_step
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
            kept = [row for step, row in losses_in(self.path) if step < self.first_step]
            write_file(self.path, "\n".join(["step,loss,learning_rate,val_mae_meV_A", *kept]) + "\n")
        self.file = self.path.open("a", buffering=1)  # a line at a time: rows before a checkpoint survive a crash

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Listen for Ctrl-C and SIGTERM, now that Lightning has set its own handlers."""
        self.interrupt.listen()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the row of the step, with the mean loss of its batches."""
        # Lightning has divided it by the number of batches that make a step.
        self.loss += float(outputs["loss"])
        if trainer.global_step == self.step:
            return
        loss, self.loss, self.step = self.loss, 0.0, trainer.global_step
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        if trainer.is_global_zero:
            # repr keeps every bit, so that a resumed run can be compared with an unbroken one
            self.file.write(f"{trainer.global_step - 1},{loss!r},{rate:.6g},\n")
        self.bar.update(1)
        if trainer.global_step % 50 == 0:
            self.bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
        stop = self.interrupt.asked
        if trainer.world_size > 1:  # all stop at the same step, or some wait for ever
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        # A checkpoint is written before the validation of its step, which is not made up for: not between the two,
        # unless every step has one.
        step, every, steps = trainer.global_step, self.config.validate_every, self.config.steps
        if stop and (every == 1 or not validation_due(step, every, steps)):
            # Not by trainer.should_stop: Lightning would validate once more, in a row that no unbroken run has.
            trainer.save_checkpoint(self.path.parent / "checkpoints" / f"step{trainer.global_step}.ckpt")
            raise Stopped

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write the validation error in a row of its own."""
        value = trainer.callback_metrics.get("val_mae_meV_A")
        if trainer.is_global_zero and value is not None and not trainer.sanity_checking:
            self.file.write(f"{trainer.global_step - 1},,,{float(value):.4f}\n")
            gradient, dipole = (
                trainer.callback_metrics.get(name) for name in ("val_gradient_mae_meV_A", "val_dipole_mae_D")
            )
            also = "" if gradient is None else f", of the energy's gradient {float(gradient):.2f}"
            also += "" if dipole is None else f", dipole MAE {float(dipole):.4f} D"
            tqdm.write(
                f"step {trainer.global_step}: validation force MAE {float(value):.2f} meV/Å{also} (averaged weights)"
            )

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Close the files."""
        self.file.close()
        self.bar.close()
