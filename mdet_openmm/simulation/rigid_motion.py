"""The motions that no isolated molecule changes: its translation and its rotation as a whole."""

import numpy as np
from numpy.typing import NDArray

SMALLEST = 1e-8
"""Of the largest singular value: below it a rotation moves nothing (about the axis of a linear molecule)."""


def rigid_basis(masses: NDArray[np.float64], positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal mass-weighted directions of the translations and rotations.

    A velocity v becomes √m v; translation along e is then √m e, rotation about e is √m e × (r − r_cm).

    Parameters
    ----------
    masses
        (n,) in dalton.
    positions
        (n, 3) in nm.

    Returns
    -------
    NDArray
        (k, n, 3): k = 6, 5 for a linear molecule, 3 for one atom.
    """
    centred = positions - masses @ positions / masses.sum()
    root = np.sqrt(masses)[:, None]
    axes = np.eye(3)
    moves = [root * np.broadcast_to(e, centred.shape) / np.sqrt(masses.sum()) for e in axes]
    size = np.sqrt((masses[:, None] * centred**2).sum())
    if size > 0.0:
        moves += [root * np.cross(e, centred) / size for e in axes]
    _, values, directions = np.linalg.svd(np.reshape(moves, (len(moves), -1)), full_matrices=False)
    kept = directions[values > SMALLEST * values[0]]
    return kept.reshape(-1, *positions.shape)


def without_rigid_motion(
    masses: NDArray[np.float64], positions: NDArray[np.float64], velocities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n, 3) velocities without total momentum and angular momentum; the least change (mass-weighted) that does it.

    Parameters
    ----------
    masses
        (n,) in dalton.
    positions
        (n, 3) in nm.
    velocities
        (n, 3) in nm/ps.
    """
    root = np.sqrt(masses)[:, None]
    weighted = root * velocities
    basis = rigid_basis(masses, positions)
    return (weighted - np.einsum("k,kij->ij", np.einsum("kij,ij->k", basis, weighted), basis)) / root


def internal_freedom(masses: NDArray[np.float64], positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) degrees of freedom of each atom where momentum and angular momentum are zero: 3n − 6 in all.

    An atom's share is the trace of its block of the projection onto the other motions, which is its share of the
    mean kinetic energy at equilibrium, in units of k_B T/2, at this geometry.

    Parameters
    ----------
    masses
        (n,) in dalton.
    positions
        (n, 3) in nm.
    """
    freedom: NDArray[np.float64] = 3.0 - np.square(rigid_basis(masses, positions)).sum(axis=(0, 2))
    return freedom
