"""What is timed: the published size with random weights, here and by the formula of tests/stand_ins/textbook.py."""

import platform
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mdet_openmm.export.model_folder import Model
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.published.options import read_options
from mdet_openmm.published.weights import build_network

sys.path.append(str(Path(__file__).parents[1] / "tests" / "stand_ins"))
from textbook import TextbookNetwork as TextbookNetwork
from textbook import random_state_dict as random_state_dict

LAYERS, WIDTH, HEADS = 12, 192, 12
PUBLISHED: dict[str, Any] = {
    "n_layers": LAYERS,
    "embd_dim": WIDTH,
    "num_3d_kernels": 128,
    "num_heads": HEADS,
    "cls_token": False,
    "activation": "gelu",
    "ffn_multiplier": 2,
    "norm_first": True,
    "decomposer_type": "pooling",
    "target_heads": ["forces"],
    "head_project_down": True,
}
TEXTBOOK_TENSORS = 4
"""Tensors of n³ e numbers that the textbook network has at a time (measured)."""


def atoms(n: int) -> torch.Tensor:
    """Positions of n atoms in nm, at the density of molecules."""
    grid = np.stack(np.meshgrid(*3 * [np.arange(-(-(n ** (1 / 3)) // 1) + 1)]), axis=-1).reshape(-1, 3)[:n]
    return torch.tensor(0.13 * grid + np.random.default_rng(0).normal(scale=0.02, size=(n, 3)))


def network() -> tuple[dict[str, torch.Tensor], Model]:
    """The published size with random weights, as a state dict of theirs and as a model of ours."""
    state = random_state_dict(PUBLISHED, 0)
    ours: EdgeTransformer = build_network(state, read_options(state, PUBLISHED))
    return state, Model(
        name="published", path=Path("."), network=ours, elements=tuple(range(1, 101)), has_energy=False, sha256="0" * 64
    )


def processor() -> str:
    """Name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def slug(device: str) -> str:
    """A device's name as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
