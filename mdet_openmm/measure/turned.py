"""What a network gives for turned structures, turned back."""

from typing import Protocol

import torch
from torch import Tensor

from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.network.gradient import minus_gradient

PAIRS_WITH_GRAPH = 4000
"""Structures times atoms squared that are differentiated at once: a graph keeps every layer's activations."""


class Structures(Protocol):
    """b molecules of n atoms, in atomic units.

    Attributes
    ----------
    atomic_numbers
        (b, n) int64.
    positions
        (b, n, 3) float64, bohr, about the centroid.
    charge, multiplicity
        (b,) int64.
    """

    @property
    def atomic_numbers(self) -> Tensor: ...
    @property
    def positions(self) -> Tensor: ...
    @property
    def charge(self) -> Tensor: ...
    @property
    def multiplicity(self) -> Tensor: ...


def rotated(network: EdgeTransformer, structures: Structures, rotations: Tensor) -> tuple[Tensor, Tensor]:
    """The answer for every molecule under its own K rotations.

    Parameters
    ----------
    network
        In eval mode.
    structures
        b molecules of n atoms.
    rotations
        (K, b, 3, 3); positions (rows) become x R.

    Returns
    -------
    tuple of Tensor
        Energies (K, b) in Ha, without `EdgeTransformer.reference_energy`, and forces (K, b, n, 3) in Ha/bohr, turned
        back; float64.
    """
    energies, forces = network.from_pairs(*_turned(network, structures, rotations))
    return energies.double().view(rotations.shape[:2]), _turned_back(forces, rotations)


def rotated_gradients(network: EdgeTransformer, structures: Structures, rotations: Tensor) -> tuple[Tensor, Tensor]:
    """As `rotated`, but the forces are minus the gradient of the energies; no graph is left."""
    n = structures.positions.shape[1]
    pairs, positions, types = _turned(network, structures, rotations)
    energies, forces = [], []
    for rows in torch.arange(len(positions), device=positions.device).split(max(1, PAIRS_WITH_GRAPH // n**2)):
        with torch.enable_grad():
            x = positions[rows].detach().requires_grad_(True)
            energy = network.from_pairs(pairs[rows], x, types[rows] if types is not None else None)[0]
            forces.append(minus_gradient(energy, x))
        energies.append(energy.detach())
    return torch.cat(energies).double().view(rotations.shape[:2]), _turned_back(torch.cat(forces), rotations)


def rotated_dipoles(network: EdgeTransformer, structures: Structures, rotations: Tensor) -> Tensor:
    """Dipoles of every molecule under its own K rotations, turned back: (K, b, 3) in e bohr; see `rotated`."""
    pairs, x, types = _turned(network, structures, rotations)
    dipoles = network.dipole_readout(network.trunk(pairs, x, types), x)
    return _turned_back(dipoles.unsqueeze(1), rotations).squeeze(2)


def _turned(
    network: EdgeTransformer, structures: Structures, rotations: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Pair features, turned positions and pair types of K b structures, as `EdgeTransformer.from_pairs` takes them."""
    k = len(rotations)
    x = torch.einsum("bni,kbij->kbnj", structures.positions, rotations).flatten(0, 1)
    pairs = network.node_pairs(structures.atomic_numbers, structures.charge, structures.multiplicity)
    types = network.pair_types(structures.atomic_numbers)
    return pairs.repeat(k, 1, 1, 1), x, types.repeat(k, 1, 1) if types is not None else None


def _turned_back(vectors: Tensor, rotations: Tensor) -> Tensor:
    """(K b, m, 3) vectors of turned structures in the axes of those that were not: (K, b, m, 3) float64."""
    k, b = rotations.shape[:2]
    return torch.einsum("kbnj,kbij->kbni", vectors.double().view(k, b, -1, 3), rotations.double())
