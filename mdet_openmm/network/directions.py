"""Embeddings of the direction from one atom to another."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mdet_openmm.network.constants import GeometryConstants


def monomial_exponents(degree: int) -> list[tuple[int, int, int]]:
    """Exponents (a, b, c) of all x^a y^b z^c of one degree."""
    return [(a, b, degree - a - b) for a in range(degree + 1) for b in range(degree - a + 1)]


def harmonic_coefficients(degree: int) -> NDArray[np.float64]:
    """Real solid harmonics of one degree as combinations of monomials.

    Orthonormal on the sphere, ordered m = -l..l, polar axis y, azimuth from z towards x, no Condon-Shortley sign
    (e3nn's order and axes):  Y_lm = N_lm (d^a P_l/dt^a)(t = y) A_m, a = abs(m), A_m = Im (z + ix)^a for m < 0,
    Re (z + ix)^a for m > 0, with powers of r^2 = x^2 + y^2 + z^2 that make every term homogeneous of degree l.
    So Y_lm(0) = 0 for l > 0 and the functions are smooth polynomials.

    Returns
    -------
    (2 l + 1, number of monomials) float64, columns ordered as `monomial_exponents(degree)`.
    """
    exponents = monomial_exponents(degree)
    index = {e: i for i, e in enumerate(exponents)}
    rows = np.zeros((2 * degree + 1, len(exponents)))
    legendre = np.polynomial.legendre.leg2poly([0.0] * degree + [1.0])
    for m in range(-degree, degree + 1):
        a = abs(m)
        norm = math.sqrt(
            (2 * degree + 1)
            / (4 * math.pi)
            * math.factorial(degree - a)
            / math.factorial(degree + a)
            * (1 if m == 0 else 2)
        )
        derivative = np.polynomial.polynomial.polyder(legendre, a) if a else legendre
        for power, coefficient in enumerate(derivative):
            if coefficient == 0.0:
                continue
            s = (degree - a - power) // 2  # this many factors r^2
            for k in range(a + 1):  # (z + ix)^a = sum_k C(a, k) (ix)^k z^(a-k)
                if (m < 0) != (k % 2 == 1):
                    continue
                sign = (-1) ** (k // 2)
                planar = math.comb(a, k) * sign
                for p in range(s + 1):
                    for q in range(s - p + 1):
                        multinomial = math.comb(s, p) * math.comb(s - p, q)
                        key = (k + 2 * p, power + 2 * q, a - k + 2 * (s - p - q))
                        rows[m + degree, index[key]] += norm * coefficient * planar * multinomial
    return rows


class Harmonics(GeometryConstants):
    """Real spherical harmonics of unit vectors, of degrees 0 or 1 to ``l_max``.

    Of the zero vector, on the diagonal, all are zero but that of degree 0.
    """

    coefficients: Tensor
    powers: Tensor

    def __init__(self, l_max: int, lowest: int) -> None:
        super().__init__()
        exponents = [e for degree in range(lowest, l_max + 1) for e in monomial_exponents(degree)]
        self.n_features = (l_max + 1) ** 2 - lowest**2
        matrix = np.zeros((self.n_features, len(exponents)))
        row = column = 0
        for degree in range(lowest, l_max + 1):
            block = harmonic_coefficients(degree)
            matrix[row : row + block.shape[0], column : column + block.shape[1]] = block
            row, column = row + block.shape[0], column + block.shape[1]
        self.l_max = l_max
        self.add_constant("coefficients", torch.tensor(matrix.T.copy()))
        self.register_buffer("powers", torch.tensor(exponents), persistent=False)

    def forward(self, unit: Tensor) -> Tensor:
        """Map unit vectors (..., 3) to harmonics (..., n_features), ordered by l and then m = -l..l."""
        powers = [torch.ones_like(unit), unit]
        for _ in range(self.l_max - 1):
            powers.append(powers[-1] * unit)
        table = torch.stack(powers, dim=-1)  # (..., 3, l_max + 1)
        x = table[..., 0, :].index_select(-1, self.powers[:, 0])
        y = table[..., 1, :].index_select(-1, self.powers[:, 1])
        z = table[..., 2, :].index_select(-1, self.powers[:, 2])
        return (x * y * z) @ self.coefficients.to(unit.dtype)


class HarmonicDirections(nn.Module):
    """Real spherical harmonics of degrees 1 to ``l_max``, projected and times a learned radial gate.

    Smooth on the whole sphere, unlike angles, which jump at the half-plane y = 0, x < 0 and are singular at the
    poles. Zero on the diagonal.
    """

    def __init__(self, embd_dim: int, l_max: int, n_radial: int) -> None:
        super().__init__()
        self.harmonics = Harmonics(l_max, 1)
        self.project = nn.Linear(self.harmonics.n_features, embd_dim, bias=False)
        self.gate = nn.Linear(n_radial, embd_dim)
        # Directions must be heard beside elements and distances from the first step: with torch's default scale a
        # small network stays at zero force for a thousand steps.
        with torch.no_grad():
            self.project.weight.mul_(3.0)
            self.gate.bias.fill_(1.0)

    def forward(self, unit: Tensor, radial: Tensor, trunk: torch.dtype) -> Tensor:
        """Embed unit vectors (..., 3), zero on the diagonal, with radial features (..., K) of the trunk's dtype."""
        return self.project(self.harmonics(unit).to(trunk)) * self.gate(radial)


class MlpDirections(nn.Module):
    """Two layers on the vector itself, or on its spherical harmonics: the embeddings of the authors' second code.

    A GELU stands behind the last layer too.
    """

    def __init__(self, embd_dim: int, l_max: int | None) -> None:
        super().__init__()
        self.features: nn.Module = nn.Identity()
        width = 3
        if l_max is not None:
            self.features = Harmonics(l_max, 0)
            width = self.features.n_features
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * embd_dim), nn.GELU(), nn.Linear(2 * embd_dim, embd_dim), nn.GELU()
        )

    def forward(self, unit: Tensor, radial: Tensor, trunk: torch.dtype) -> Tensor:
        """Embed vectors (..., 3), zero on the diagonal."""
        return self.mlp(self.features(unit).to(trunk))


class FourierDirections(GeometryConstants):
    """Sines and cosines of azimuth and polar angle at many frequencies: the published embedding.

    Wavelengths run geometrically from ``shortest`` to 4 pi (azimuth) and 2 pi (polar angle). With the published
    2e-4 rad, phases reach 1e5 rad: the angles must be fp64 for the features to mean anything.
    """

    azimuthal: Tensor
    polar: Tensor

    def __init__(self, embd_dim: int, n_frequencies: int, shortest: float, clamped: bool) -> None:
        super().__init__()
        for name, longest in (("azimuthal", 4 * math.pi), ("polar", 2 * math.pi)):
            wavelengths = torch.exp(
                torch.linspace(math.log(shortest), math.log(longest), n_frequencies, dtype=torch.float64)
            )
            # Rounded to fp32 because that is how they are stored beside weights; stored, because imported ones differ
            # in their last bit.
            self.add_constant(name, (2 * math.pi / wavelengths).float().double(), persistent=True)
        self.clamped = clamped
        self.project = nn.Linear(4 * n_frequencies, embd_dim)

    def forward(self, unit: Tensor, radial: Tensor, trunk: torch.dtype) -> Tensor:
        """Embed vectors v/(|v| + 1e-5) of shape (..., 3); the diagonal has azimuth 0 and polar angle pi/2."""
        x = unit[..., 0]
        if self.clamped:  # the authors' second code; the sign is lost
            x = x.masked_fill(x.abs() < 1e-5, 1e-5)
        else:
            # (1, 0, 0) on the diagonal has the same angles as the zero vector, and derivatives that are not NaN.
            x = x.masked_fill((unit == 0.0).all(dim=-1), 1.0)
        polar = torch.acos(unit[..., 2])
        if self.clamped:
            polar = polar.clamp(1e-6, math.pi - 1e-6)
        azimuths = torch.atan2(unit[..., 1], x).unsqueeze(-1) * self.azimuthal.to(unit.dtype)
        polars = polar.unsqueeze(-1) * self.polar.to(unit.dtype)
        features = torch.cat((azimuths.sin(), azimuths.cos(), polars.sin(), polars.cos()), dim=-1)
        return self.project(features.to(trunk))
