"""How forces depend on the orientation: E_eq with one and with groups of them, noise, net force, 600-cell."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mdet_openmm.export.options import ORIENTATIONS
from mdet_openmm.export.rotations import rotation_group
from mdet_openmm.measure.definitions import equivariance_error
from mdet_openmm.measure.field import Field, uniform_rotations


@dataclass(frozen=True)
class OrientationNoise:
    """What is left of the dependence on the orientation with one number of orientations, on one structure.

    Attributes
    ----------
    samples
        Independent uniform rotations.
    e_eq_raw, e_eq
        E_eq in kJ/mol/nm: of the network's forces, and of those a run uses (net force and torque removed).
    e_eq_error
        Standard error of `e_eq` from the finite number of rotations.
    variance
        (n,) variance of one Cartesian component of each atom's force as used, (kJ/mol/nm)².
    """

    samples: int
    e_eq_raw: float
    e_eq: float
    e_eq_error: float
    variance: Tensor


def averaged_over_group(field: Field, positions: Tensor, orientations: int, offsets: Tensor) -> Tensor:
    """Raw forces of a structure (n, 3) in nm, averaged over a rotation group at each offset: (M, n, 3) in kJ/mol/nm.

    The orientations at an offset Q (M, 3, 3) are R_k Q, as in `mdet_openmm.export.force_module`.
    """
    turns = torch.einsum("kab,mbc->mkac", rotation_group(orientations), offsets).reshape(-1, 3, 3)
    turned = field.turned_back(positions, turns)
    return turned.view(len(offsets), orientations, *turned.shape[1:]).mean(dim=1)


def orientation_noise(field: Field, positions: Tensor, turned: Tensor) -> OrientationNoise:
    """Evaluate forces of one structure that were turned back.

    Parameters
    ----------
    field
        Tells what a run takes out of them.
    positions
        (n, 3) in nm.
    turned
        (K, n, 3) raw forces in kJ/mol/nm at K >= 2 independent uniform rotations (or offsets of a group).

    Returns
    -------
    OrientationNoise
        E_eq as in arXiv 2503.01431, times sqrt(K/(K-1)): deviations from the mean of K samples are that much
        smaller than from the true mean (0.1 % at the paper's K = 512, 7 % at 8).
    """
    k = len(turned)
    used = field.as_used(positions.expand_as(turned), turned)
    deviation = used - used.mean(dim=0)
    per_rotation = deviation.norm(dim=-1).mean(dim=1)
    unbiased = math.sqrt(k / (k - 1))
    return OrientationNoise(
        samples=k,
        e_eq_raw=unbiased * float(equivariance_error(turned[:, None])[0]),
        e_eq=unbiased * float(equivariance_error(used[:, None])[0]),
        e_eq_error=unbiased * float(per_rotation.std()) / math.sqrt(k),
        variance=deviation.square().sum(dim=0).mean(dim=-1) / (k - 1),
    )


def net_force_and_torque(positions: Tensor, turned: Tensor) -> tuple[float, float]:
    """Rms over rotations of |sum F| in kJ/mol/nm and of |sum r x F| about the centroid in kJ/mol, of raw forces.

    Parameters
    ----------
    positions
        (n, 3) in nm.
    turned
        (K, n, 3) in kJ/mol/nm.
    """
    r = (positions - positions.mean(dim=0)).expand_as(turned)
    torque = torch.linalg.cross(r, turned, dim=-1).sum(dim=1)
    return tuple(float(v.square().sum(dim=-1).mean().sqrt()) for v in (turned.sum(dim=1), torque))  # type: ignore[return-value]


@dataclass(frozen=True)
class SymmetryTest:
    """The 600-cell test of one structure: 60 icosahedral rotations, forces as used.

    Attributes
    ----------
    magnitude_variance
        (n,) variance of |F_i| over the rotations, (kJ/mol/nm)².
    angle
        (n,) mean angle in degrees between the force, turned back, and its mean direction.
    rounding
        Rms difference of a component from the same in fp64, kJ/mol/nm.
    """

    magnitude_variance: Tensor
    angle: Tensor
    rounding: float


def symmetry_test(fields: Mapping[str, Field], positions: Tensor) -> dict[str, SymmetryTest]:
    """The 600-cell test (arXiv 2503.01431, appendix B) in each precision.

    The 120 unit quaternions of the 600-cell give 60 rotations, q and -q being one: the icosahedral group.

    Parameters
    ----------
    fields
        By precision; "double" must be one of them.
    positions
        (n, 3) in nm.
    """
    group = rotation_group(60)
    used = {}
    for name, field in fields.items():
        turned = field.turned_back(positions, group)
        used[name] = field.as_used(positions.expand_as(turned), turned)
    results = {}
    for name, forces in used.items():
        # of unit vectors, so that an atom's mean direction is not that of its largest forces alone
        mean = torch.nn.functional.normalize(forces, dim=-1).mean(dim=0).expand_as(forces)
        sine = torch.linalg.cross(forces, mean, dim=-1).norm(dim=-1)
        angle = torch.atan2(sine, (forces * mean).sum(dim=-1))  # exact for small angles, where acos is not
        results[name] = SymmetryTest(
            magnitude_variance=forces.norm(dim=-1).var(dim=0),
            angle=torch.rad2deg(angle).mean(dim=0),
            rounding=float((forces - used["double"]).square().mean().sqrt()),
        )
    return results


def noise_by_orientations(
    field: Field, positions: Tensor, *, rotations: int, offsets: int, generator: torch.Generator
) -> tuple[dict[int, OrientationNoise], tuple[float, float], float]:
    """Noise with 1, 12, 24 and 60 orientations, net force and torque, and the rms force, of one structure.

    Parameters
    ----------
    field
        In the precision of the run.
    positions
        (n, 3) in nm.
    rotations
        K for one orientation.
    offsets
        Uniform offsets of each group.
    generator
        Draws both.

    Returns
    -------
    tuple
        Noise by orientations; rms net force (kJ/mol/nm) and torque (kJ/mol) before their removal; rms of a component of
        the mean force as used, kJ/mol/nm.
    """
    single = field.turned_back(positions, uniform_rotations(rotations, generator))
    found = {1: orientation_noise(field, positions, single)}
    for orientations in ORIENTATIONS[1:]:
        turned = averaged_over_group(field, positions, orientations, uniform_rotations(offsets, generator))
        found[orientations] = orientation_noise(field, positions, turned)
    mean = field.as_used(positions[None], single.mean(dim=0)[None])
    return found, net_force_and_torque(positions, single), float(mean.square().mean().sqrt())
