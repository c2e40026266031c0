"""Where a training computes, and what of the network is compiled for it."""

import shutil

import torch

from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.training.config import TrainConfig


def on_gpu(config: TrainConfig) -> bool:
    """Whether a training computes on a CUDA device."""
    return config.accelerator != "cpu" and torch.cuda.is_available()


def compile_network(network: EdgeTransformer, gpu: bool) -> None:
    """Have torch.compile make code of a network's parts, in place, where there is what it needs.

    On a CPU every size of molecule gets code of its own, which is faster; on a GPU, where one compilation takes as long
    as hundreds of steps, all sizes have one.
    """
    if not gpu and shutil.which("g++") is None and shutil.which("clang++") is None:
        print("no C++ compiler found: training without torch.compile, about half as fast")
        return
    torch._dynamo.config.recompile_limit = 256
    torch._dynamo.config.accumulated_recompile_limit = 4096
    parts = list(network.layers)
    if gpu:  # on a CPU what is around the layers takes too little time for the compilations of every size
        # not the radial basis: of its fp64 sums torch 2.11 makes code that Triton refuses
        parts += [network.radial, network.directions, network.decomposer]
        if network.atomic_energies is not None:
            parts.append(network.atomic_energies)
    for part in parts:
        part.compile(dynamic=gpu)
