"""Samples per second of a training step, beside the textbook network in the same precision.

``python benchmarks/training_speed.py`` times forward, backward and AdamW of the published size (12 layers, width 192)
on random molecules of 20 atoms: the textbook network as it is, ours as `mdet train` runs it, without and with
``compile: true``. Data loading is not part of it: `mdet train` reads the whole data set into memory.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from speed import HEADS, LAYERS, PUBLISHED, WIDTH
from textbook import TextbookNetwork, random_state_dict
from torch import Tensor, nn

from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.training.batches import Batch
from mdet_openmm.training.config import TrainConfig
from mdet_openmm.training.module import ForceTraining


def batch_of(size: int, n: int) -> Batch:
    """Random structures."""
    generator = torch.Generator().manual_seed(0)
    x = 2.5 * torch.randn(size, n, 3, dtype=torch.float64, generator=generator)
    numbers = torch.randint(1, 9, (size, n), generator=generator)
    zeros, ones = torch.zeros(size, dtype=torch.long), torch.ones(size, dtype=torch.long)
    energy, turns = torch.zeros(size, dtype=torch.float64), torch.eye(3, dtype=torch.float64).expand(size, 3, 3)
    dipole = torch.zeros(size, 3, dtype=torch.float64)
    return Batch(numbers, x, 0.05 * torch.randn_like(x), energy, zeros, ones, turns, dipole)


def seconds_per_step(parameters: Any, forces: Callable[[], Tensor], target: Tensor, steps: int) -> float:
    """Median time of a step, after two that do not count."""
    optimiser = torch.optim.AdamW(parameters, lr=1e-5)
    times = []
    for _ in range(steps + 2):
        start = time.perf_counter()
        optimiser.zero_grad()
        (forces() - target).norm(dim=-1).mean().backward()
        optimiser.step()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def textbook(batch: Batch, bf16: bool, steps: int) -> float:
    """The textbook network with autocast around it for bf16."""
    network = TextbookNetwork(random_state_dict(PUBLISHED, 0), PUBLISHED, torch.float32).train()
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    trained = [p for p in network.parameters() if p.requires_grad]
    x = batch.positions.float()

    def forces() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else nullcontext():
            return network(batch.atomic_numbers, x, batch.charge, batch.multiplicity)["forces"].float()

    return seconds_per_step(trained, forces, batch.forces.float(), steps)


def ours(batch: Batch, bf16: bool, compiled: bool, steps: int) -> float:
    """Our network in the trainer's own step, with the directions of the paper."""
    torch.manual_seed(0)
    config = NetworkConfig(
        n_layers=LAYERS, embd_dim=WIDTH, n_heads=HEADS, n_radial=128, directions="fourier", decomposer_activation="relu"
    )
    network = EdgeTransformer(config)
    if compiled:
        for layer in network.layers:
            nn.Module.compile(layer, dynamic=False)
    settings = TrainConfig(name="speed", data=Path("none"), network=config, precision="bf16" if bf16 else "fp32")
    module = ForceTraining(network, settings, Path())
    return seconds_per_step(
        network.parameters(), lambda: module.predict_forces(module.pair_features(batch))[1], batch.forces.float(), steps
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="speed of training")
    parser.add_argument("--atoms", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    batch = batch_of(options.batch, options.atoms)
    print(f"{options.batch} molecules of {options.atoms} atoms, {options.threads} threads, torch {torch.__version__}\n")
    print("| precision | network | samples/s | times the textbook's |\n| --- | --- | --- | --- |")
    for bf16 in (False, True):
        theirs = textbook(batch, bf16, options.steps)
        rows = [("textbook", theirs)]
        rows += [
            (f"ours, compile: {str(compiled).lower()}", ours(batch, bf16, compiled, options.steps))
            for compiled in (False, True)
        ]
        for name, seconds in rows:
            precision = "bf16" if bf16 else "fp32"
            print(f"| {precision} | {name} | {options.batch / seconds:.2f} | {theirs / seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
