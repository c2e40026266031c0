"""The optimisers of a training, and how their rates change."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.training.config import TrainConfig


def learning_rate_factor(step: int, config: TrainConfig) -> float:
    """What the peak rates are multiplied by: linear warm-up from 1/warmup, then by ``config.schedule``.

    cosine: down to ``final_rate``. constant: 1, and over the last ``cooldown_steps`` in a line down to ``final_rate``
    (warm-up, stable, decay: Hägele et al., arXiv 2405.18392).
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        left = (config.steps - step) / max(1, config.cooldown_steps)
        return config.final_rate + (1.0 - config.final_rate) * min(1.0, max(0.0, left))
    progress = min(1.0, (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps))
    return config.final_rate + (1.0 - config.final_rate) * 0.5 * (1.0 + math.cos(math.pi * progress))


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for the matrices of the layers and AdamW for everything else, as one optimiser.

    Parameters
    ----------
    matrices
        Two-dimensional weights, stepped by `torch.optim.Muon` (Jordan et al. 2024; its update scaled to the RMS of
        AdamW's, Liu et al., arXiv 2502.16982).
    others
        All other parameters.
    matrix_rate, rate
        Peak learning rates of the two.
    weight_decay
        Of AdamW; Muon has none.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        *,
        matrix_rate: float,
        rate: float,
        weight_decay: float,
    ) -> None:
        matrices, others = list(matrices), list(others)
        super().__init__([{"params": matrices}, {"params": others}], {})
        muon = torch.optim.Muon(
            matrices, lr=matrix_rate, weight_decay=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw"
        )
        self._both: tuple[torch.optim.Optimizer, ...] = (
            muon,
            torch.optim.AdamW(others, lr=rate, weight_decay=weight_decay),
        )
        # Shared with the schedule and the clipping of gradients, which see one optimiser.
        self.param_groups = [group for optimizer in self._both for group in optimizer.param_groups]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimizer in self._both:
            optimizer.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of both."""
        return {"muon": self._both[0].state_dict(), "adamw": self._both[1].state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the states of both."""
        for optimizer, name in zip(self._both, ("muon", "adamw"), strict=True):
            optimizer.load_state_dict(state_dict[name])
        self.param_groups = [group for optimizer in self._both for group in optimizer.param_groups]


def peak_rates(config: TrainConfig) -> list[float]:
    """The peak rate of each group of parameters of the optimiser."""
    return [config.learning_rate] if config.optimizer == "adamw" else [config.muon_learning_rate, config.learning_rate]


def make_optimizer(network: EdgeTransformer, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of the parameters that require gradients."""
    trained = [p for p in network.parameters() if p.requires_grad]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay)
    in_layers = {id(p) for p in network.layers.parameters() if p.ndim == 2}

    def is_matrix(p: Tensor) -> bool:
        return id(p) in in_layers

    return MuonWithAdamW(
        [p for p in trained if is_matrix(p)],
        [p for p in trained if not is_matrix(p)],
        matrix_rate=config.muon_learning_rate,
        rate=config.learning_rate,
        weight_decay=config.weight_decay,
    )
