"""Removal of the net force and the net torque, by the least change of the forces that does it."""

import torch
from torch import Tensor


def _matrix_times_vector(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix * vector.unsqueeze(-2)).sum(dim=-1)


def remove_net_force_and_torque(positions: Tensor, forces: Tensor) -> Tensor:
    """Project forces onto those without net force and net torque.

    With r_i from the centroid and equal weights, F_i <- F_i - mean F; then M mu = -tau with
    M = sum r_i r_i^T - (sum |r_i|^2) 1 and tau = sum r_i x F_i, and F_i <- F_i + r_i x mu (as in the authors' code).
    That is the orthogonal projection of the forces, so that the mean over orientations of projections is the
    projection of the mean.

    For linear molecules M is singular. Its pseudo-inverse is what is meant there, and it jumps when a linear molecule
    bends by however little. Here the inverse is damped instead, -M/T + 1e-10 with T = sum |r_i|^2, and the damping
    is taken back by three refinements: equal to the pseudo-inverse to rounding for molecules bent by more than 1 %
    of their length and for linear ones, smooth in between. Bent by 1e-4 of its length or less, a molecule keeps the
    (tiny) torque about its axis. A pair of atoms keeps the force along its bond, one atom keeps none.

    Parameters
    ----------
    positions
        (f, n, 3), in any unit and about any origin.
    forces
        (f, n, 3), in any unit.

    Returns
    -------
    Tensor
        (f, n, 3), in the unit of the forces.
    """
    r = positions - positions.mean(dim=1, keepdim=True)
    f = forces - forces.mean(dim=1, keepdim=True)
    torque = torch.linalg.cross(r, f, dim=-1).sum(dim=1)
    # In units of T the eigenvalues of the inertia lie in 0..1 and the two larger ones are 0.5 or more (one atom: all
    # 0). The floor is only there for one atom, whose r and torque are 0.
    size = (r * r).sum(dim=(1, 2)).clamp(min=1e-100).reshape(-1, 1, 1)
    unit = torch.eye(3, dtype=r.dtype, device=r.device)
    outer = r.transpose(1, 2) @ r / size
    inertia = outer.diagonal(dim1=1, dim2=2).sum(dim=-1).reshape(-1, 1, 1) * unit - outer
    # linalg.inv and solve synchronise with the host, which a CUDA graph cannot capture: adjugate over determinant.
    damped = inertia + 1e-10 * unit
    a, b, c = damped.unbind(dim=1)
    bc, ca, ab = torch.linalg.cross(b, c, dim=-1), torch.linalg.cross(c, a, dim=-1), torch.linalg.cross(a, b, dim=-1)
    inverse = torch.stack([bc, ca, ab], dim=1) / (a * bc).sum(dim=-1).reshape(-1, 1, 1)
    scaled = torque / size.reshape(-1, 1)
    mu = _matrix_times_vector(inverse, scaled)
    for _ in range(3):
        mu = mu + _matrix_times_vector(inverse, scaled - _matrix_times_vector(inertia, mu))
    f = f + torch.linalg.cross(r, mu.unsqueeze(1).expand_as(r), dim=-1)
    # Again, because mu is large for nearly linear molecules and multiplies the rounding of the centroid.
    return f - f.mean(dim=1, keepdim=True)
