"""What a network gives for turned structures, turned back."""

import torch
from torch import Tensor

from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.network.gradient import minus_gradient
from mdet_openmm.training.batches import Batch

PAIRS_WITH_GRAPH = 4000
"""Structures times atoms squared that are differentiated at once: a graph keeps every layer's activations."""


def rotated_forces(network: EdgeTransformer, batch: Batch, rotations: Tensor) -> Tensor:
    """Forces of every molecule under its own K rotations, turned back: (K, b, n, 3) in Ha/bohr.

    Parameters
    ----------
    network
        In eval mode.
    batch
        b molecules of n atoms.
    rotations
        (K, b, 3, 3); positions (rows) become x R.
    """
    k, b, n = *rotations.shape[:2], batch.positions.shape[1]
    forces = network.from_pairs(*_turned(network, batch, rotations))[1].double().view(k, b, n, 3)
    return torch.einsum("kbnj,kbij->kbni", forces, rotations.double())


def rotated_energies(network: EdgeTransformer, batch: Batch, rotations: Tensor) -> Tensor:
    """Energies under K rotations, without those of the atoms alone: (K, b) in Ha; see `rotated_forces`."""
    return network.from_pairs(*_turned(network, batch, rotations))[0].double().view(rotations.shape[:2])


def rotated_gradients(network: EdgeTransformer, batch: Batch, rotations: Tensor) -> Tensor:
    """Minus the energy's gradient under K rotations, turned back: (K, b, n, 3) in Ha/bohr; see `rotated_forces`."""
    k, b, n = *rotations.shape[:2], batch.positions.shape[1]
    pairs, positions, types = _turned(network, batch, rotations)
    found = []
    for rows in torch.arange(k * b, device=positions.device).split(max(1, PAIRS_WITH_GRAPH // n**2)):
        with torch.enable_grad():
            x = positions[rows].detach().requires_grad_(True)
            energy = network.from_pairs(pairs[rows], x, types[rows] if types is not None else None)[0]
            found.append(minus_gradient(energy, x))
    return torch.einsum("kbnj,kbij->kbni", torch.cat(found).double().view(k, b, n, 3), rotations.double())


def rotated_dipoles(network: EdgeTransformer, batch: Batch, rotations: Tensor) -> Tensor:
    """Dipoles of every molecule under its own K rotations, turned back: (K, b, 3) in e bohr; see `rotated_forces`."""
    k, b = rotations.shape[:2]
    pairs, x, types = _turned(network, batch, rotations)
    dipoles = network.dipole_readout(network.trunk(pairs, x, types), x)
    return torch.einsum("kbj,kbij->kbi", dipoles.double().view(k, b, 3), rotations.double())


def _turned(network: EdgeTransformer, batch: Batch, rotations: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Pair features, turned positions and pair types of K b structures, as `EdgeTransformer.from_pairs` takes them."""
    k, b, n = *rotations.shape[:2], batch.positions.shape[1]
    x = torch.einsum("bni,kbij->kbnj", batch.positions, rotations).reshape(k * b, n, 3)
    pairs = network.node_pairs(batch.atomic_numbers, batch.charge, batch.multiplicity)
    types = network.pair_types(batch.atomic_numbers)
    return pairs.repeat(k, 1, 1, 1), x, types.repeat(k, 1, 1) if types is not None else None
