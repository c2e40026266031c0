"""Rotations that give orientations: the three rotation groups, uniform random ones, and ones keyed on positions.

Every function that a force module calls in the MD loop is TorchScript-able and keeps to the device of its input:
no ``.item()`` and no host synchronisation, so that a CUDA graph can capture it.
"""

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GROUP_OF_ORDER: Final = {12: "T", 24: "O", 60: "I"}
"""Rotation group with this number of elements."""


def _closure(generators: list[NDArray[np.float64]], exact: NDArray[np.float64]) -> NDArray[np.float64]:
    """All products of the generators, entries snapped to exact values after each product, identity first."""
    elements = [np.eye(3)]
    for element in elements:  # grows while it is walked through: breadth-first over the group
        for generator in generators:
            product = element @ generator
            product = exact[np.abs(product[..., None] - exact).argmin(axis=-1)]
            if not any(np.array_equal(product, known) for known in elements):
                elements.append(product)
    return np.array(elements)


def _groups() -> dict[str, NDArray[np.float64]]:
    golden = (1.0 + math.sqrt(5.0)) / 2.0
    half_turn = np.diag([-1.0, -1.0, 1.0])
    third_turn = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # about (1, 1, 1)
    quarter_turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    # Rodrigues' formula for a fifth of a turn about the icosahedron's vertex (0, 1, golden ratio)
    axis = np.array([0.0, 1.0, golden]) / math.sqrt(1.0 + golden**2)
    cross = np.array([[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])
    angle = 2.0 * math.pi / 5.0
    fifth_turn = np.eye(3) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * (cross @ cross)
    # Entries of all elements are among these, so that no rounding error piles up in the products.
    positive = np.array([1.0, golden / 2.0, 0.5, (golden - 1.0) / 2.0])
    exact = np.concatenate([positive, [0.0], -positive])
    return {
        "T": _closure([half_turn, third_turn], exact),
        "O": _closure([quarter_turn, third_turn], exact),
        "I": _closure([half_turn, third_turn, fifth_turn], exact),
    }


_GROUPS: Final = _groups()


def rotation_group(order: int) -> Tensor:
    """Rotation matrices of the group with this many elements.

    Averaging a force over a rotation group removes every error component of a degree l for which the group has no
    invariant: T (12) removes l = 1, 2 and 5; O (24) removes l = 1, 2, 3, 5, 7 and 11; I (60) removes l = 1 to 5,
    7 to 9, 11, 13, 14, 17, 19, 23 and 29. The first degree that survives is 3 for T, 4 for O and 6 for I.

    Parameters
    ----------
    order
        1 (the identity alone), 12 (T, tetrahedron), 24 (O, cube) or 60 (I, icosahedron).

    Returns
    -------
    Tensor
        (order, 3, 3) float64, the identity first.

    Raises
    ------
    ValueError
        For any other number.
    """
    if order == 1:
        return torch.eye(3, dtype=torch.float64).unsqueeze(0)
    if order not in GROUP_OF_ORDER:
        raise ValueError(
            f"orientations must be 1, 12, 24 or 60, not {order}: only rotation groups cancel degrees of error exactly"
        )
    return torch.tensor(_GROUPS[GROUP_OF_ORDER[order]], dtype=torch.float64)


def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """Rotation matrices of unit quaternions.

    Parameters
    ----------
    quaternion
        (..., 4) unit quaternions, real part first.

    Returns
    -------
    Tensor
        (..., 3, 3).
    """
    w, x, y, z = quaternion.unbind(-1)
    row_x = torch.stack([1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - z * w), 2.0 * (x * z + y * w)], dim=-1)
    row_y = torch.stack([2.0 * (x * y + z * w), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - x * w)], dim=-1)
    row_z = torch.stack([2.0 * (x * z - y * w), 2.0 * (y * z + x * w), 1.0 - 2.0 * (x * x + y * y)], dim=-1)
    return torch.stack([row_x, row_y, row_z], dim=-2)


def random_rotation(positions: Tensor) -> Tensor:
    """A fresh uniform rotation, from torch's generator on the device of the positions.

    Parameters
    ----------
    positions
        Only their device counts: in a CUDA graph, a generator of that device gives new numbers at each replay, one
        on the host would be frozen.

    Returns
    -------
    Tensor
        (3, 3) float64.
    """
    quaternion = torch.randn([4], dtype=torch.float64, device=positions.device)
    return quaternion_to_matrix(quaternion / quaternion.norm())


def random_rotations(count: int, positions: Tensor) -> Tensor:
    """So many of `random_rotation`: (count, 3, 3)."""
    quaternions = torch.randn([count, 4], dtype=torch.float64, device=positions.device)
    return quaternion_to_matrix(quaternions / torch.linalg.vector_norm(quaternions, dim=1, keepdim=True))


def _mix(z: Tensor) -> Tensor:
    # The finaliser of splitmix64 (Steele, Lea and Flood 2014; public domain), on int64 that wraps around. `>>` keeps
    # the sign, hence the masks, which make it the logical shift of the original. The multipliers are
    # 0xBF58476D1CE4E5B9 and 0x94D049BB133111EB as signed numbers.
    z = (z ^ ((z >> 30) & 0x3FFFFFFFF)) * -4658895280553007687
    z = (z ^ ((z >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685
    return z ^ ((z >> 31) & 0x1FFFFFFFF)


def hashed_rotation(positions: Tensor, seed: int) -> Tensor:
    """A uniform rotation keyed on positions and a seed: the same input gives the same rotation, always.

    The coordinates are rounded to multiples of 2^-40 nm (9e-13 nm) and read as integers: scaling by a power of two is
    exact, and two frames of a run differ by 1e-6 nm or more, so that each has a rotation of its own. Integers hold
    up to 8e6 nm; beyond, and for NaN, the rotation is some fixed one (the forces are NaN or absurd anyway). Pass
    positions as OpenMM holds them, before centring: a mean is rounded differently by different backends.

    Parameters
    ----------
    positions
        (n, 3) in nm.
    seed
        Any number that fits 64 bits.

    Returns
    -------
    Tensor
        (3, 3) float64.
    """
    seeds = torch.zeros([1], dtype=torch.int64, device=positions.device) + seed
    return hashed_rotations(positions.unsqueeze(0), seeds)[0]


def hashed_rotations(positions: Tensor, seeds: Tensor) -> Tensor:
    """`hashed_rotation` of each of many structures (f, n, 3), each with its seed (f,) int64: (f, 3, 3)."""
    flat = positions.to(torch.float64).flatten(1)
    scaled = torch.nan_to_num(flat * 1099511627776.0, nan=0.0).clamp(-9.0e18, 9.0e18)
    keys = torch.round(scaled).to(torch.int64)
    # Weyl steps of the golden ratio tell the coordinates (and below the streams) apart: order matters.
    steps = torch.arange(1, flat.shape[1] + 1, device=positions.device) * -7046029254386353131
    seeded = _mix(seeds).unsqueeze(1)
    # Two rounds each: the integer sum may then be taken in any order and still depends on which value stands where.
    total = _mix(_mix(keys + seeded) + steps).sum(dim=1, keepdim=True)
    streams = torch.arange(1, 4, device=positions.device) * -7046029254386353131
    bits = (_mix(_mix(total + seeded) + streams) >> 11) & 0x1FFFFFFFFFFFFF
    uniform = bits.to(torch.float64) * (1.0 / 9007199254740992.0)
    # Shoemake, "Uniform random rotations", Graphics Gems III (1992)
    inner, outer = torch.sqrt(1.0 - uniform[:, 0]), torch.sqrt(uniform[:, 0])
    first, second = 2.0 * math.pi * uniform[:, 1], 2.0 * math.pi * uniform[:, 2]
    quaternion = torch.stack(
        [inner * torch.sin(first), inner * torch.cos(first), outer * torch.sin(second), outer * torch.cos(second)],
        dim=-1,
    )
    return quaternion_to_matrix(quaternion)
