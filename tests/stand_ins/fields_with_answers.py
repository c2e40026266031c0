"""Analytic force fields whose broken symmetry and missing energy are known, as networks in atomic units."""

import torch
from torch import Tensor, nn

from mdet_openmm.measure.field import Field
from mdet_openmm.units import KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE

FORCE = KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE
"""kJ/mol/nm in 1 Ha/bohr: the size of an error of 1 in the network."""


class Springs(nn.Module):
    """Equivariant and conservative: a harmonic spring between each pair, rest length 2 bohr."""

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        n = positions.shape[1]
        v = positions.unsqueeze(1) - positions.unsqueeze(2)
        d = ((v * v).sum(-1) + torch.eye(n, dtype=v.dtype)).sqrt()
        stretch = (d - 2.0) * (1.0 - torch.eye(n, dtype=v.dtype))
        return 0.25 * (stretch * stretch).sum(dim=(1, 2)), ((stretch / d).unsqueeze(-1) * v).sum(dim=2)


class Rounded(nn.Module):
    """A network that sees positions in fp32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return self.network(positions.to(torch.float32))


class WithError(nn.Module):
    """Springs plus an error that depends on the laboratory's z axis.

    vector: `size` z on every atom. degree l: `size` u P_l(u.z) with u the direction of the atom from the origin, which
    is a radial vector times a pure harmonic of degree l of the orientation.
    """

    def __init__(self, size: float, degree: int = 0) -> None:
        super().__init__()
        self.springs = Springs()
        self.size = size
        self.degree = degree

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        energy, forces = self.springs(positions)
        axis = torch.tensor([0.3, -0.5, 0.8], dtype=positions.dtype)
        axis = axis / axis.norm()
        if self.degree == 0:
            return energy, forces + self.size * axis
        u = positions / positions.norm(dim=-1, keepdim=True)
        x = (u * axis).sum(-1, keepdim=True)
        previous, legendre = torch.ones_like(x), x
        for k in range(1, self.degree):  # Bonnet's recursion
            previous, legendre = legendre, ((2 * k + 1) * x * legendre - k * previous) / (k + 1)
        return energy, forces + self.size * legendre * u


class Linear(nn.Module):
    """Forces -stiffness r + whirl z x r on every atom (r from the centroid): antisymmetric part known."""

    matrix: Tensor

    def __init__(self, stiffness: float, whirl: float) -> None:
        super().__init__()
        cross = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
        self.register_buffer("matrix", -stiffness * torch.eye(3, dtype=torch.float64) + whirl * cross)

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return positions.sum(dim=(1, 2)), positions @ self.matrix.T.to(positions.dtype)


class Entangled(nn.Module):
    """Two sets of atoms that whirl in opposite senses: a curl that is no rigid rotation."""

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        energy, forces = Springs()(positions)
        n = positions.shape[1]
        signs = (1.0 - 2.0 * (torch.arange(n) % 2)).to(positions.dtype).view(1, -1, 1)
        x, y, z = (signs * positions).unbind(-1)
        return energy, forces + 0.2 * torch.stack([-y, x, 0.3 * z * z], dim=-1)


def positions_nm(n: int = 6, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.15 * torch.randn(n, 3, dtype=torch.float64, generator=generator) + 0.4


def octahedron_nm(radius: float = 0.12) -> Tensor:
    """Six atoms in opposite pairs: radial errors of even degree then have no net force and no torque."""
    return radius * torch.cat((torch.eye(3), -torch.eye(3))).to(torch.float64)


def field_of(network: nn.Module) -> Field:
    return Field(network.eval())
