"""One optimisation step, as Lightning runs it."""

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import lightning
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from mdet_openmm.files import write_file
from mdet_openmm.network.attention_operator import fuse_attention, gpu_problem
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.network.gradient import minus_gradient
from mdet_openmm.training.batches import Batch, random_orthogonal
from mdet_openmm.training.config import TrainConfig
from mdet_openmm.training.optimizers import learning_rate_factor, make_optimizer, peak_rates
from mdet_openmm.training.penalties import antisymmetry, inequivariance
from mdet_openmm.units import ANGSTROM_PER_BOHR, DEBYE_PER_E_ANGSTROM, EV_PER_ANGSTROM_PER_ATOMIC_FORCE

DEBYE_PER_E_BOHR = DEBYE_PER_E_ANGSTROM * ANGSTROM_PER_BOHR


class NotFinite(RuntimeError):
    """The loss became NaN or infinite."""


class ForceTraining(lightning.LightningModule):
    """Network, its averaged copy, loss and optimiser.

    The loss is the mean over atoms of the Euclidean norm of the force error, in units of the network's force scale
    (as in the authors' code), plus the absolute energy error per atom in mHa times ``energy_weight``, plus the norm of
    the dipole error in e bohr times ``dipole_weight`` (over the structures whose dipole is known), plus the weighted
    `mdet_openmm.training.penalties`. With ``train_only: dipole`` or ``energy`` it is that part alone. ``forces: both``
    adds, with weights of their own, the same error of minus the energy's gradient, and the distance of the direct
    forces from that gradient, which it does not change.
    """

    def __init__(self, network: EdgeTransformer, config: TrainConfig, folder: Path) -> None:
        super().__init__()
        self.network = network
        self.average = AveragedModel(network, multi_avg_fn=self._average).requires_grad_(False)
        self.train_config = config
        self.folder = folder

    def _average(self, average: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        # The decay starts low, so that the first steps' weights are soon forgotten. All weights at once: on a GPU
        # reading the count waits for everything before it.
        n = float(count)
        decay = min(self.train_config.ema_decay, (1.0 + n) / (10.0 + n))
        torch._foreach_lerp_(list(average), list(current), 1.0 - decay)

    def on_train_start(self) -> None:
        """On a GPU the fused attention, unless a loss differentiates it twice, or forward."""
        # before the first step: its trial is not to be traced by torch.compile
        once = self.train_config.forces == "direct" and not self.train_config.antisymmetry_weight
        if self.device.type == "cuda" and once and not gpu_problem():
            for network in (self.network, cast(EdgeTransformer, self.average.module)):
                fuse_attention(network, on_cpu=False)

    def pair_features(self, batch: Batch) -> Tensor:
        """What the trunk makes of a batch, with reduced precision in its layers only: geometry would not survive it."""
        device = self.device.type
        with torch.autocast(device, enabled=False):
            x = self.network.node_pairs(batch.atomic_numbers, batch.charge, batch.multiplicity)
            x = x + self.network.position_pairs(batch.positions, self.network.pair_types(batch.atomic_numbers))
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.train_config.precision == "bf16"):
            for layer in self.network.layers:
                x = layer(x, None)
        return x

    def predict_forces(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energy and forces from the pair features, the readout in fp32."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.train_config.precision == "bf16"):
            h = self.network.decomposer(x, None)
        # An energy that is learnt from the first step on keeps the forces at zero, where they begin, for thousands.
        shared = self.global_step >= self.train_config.energy_from
        with torch.autocast(self.device.type, enabled=False):
            return self.network.readout((x if shared else x.detach()).float(), h.float(), None)

    def dipole_error(self, x: Tensor, batch: Batch) -> Tensor:
        """Mean norm of the dipole error over the structures whose dipole is known, e bohr; 0 if none is."""
        known = torch.isfinite(batch.dipole).all(dim=-1)
        dipole = self.network.dipole_readout(x.float(), batch.positions)
        error = (dipole - batch.dipole.nan_to_num().to(dipole.dtype)).norm(dim=-1)
        return (error * known).sum() / known.sum().clamp(min=1)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch; a loss that is not finite stops the run with the batch saved."""
        if self.train_config.forces == "both":
            batch = batch._replace(positions=batch.positions.detach().requires_grad_(True))
        whole = self.train_config.train_only == "all"
        with torch.set_grad_enabled(whole):
            x = self.pair_features(batch)
        loss = torch.zeros((), device=self.device)
        if self.train_config.train_only != "dipole":
            energy, forces = self.predict_forces(x)
            if whole:
                loss = self._force_loss(forces, batch)
            if self.train_config.forces == "both":
                loss = loss + self._gradient_loss(energy, forces, batch)
            if self.train_config.energy_weight:
                loss = loss + self.train_config.energy_weight * self._energy_loss(energy, batch)
        if self.train_config.dipole_weight:
            with torch.autocast(self.device.type, enabled=False):
                error = self.dipole_error(x, batch)
            self.log("dipole_error_e_bohr", error.detach())
            loss = loss + self.train_config.dipole_weight * error
        if not bool(torch.isfinite(loss)):
            path = self.folder / f"not_finite_step{self.global_step}.pt"
            content = io.BytesIO()
            torch.save({"batch": tuple(batch), "step": self.global_step}, content)
            write_file(path, content.getvalue())
            raise NotFinite(f"the loss is {loss.item()} at step {self.global_step}; the batch is in {path}")
        self.log("loss", loss, prog_bar=True)
        self.log("learning_rate", self.optimizers().param_groups[0]["lr"])
        return loss

    def _calm(self, batch: Batch) -> Tensor:
        """Weight (b, 1): displaced structures teach what lies around thermal ones without outweighing them."""
        calm = self.train_config.calm_force
        if not calm:
            return torch.ones_like(batch.energy).unsqueeze(1)
        rms = batch.forces.square().sum(dim=-1).mean(dim=-1, keepdim=True).sqrt() * EV_PER_ANGSTROM_PER_ATOMIC_FORCE
        return calm / rms.clamp(min=calm)

    def _force_loss(self, forces: Tensor, batch: Batch) -> Tensor:
        error = self._distance(forces, batch.forces, batch, "force_error_meV_A")
        return error + self._penalties(batch, forces)

    def _gradient_loss(self, energy: Tensor, forces: Tensor, batch: Batch) -> Tensor:
        """What the gradient of the energy adds to the loss; its derivative in the weights differentiates twice."""
        config = self.train_config
        gradient = minus_gradient(energy, batch.positions, create_graph=True)
        loss = config.gradient_weight * self._distance(gradient, batch.forces, batch, "gradient_error_meV_A")
        if config.difference_weight:
            apart = self._distance(forces, gradient.detach(), batch, "difference_meV_A")
            loss = loss + config.difference_weight * apart
        return loss

    def _distance(self, forces: Tensor, wanted: Tensor, batch: Batch, name: str) -> Tensor:
        """Mean norm of the difference of two forces in units of the force scale; logged in meV/Å."""
        error = ((forces - wanted.to(forces.dtype)).norm(dim=-1) * self._calm(batch).to(forces.dtype)).mean()
        self.log(name, error.detach() * 1e3 * EV_PER_ANGSTROM_PER_ATOMIC_FORCE)
        return error / self.network.force_scale

    def _energy_loss(self, energy: Tensor, batch: Batch) -> Tensor:
        """Mean absolute error per atom in mHa."""
        wanted = batch.energy - self.network.reference_energy(batch.atomic_numbers)
        per_atom = (energy - wanted.to(energy.dtype)).abs() / batch.positions.shape[1]
        error = 1e3 * (per_atom * self._calm(batch)[:, 0].to(energy.dtype)).mean()
        self.log("energy_error_mHa_atom", error.detach())
        return error

    def _penalties(self, batch: Batch, forces: Tensor) -> Tensor:
        config, total = self.train_config, forces.new_zeros(())
        # From the start they would keep the network where both are smallest: at forces that are zero everywhere.
        strength = min(1.0, max(0.0, 10.0 * (self.global_step / config.steps - config.penalties_from)))
        if config.equivariance_weight and strength:
            apart = inequivariance(forces, batch.turns, config.copies) / self.network.force_scale
            self.log("inequivariance", apart.detach())
            total = total + strength * config.equivariance_weight * apart
        if config.antisymmetry_weight and strength:
            few = Batch(*(t[: config.antisymmetry_structures] for t in batch))
            # a function of the seed and the step, so that a resumed run is exact
            generator = torch.Generator().manual_seed(
                hash((config.seed, self.global_step, self.global_rank, 2)) & 2**63 - 1
            )
            probes = torch.randn(few.positions.shape, dtype=torch.float64, generator=generator).to(self.device)
            turns = random_orthogonal(config.antisymmetry_rotations * len(probes), generator).to(self.device)
            with torch.autocast(self.device.type, enabled=False):
                share = antisymmetry(self.network, few, probes, turns.view(-1, len(probes), 3, 3))
            self.log("lambda", share.detach().sqrt())
            total = total + strength * config.antisymmetry_weight * share
        return total

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the network's shape beside its weights."""
        checkpoint["network"] = dataclasses.asdict(self.network.config)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The rates are those of the configuration, also where another run is gone on with."""
        checkpoint["lr_schedulers"][0]["base_lrs"] = peak_rates(self.train_config)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then fold the new weights into the average, so that a checkpoint always holds both."""
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.network)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Force MAE (component-wise, meV/Å) of both kinds, and that of the dipole (D), of the averaged weights."""
        both = self.train_config.forces == "both"
        positions = batch.positions.detach().requires_grad_(both)
        with torch.set_grad_enabled(both):
            energy, forces = self.average(batch.atomic_numbers, positions, batch.charge, batch.multiplicity)
            found = {"val_mae_meV_A": forces.detach()}
            if both:
                found["val_gradient_mae_meV_A"] = minus_gradient(energy, positions)
        for name, value in found.items():
            error = (value - batch.forces.to(value.dtype)).abs().mean() * 1e3 * EV_PER_ANGSTROM_PER_ATOMIC_FORCE
            self.log(name, error, prog_bar=True, batch_size=value.shape[0] * value.shape[1], sync_dist=True)
        known, network = torch.isfinite(batch.dipole).all(dim=-1), cast(EdgeTransformer, self.average.module)
        if self.network.has_dipole and bool(known.any()):
            dipole = network.dipole(batch.atomic_numbers, batch.positions, batch.charge, batch.multiplicity)
            error = (dipole - batch.dipole.to(dipole.dtype))[known].abs().mean() * DEBYE_PER_E_BOHR
            self.log("val_dipole_mae_D", error, batch_size=int(known.sum()), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """The optimiser, with the schedule stepped so that step 0 runs at its own rate."""
        config = self.train_config
        optimizer = make_optimizer(self.network, config)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, config))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
