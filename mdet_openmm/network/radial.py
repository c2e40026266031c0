"""Gaussian radial basis."""

import torch
from torch import Tensor, nn


class GaussianBasis(nn.Module):
    """Normalised Gaussians of a scaled distance, with learned centres and widths.

    phi_k = exp(-((m D + c - mu_k)/s_k)^2 / 2) / (sqrt(2 pi) s_k), s_k = abs(std_k) + 0.01; D in bohr.
    """

    def __init__(self, n_radial: int, cutoff: float, pi: float) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.linspace(0.0, cutoff, n_radial))
        self.stds = nn.Parameter(torch.full((n_radial,), 1.5 * cutoff / max(n_radial - 1, 1)))
        self.scale = nn.Parameter(torch.ones(1))
        self.shift = nn.Parameter(torch.zeros(1))
        self.norm = (2.0 * pi) ** 0.5

    def forward(self, distances: Tensor) -> Tensor:
        """Expand distances (...,) to (..., K), in the dtype of the distances."""
        kind = distances.dtype
        y = self.scale.to(kind) * distances.unsqueeze(-1) + self.shift.to(kind)
        width = self.stds.to(kind).abs() + 0.01
        return torch.exp(-0.5 * ((y - self.means.to(kind)) / width) ** 2) / (self.norm * width)
