"""What is measured: broken rotational symmetry, missing energy, and the heat that both make."""

from torch import Tensor

from mdet_openmm.units import BOLTZMANN_KJ_PER_MOL_K


def equivariance_error(forces: Tensor) -> Tensor:
    """E_eq per molecule: mean over rotations and atoms of the deviation from the mean over rotations.

    Parameters
    ----------
    forces
        (K, b, n, 3), turned back (arXiv 2503.01431; K uniform rotations).

    Returns
    -------
    Tensor
        (b,) in the unit of the forces.
    """
    return (forces - forces.mean(dim=0)).norm(dim=-1).mean(dim=(0, 2))


def antisymmetric_ratio(jacobian: Tensor) -> Tensor:
    """lambda = |(J - J^T)/2| / |J| (Frobenius) of (3n, 3n); 0 for a gradient, 0.707 for a random matrix, 1 for a curl.

    Source: Bigi et al., arXiv 2412.11569.
    """
    return (0.5 * (jacobian - jacobian.T)).norm() / jacobian.norm()


def antisymmetric_share(forward: Tensor, backward: Tensor) -> Tensor:
    """lambda^2 from products with random probes v: sum |Jv - J^T v|^2 / (2 (sum |Jv|^2 + sum |J^T v|^2)).

    For Gaussian v, E|Av|^2 = |A|^2 (Frobenius), so both sums are what `antisymmetric_ratio` has, squared.

    Parameters
    ----------
    forward, backward
        J v and J^T v of the same probes, of any equal shape.

    Returns
    -------
    Tensor
        One number.
    """
    return (forward - backward).square().sum() / (2.0 * (forward.square().sum() + backward.square().sum()))


def langevin_heating(sigma: float, timestep: float, mass: float, friction: float) -> float:
    """Temperature that noise in the forces adds under Langevin friction: sigma^2 dt / (2 m gamma k_B).

    White noise of the forces, fresh at each step, makes v a random walk whose kinetic energy grows by
    sigma^2 dt / 2m per component and time; friction takes 2 gamma of the excess away.

    Parameters
    ----------
    sigma
        Root mean square noise of one Cartesian component, kJ/mol/nm.
    timestep
        ps.
    mass
        dalton.
    friction
        1/ps.

    Returns
    -------
    float
        K.
    """
    return nve_heating(sigma, timestep, mass) / (2.0 * friction)


def nve_heating(sigma: float, timestep: float, mass: float) -> float:
    """Rate at which noise in the forces heats without a thermostat: sigma^2 dt / (m k_B), K/ps.

    Parameters and units as for `langevin_heating`.
    """
    return sigma**2 * timestep / (mass * BOLTZMANN_KJ_PER_MOL_K)
