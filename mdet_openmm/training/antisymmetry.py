"""How far forces are from a gradient: lambda of structures of a data set."""

import numpy as np
import torch
from torch import Tensor

from mdet_openmm.measure.definitions import antisymmetric_ratio, antisymmetric_share
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.network.gradient import minus_gradient
from mdet_openmm.training.batches import Batch
from mdet_openmm.training.penalties import jacobian_products

PROBES = 6
"""Random directions for lambda of one structure, each some force calls; an exact Jacobian has 3n rows of them."""
SMALL = 8
"""Atoms up to which the Jacobian is exact."""


def force_jacobian(network: EdgeTransformer, batch: Batch, gradient: bool = False) -> Tensor:
    """Derivatives (3n, 3n) of the force, or of minus the energy's gradient, row by row, of a batch of one."""
    x = batch.positions.clone().requires_grad_(True)
    energy, forces = network(batch.atomic_numbers, x, batch.charge, batch.multiplicity)
    forces = (minus_gradient(energy, x, create_graph=True) if gradient else forces).reshape(-1)
    return torch.stack([torch.autograd.grad(f, x, retain_graph=True)[0].reshape(-1) for f in forces])


def lambdas(network: EdgeTransformer, batch: Batch, generator: torch.Generator, gradient: bool) -> list[float]:
    """Of a batch of one: of the direct forces, and then of what they lack to be the gradient, and of the gradient.

    Exact for a small molecule; else by probes, which never build the (3n, 3n) Jacobian, and without the gradient, whose
    products with probes are the same from both sides.
    """
    n = batch.positions.shape[1]
    if n <= SMALL:
        direct = force_jacobian(network, batch)
        second = [force_jacobian(network, batch, gradient=True)] if gradient else []
        jacobians = [direct, *(s - direct for s in second), *second]
        return [float(antisymmetric_ratio(jacobian)) for jacobian in jacobians]
    squares = []
    for _ in range(PROBES):
        probes = torch.randn(1, n, 3, generator=generator, dtype=torch.float64).to(batch.positions.device)
        forward, backward = (product.detach() for product in jacobian_products(network, batch, probes))
        shares = [antisymmetric_share(forward, backward)]
        if gradient:
            both = _hessian_products(network, batch, probes)
            shares.append(antisymmetric_share(both - forward, both - backward))
        squares.append([float(share) for share in shares])
    return [float(x) for x in np.sqrt(np.mean(squares, axis=0))]


def _hessian_products(network: EdgeTransformer, batch: Batch, probes: Tensor) -> Tensor:
    """The symmetric Jacobian of minus the energy's gradient times a probe (b, n, 3) for each of b structures."""
    x = batch.positions.detach().requires_grad_(True)
    energy = network(batch.atomic_numbers, x, batch.charge, batch.multiplicity)[0]
    return torch.autograd.grad(minus_gradient(energy, x, create_graph=True), x, probes)[0]
