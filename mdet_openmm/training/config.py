"""Settings of a training run."""

from dataclasses import dataclass
from pathlib import Path

from mdet_openmm.errors import InputError
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.settings import Checked, option

OPTIMIZERS = ("adamw", "muon")
SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True)
class TrainConfig(Checked):
    """Everything that decides what a training run computes; read from YAML by `mdet train`.

    The published recipe (arXiv 2503.01431): AdamW with weight decay 1e-7, linear warm-up then cosine, gradient norm
    clipped at 1, EMA of the weights, two randomly rotated and reflected copies of every batch.
    """

    name: str = option(help="name of the model; its folder is models/NAME")
    data: Path = option(help="labelled data set, HDF5")
    network: NetworkConfig = option(NetworkConfig(), "shape of the network")
    steps: int = option(20_000, "optimiser steps", at_least=1)
    batch_size: int = option(64, "structures in a batch of one process, before they are copied, at most", at_least=1)
    batch_pairs: int = option(0, "pairs of atoms (n² of a structure) in a batch at most; 0: no bound", at_least=0)
    accumulate: int = option(1, "batches, each of one size of molecule, whose gradients make one step", at_least=1)
    copies: int = option(2, "randomly rotated and reflected copies of each structure", at_least=1)
    optimizer: str = option("adamw", "muon: Muon for the layers' matrices, AdamW for the rest", choices=OPTIMIZERS)
    learning_rate: float = option(5e-4, "peak learning rate of AdamW", above=0)
    muon_learning_rate: float = option(6e-3, "peak learning rate of Muon", above=0)
    schedule: str = option("cosine", "of the rates after the warm-up", choices=SCHEDULES)
    warmup_steps: int = option(500, "steps of linear warm-up", at_least=0)
    cooldown_steps: int = option(0, "constant schedule: steps at the end in which the rates fall in a line", at_least=0)
    final_rate: float = option(0.01, "the schedule ends at this fraction of the peak", at_least=0)
    weight_decay: float = option(1e-7, "AdamW weight decay", at_least=0)
    clip_norm: float = option(1.0, "largest gradient norm", above=0)
    energy_weight: float = option(0.0, "weight of the energy error per atom (needs network.energy_head)", at_least=0)
    forces: str = option(
        "direct",
        "both: train the gradient of the energy on the forces too, beside the direct head (about three times the time)",
        choices=("direct", "both"),
    )
    gradient_weight: float = option(1.0, "forces: both: weight of the error of the gradient", at_least=0)
    difference_weight: float = option(
        0.0, "forces: both: weight of the distance of the direct forces from the gradient, taken as it is", at_least=0
    )
    energy_from: int = option(0, "steps before which the energy teaches its own head and not the trunk", at_least=0)
    dipole_weight: float = option(0.0, "weight of the dipole error, in e bohr (needs network.dipole_head)", at_least=0)
    train_only: str = option(
        "all",
        "dipole, energy: that head alone, on the forces of start_from as they are",
        choices=("all", "dipole", "energy"),
    )
    frozen_layers: int = option(
        0, "layers of start_from, and all that is before them, that keep their weights", at_least=0
    )
    thin_force: float = option(
        0.0, "eV/Å; structures whose RMS force is larger are left out, but for their ratio squared; 0: none", at_least=0
    )
    size_power: float = option(
        0.0, "structures of n atoms are seen in proportion to n to the power of -size_power; 0: all alike", at_least=0
    )
    calm_force: float = option(
        0.0, "eV/Å; a structure whose RMS force is larger counts less, by their ratio; 0: off", at_least=0
    )
    antisymmetry_weight: float = option(
        0.0, "weight of lambda squared, the part of the forces that has no energy", at_least=0
    )
    antisymmetry_structures: int = option(8, "structures of each step that it is taken from", at_least=1)
    antisymmetry_rotations: int = option(
        1,
        "take that of the force averaged over so many random orientations: a run's average out the rest",
        at_least=1,
    )
    penalties_from: float = option(
        0.4, "part of the steps after which these and the next come in, over a tenth of the steps", at_least=0, below=1
    )
    equivariance_weight: float = option(
        0.0, "weight of the force change between rotated copies (needs copies >= 2)", at_least=0
    )
    ema_decay: float = option(0.999, "decay of the averaged weights, which are the ones exported", at_least=0, below=1)
    precision: str = option("fp32", "of the trunk in training", choices=("fp32", "bf16"))
    compile: bool = option(False, "compile the layers with torch.compile")
    seed: int = option(0, "of weights, batches and rotations", at_least=0)
    accelerator: str = option("auto", "cpu, cuda or auto", choices=("auto", "cpu", "cuda"))
    devices: int = option(1, "devices per node", at_least=1)
    nodes: int = option(1, "number of nodes", at_least=1)
    threads: int = option(0, "CPU threads; 0 leaves it to torch (all cores, or OMP_NUM_THREADS)", at_least=0)
    validate_every: int = option(1000, "steps between validations", at_least=1)
    checkpoint_every: int = option(500, "steps between checkpoints", at_least=1)
    start_from: str | None = option(None, "model to start from (mdet finetune)")
    description: str = option("", "a sentence or two for the model card")

    def check(self) -> None:
        """Refuse what cannot be trained before anything is written."""
        if not self.name or self.name != Path(self.name).name or self.name.startswith("."):
            raise InputError(f"name must be a plain folder name, not {self.name!r}")
        if self.cooldown_steps and self.schedule != "constant":
            raise InputError("cooldown_steps belongs to schedule: constant; a cosine falls all the way")
        if self.cooldown_steps > self.steps:
            raise InputError(f"cooldown_steps {self.cooldown_steps} is more than all {self.steps} steps")
        if self.train_only != "all":
            self._check_head_alone(self.train_only)
        if self.frozen_layers and (self.start_from is None or self.train_only != "all"):
            raise InputError("frozen_layers needs start_from, whose layers they are, and train_only: all")
        if self.forces == "both":
            self._check_both()
        elif self.difference_weight:
            raise InputError("difference_weight needs forces: both")
        if self.equivariance_weight and self.copies < 2:
            raise InputError("equivariance_weight compares rotated copies: set copies to 2 or more")

    def _check_both(self) -> None:
        if self.train_only != "all":
            raise InputError(f"forces: both trains the whole network; leave out train_only: {self.train_only}")
        if not self.energy_weight:
            raise InputError("forces: both needs energy_weight, of the energy whose gradient is trained")
        if self.energy_from:
            raise InputError(
                "forces: both trains the trunk by the energy from the first step on; leave out energy_from"
            )
        for name, value in (("compile", self.compile), ("precision: bf16", self.precision == "bf16")):
            if value:
                raise InputError(f"forces: both differentiates the layers twice; leave out {name}")

    def _check_head_alone(self, head: str) -> None:
        own = f"{head}_weight"
        if self.start_from is None:
            raise InputError(f"train_only: {head} needs start_from, the model whose forces stay as they are")
        if not getattr(self, own):
            raise InputError(f"train_only: {head} needs {own}")
        for name in ("energy_weight", "dipole_weight", "antisymmetry_weight", "equivariance_weight"):
            if name != own and getattr(self, name):
                raise InputError(f"{name} has nothing to act on with train_only: {head}")


FINETUNE_DEFAULTS: dict[str, int | float] = {
    "steps": 2000,
    "learning_rate": 5e-5,
    "warmup_steps": 100,
    "validate_every": 500,
}
"""What a fine-tuning assumes where its configuration is silent (the paper's)."""

FINETUNE_ENERGY_WEIGHT = 0.01
"""Of the energy, if the model has one: it follows the forces then, and hardly takes from them."""

HEAD_DEFAULTS: dict[str, dict[str, int | float]] = {
    "dipole": {**FINETUNE_DEFAULTS, "learning_rate": 2e-3, "dipole_weight": 1.0},
    "energy": {**FINETUNE_DEFAULTS, "learning_rate": 1e-3, "energy_weight": 1.0},
}
"""The same for ``train_only``: the head starts from nothing."""
