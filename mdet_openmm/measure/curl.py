"""Is there an energy behind the forces? lambda by the Jacobian or by probes, work around loops, pumped vibrations."""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from mdet_openmm.measure.definitions import antisymmetric_ratio, antisymmetric_share
from mdet_openmm.measure.field import Field

PAIRS_WITH_GRAPH: Final = 1000
"""Structures times atoms squared that are differentiated at once; a graph keeps every layer's activations."""

STEP_NM: Final = 1e-7
"""For differences of fp64 forces: rounding costs about 1e-7 of the derivative, and the published direction features
(31,416 oscillations per radian) are still straight over it (1e-4)."""

RAD_PER_PS_PER_CM: Final = 2.0 * math.pi * 0.0299792458
DEPHASING_CM: Final = 20.0
"""1/cm: how fast two vibrations of a small molecule at room temperature lose their phase, from classical line widths of
10 to 40/cm. Of the estimate for which it serves only the order of magnitude counts."""
SLOWEST_VIBRATION_CM: Final = 50.0
"""1/cm; below it are the six rigid motions, whose frequencies only say how anisotropic the forces are."""


def jacobian(field: Field, positions: Tensor, raw: bool = False, rotations: Tensor | None = None) -> Tensor:
    """Exact derivatives dF_i/dx_j (3n, 3n) by reverse differentiation, in kJ/mol/nm².

    Parameters
    ----------
    field
        From `smooth_field`.
    positions
        (n, 3) in nm.
    raw
        Without removal of net force and torque.
    rotations
        (K, 3, 3): of the force averaged over these orientations; None: as the structure lies.
    """
    if rotations is not None:
        total = torch.zeros(positions.numel(), positions.numel(), dtype=torch.float64)
        for turn in rotations:
            turned = jacobian(field, positions @ turn, raw).view(*positions.shape, *positions.shape)
            total += torch.einsum("ab,ibjc,dc->iajd", turn, turned, turn).reshape(total.shape)
        return total / len(rotations)
    size = positions.numel()
    parts = []
    for rows in torch.arange(size).split(max(1, PAIRS_WITH_GRAPH // len(positions) ** 2)):
        # one copy of the structure per row: a single backward pass then gives all of them
        x = positions.detach().expand(len(rows), -1, -1).clone().requires_grad_(True)
        forces = field.with_graph(x, raw).reshape(len(rows), size)
        picked = forces[torch.arange(len(rows)), rows].sum()
        parts.append(torch.autograd.grad(picked, x)[0].reshape(len(rows), size))
    return torch.cat(parts)


def backward_product(field: Field, positions: Tensor, probes: Tensor, raw: bool = False) -> Tensor:
    """J^T v of probes (P, n, 3) at one structure (n, 3) in nm: (P, n, 3) in the probes' unit times kJ/mol/nm²."""
    parts = []
    for some in probes.split(max(1, PAIRS_WITH_GRAPH // len(positions) ** 2)):
        x = positions.detach().expand_as(some).clone().requires_grad_(True)
        parts.append(torch.autograd.grad(field.with_graph(x, raw), x, some)[0])
    return torch.cat(parts)


@dataclass(frozen=True)
class Lambda:
    """lambda of one structure; `error` is the standard error from the finite number of probes, 0 if exact."""

    value: float
    error: float


def stochastic_lambda(
    smooth: Field, fast: Field, positions: Tensor, *, probes: int, generator: torch.Generator, raw: bool = False
) -> Lambda:
    """lambda from J v by differences and J^T v by reverse differentiation, of Gaussian v (Hutchinson).

    Parameters
    ----------
    smooth
        Has derivatives, for J^T v.
    fast
        The same force in fp64, for J v.
    positions
        (n, 3) in nm.
    probes
        Number of v; 2 or more.
    generator
        Draws them.
    raw
        Without removal of net force and torque.

    Returns
    -------
    Lambda
        The error is that of a ratio of means (delta method).
    """
    v = torch.randn(probes, *positions.shape, dtype=torch.float64, generator=generator)
    shifted = torch.cat((positions + STEP_NM * v, positions - STEP_NM * v))
    ahead, behind = fast.forces(shifted, raw).chunk(2)
    forward = (ahead - behind) / (2.0 * STEP_NM)
    backward = backward_product(smooth, positions, v, raw)
    share = float(antisymmetric_share(forward, backward))
    above = (forward - backward).square().sum(dim=(1, 2))
    below = 2.0 * (forward.square() + backward.square()).sum(dim=(1, 2))
    residual = (above - share * below) / below.mean()
    error = float(residual.std()) / math.sqrt(probes)
    value = math.sqrt(share)
    return Lambda(value, error / (2.0 * value) if value > 0.0 else math.sqrt(error))


def exact_lambda(field: Field, positions: Tensor, raw: bool = False) -> Lambda:
    """lambda from the whole Jacobian of a structure (n, 3) in nm."""
    return Lambda(float(antisymmetric_ratio(jacobian(field, positions, raw))), 0.0)


@dataclass(frozen=True)
class LoopWork:
    """Work around circles of one radius, in kJ/mol.

    Attributes
    ----------
    radius
        Rms displacement of an atom, nm.
    work
        (p,) line integrals of the force, one per plane.
    predicted
        (p,) 2 area v.A u, from the antisymmetric part A of the Jacobian at the centre.
    """

    radius: float
    work: Tensor
    predicted: Tensor


def loop_work(
    smooth: Field,
    fast: Field,
    positions: Tensor,
    *,
    radii: tuple[float, ...],
    planes: int,
    points: int,
    generator: torch.Generator,
) -> list[LoopWork]:
    """Work of the force as used around circles in random planes of configuration space; zero if it has an energy.

    On r(t) = r + rho (u cos t + v sin t) the force is F + J (r(t) - r) to first order, so that the integral over a
    turn is pi rho² (v.J u - u.J v) = 2 area v.A u, A = (J - J^T)/2 (Stokes). The integral is a sum over equidistant
    points, which for a smooth force converges faster than any power of their number.

    Parameters
    ----------
    smooth, fast
        The same force in fp64, with derivatives and without.
    positions
        (n, 3) in nm, the centre.
    radii
        Rms displacement of an atom, nm; rho is sqrt(n) times that.
    planes, points
        Random planes, and points on each circle.
    generator
        Draws the planes.
    """
    n = len(positions)
    pairs = torch.randn(planes, 3 * n, 2, dtype=torch.float64, generator=generator)
    u, v = torch.linalg.qr(pairs)[0].transpose(1, 2).reshape(planes, 2, n, 3).unbind(dim=1)
    back_v, back_u = backward_product(smooth, positions, torch.cat((v, u))).chunk(2)
    curl = (back_v * u).sum(dim=(1, 2)) - (back_u * v).sum(dim=(1, 2))  # v.J u - u.J v
    angle = (2.0 * math.pi / points) * torch.arange(points, dtype=torch.float64)
    cosine, sine = angle.cos().view(-1, 1, 1), angle.sin().view(-1, 1, 1)
    found = []
    for radius in radii:
        rho = math.sqrt(n) * radius
        work = []
        for one, other in zip(u, v, strict=True):
            forces = fast.forces(positions + rho * (cosine * one + sine * other))
            tangent = rho * (cosine * other - sine * one)
            work.append((forces * tangent).sum() * (2.0 * math.pi / points))
        found.append(LoopWork(radius, torch.stack(work), math.pi * rho**2 * curl))
    return found


def pumping_rate(matrix: Tensor, masses: Tensor, dephasing: float = DEPHASING_CM) -> float:
    """Relative rate (1/ps) at which forces without an energy heat thermal vibrations, to second order in them.

    In the vibrations of the symmetric part of M^-1/2 J M^-1/2 the antisymmetric part couples q_i'' + w_i² q_i = c q_j
    with q_j'' + w_j² q_j = -c q_i. In thermal motion its power averages to zero; but it builds up a phase between i
    and j in which it does work on both, and which lasts as long as their coherence, exp(-G t). With amplitudes whose
    square is the energy, b_i' = -i g b_j and b_j' = i g b_i, g² = c²/(4 w_i w_j), the coherence settles at
    i g (E_i + E_j)/(G + i (w_i - w_j)), and both energies grow by 2 g² (E_i + E_j) G/(G² + (w_i - w_j)²). Summed over
    the pairs of N vibrations with k_B T each, the relative rate is

        (1/N) sum_{i<j} 2 c_ij²/(w_i w_j) G/(G² + (w_i - w_j)²).

    Parameters
    ----------
    matrix
        (3n, 3n) Jacobian at a relaxed structure, kJ/mol/nm².
    masses
        (n,) in dalton.
    dephasing
        G as a wavenumber, 1/cm.

    Returns
    -------
    float
        0 without vibrations above 50/cm; modes that are not stable are left out.
    """
    weight = masses.to(torch.float64).rsqrt().repeat_interleave(3)
    weighted = weight[:, None] * matrix * weight[None, :]
    squared, modes = torch.linalg.eigh(-0.5 * (weighted + weighted.T))
    kept = squared > (SLOWEST_VIBRATION_CM * RAD_PER_PS_PER_CM) ** 2
    if not kept.any():
        return 0.0
    w, modes = squared[kept].sqrt(), modes[:, kept]
    coupling = modes.T @ (0.5 * (weighted - weighted.T)) @ modes
    g = dephasing * RAD_PER_PS_PER_CM
    lorentzian = g / (g**2 + (w[:, None] - w[None, :]) ** 2)
    # over all i and j, each pair twice
    return float((coupling.square() / (w[:, None] * w[None, :]) * lorentzian).sum()) / len(w)
