"""Radial bases: what a pair knows of its distance."""

import math

import torch
from torch import Tensor, nn

N_EDGE_TYPES = 128 * 128
"""Ordered pairs of elements: type Z_i + 128 Z_j."""


class GaussianBasis(nn.Module):
    """Normalised Gaussians of a scaled distance, with learned centres and widths.

    phi_k = exp(-((m D + c - mu_k)/s_k)^2 / 2) / (sqrt(2 pi) s_k), s_k = abs(std_k) + 0.01; D in bohr. With edge
    types, scale m and shift c are those of the pair's type.
    """

    def __init__(self, n_radial: int, cutoff: float, n_types: int, pi: float) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.linspace(0.0, cutoff, n_radial))
        self.stds = nn.Parameter(torch.full((n_radial,), 1.5 * cutoff / max(n_radial - 1, 1)))
        self.scale = nn.Parameter(torch.ones(n_types))
        self.shift = nn.Parameter(torch.zeros(n_types))
        self.norm = (2.0 * pi) ** 0.5

    def forward(self, distances: Tensor, types: Tensor | None) -> Tensor:
        """Expand distances (...,) of pairs of these types to (..., K), in the dtype of the distances."""
        kind = distances.dtype
        if types is None:
            scale, shift = self.scale.to(kind), self.shift.to(kind)
        else:
            scale, shift = self.scale[types].unsqueeze(-1).to(kind), self.shift[types].unsqueeze(-1).to(kind)
        y = scale * distances.unsqueeze(-1) + shift
        width = self.stds.to(kind).abs() + 0.01
        return torch.exp(-0.5 * ((y - self.means.to(kind)) / width) ** 2) / (self.norm * width)


class BesselBasis(nn.Module):
    """Spherical Bessel functions of order zero with learned frequencies (of each edge type), without an envelope.

    phi_k = sin(f_k D) / max(D, 1e-5); D in bohr.
    """

    def __init__(self, n_radial: int, n_types: int) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(torch.empty(n_types, n_radial).uniform_(1.0, math.pi * n_radial / 25.0))

    def forward(self, distances: Tensor, types: Tensor | None) -> Tensor:
        """Expand distances (...,) of pairs of these types to (..., K), in the dtype of the distances."""
        frequencies = self.frequencies[0] if types is None else self.frequencies[types]
        d = distances.unsqueeze(-1)
        return torch.sin(frequencies.to(d.dtype) * d) / d.clamp(min=1e-5)
