import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mdet_openmm.export.rotations import hashed_rotation, quaternion_to_matrix, random_rotation, rotation_group

ORDERS = {12: "T", 24: "O", 60: "I"}


def icosahedron_vertices() -> np.ndarray:
    golden = (1 + math.sqrt(5)) / 2
    v = [np.roll([0, a, b * golden], k) for k in range(3) for a in (-1, 1) for b in (-1, 1)]
    return np.array(v) / math.sqrt(1 + golden**2)


def assert_uniform(matrices: np.ndarray) -> None:
    """Mean of D^1 and D^2, vertices nearest to two images, and 600-cell cells, each within five sigma."""
    n = len(matrices)
    assert np.abs(matrices.mean(axis=0)).max() < 5 / math.sqrt(3 * n)
    second = np.einsum("nij,nkl->nijkl", matrices, matrices).mean(axis=0)
    # mean of R_ij R_kl is delta_ik delta_jl / 3 for the Haar measure
    assert np.abs(second - np.einsum("ik,jl->ijkl", np.eye(3), np.eye(3)) / 3).max() < 5 * 0.3 / math.sqrt(n)
    for image in ([0.3, 0.5, 0.8], [0, 0, 1.0]):
        counts = np.bincount((matrices @ image @ icosahedron_vertices().T).argmax(axis=1), minlength=12)
        chi2 = ((counts - n / 12) ** 2 / (n / 12)).sum()
        assert chi2 < 11 + 5 * math.sqrt(2 * 11)
    cells = np.einsum("nij,kij->nk", matrices, rotation_group(60).numpy()).argmax(axis=1)  # nearest of the 600-cell
    counts = np.bincount(cells, minlength=60)
    chi2 = ((counts - n / 60) ** 2 / (n / 60)).sum()
    assert 59 - 5 * math.sqrt(2 * 59) < chi2 < 59 + 5 * math.sqrt(2 * 59)


@pytest.mark.parametrize("orientations", [12, 24, 60])
def test_groups_are_those_of_scipy_and_closed(orientations):
    group = rotation_group(orientations).numpy()
    assert group.shape == (orientations, 3, 3)
    assert np.array_equal(group[0], np.eye(3))
    assert np.abs(group @ group.transpose(0, 2, 1) - np.eye(3)).max() < 1e-15
    assert np.abs(np.linalg.det(group) - 1).max() < 1e-15
    products = np.einsum("aij,bjk->abik", group, group).reshape(-1, 3, 3)
    nearest = np.abs(products[:, None] - group[None]).max(axis=(2, 3))
    assert nearest.min(axis=1).max() < 1e-15
    assert (
        len(np.unique(nearest.reshape(orientations, orientations, orientations).argmin(axis=2)[1])) == orientations
    )  # a row permutes
    # The same multiset of rotation angles as scipy's group: it is T, O or I and not another group of that order.
    ours = np.sort(np.trace(group, axis1=1, axis2=2))
    theirs = np.sort(np.trace(Rotation.create_group(ORDERS[orientations]).as_matrix(), axis1=1, axis2=2))
    assert np.abs(ours - theirs).max() < 1e-12


@pytest.mark.parametrize(
    ("orientations", "cancelled"),
    [(12, {1, 2, 5}), (24, {1, 2, 3, 5, 7, 11}), (60, {1, 2, 3, 4, 5, 7, 8, 9, 11, 13, 14, 17, 19, 23, 29})],
)
def test_documented_orders_are_those_without_invariants(orientations, cancelled):
    traces = np.trace(rotation_group(orientations).numpy(), axis1=1, axis2=2)
    angles = np.arccos(np.clip((traces - 1) / 2, -1, 1))
    for degree in range(1, 31):
        characters = 1 + 2 * sum(np.cos(m * angles) for m in range(1, degree + 1))
        assert (round(characters.mean()) == 0) == (degree in cancelled)


def test_one_frame_is_the_identity_and_other_numbers_are_refused():
    assert torch.equal(rotation_group(1), torch.eye(3, dtype=torch.float64)[None])
    with pytest.raises(ValueError, match="1, 12, 24 or 60"):
        rotation_group(7)


def test_quaternions_agree_with_scipy():
    q = torch.randn(20, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    q = q / q.norm(dim=-1, keepdim=True)
    expected = Rotation.from_quat(q[:, [1, 2, 3, 0]].numpy()).as_matrix()
    assert np.abs(quaternion_to_matrix(q).numpy() - expected).max() < 1e-14


def test_random_rotations_are_uniform_fresh_and_seeded():
    x = torch.zeros(2, 3, dtype=torch.float64)
    torch.manual_seed(1)
    matrices = torch.stack([random_rotation(x) for _ in range(6000)]).numpy()
    assert np.abs(matrices @ matrices.transpose(0, 2, 1) - np.eye(3)).max() < 1e-14
    assert np.abs(np.linalg.det(matrices) - 1).max() < 1e-14
    assert_uniform(matrices)
    torch.manual_seed(1)
    assert np.array_equal(random_rotation(x).numpy(), matrices[0])


@pytest.fixture(scope="module")
def scripted():
    return torch.jit.script(hashed_rotation)


@pytest.mark.parametrize("kind", ["last_bits", "trajectory", "one_atom", "seeds"])
def test_hashed_rotations_are_uniform(scripted, kind):
    # Inputs that differ as little as possible show a careless mix.
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(9, 3, dtype=torch.float64, generator=generator) * 0.3
    n = 6000
    if kind == "last_bits":
        inputs = [(base + torch.eye(27, dtype=torch.float64)[5].reshape(9, 3) * k * 2.0**-40, 0) for k in range(n)]
    elif kind == "trajectory":
        steps = torch.randn(n, 9, 3, dtype=torch.float64, generator=generator).cumsum(0) * 1e-5
        inputs = [(base + step, 7) for step in steps]
    elif kind == "one_atom":
        inputs = [(torch.tensor([[k * 0.001, 0.0, 0.0]], dtype=torch.float64), 0) for k in range(n)]
    else:
        inputs = [(base, seed) for seed in range(n)]
    matrices = torch.stack([scripted(x, seed) for x, seed in inputs]).numpy()
    assert np.abs(matrices @ matrices.transpose(0, 2, 1) - np.eye(3)).max() < 1e-14
    assert np.abs(np.linalg.det(matrices) - 1).max() < 1e-14
    assert_uniform(matrices)
    # Neighbours are unrelated: their relative rotations are uniform too.
    assert_uniform(matrices[1:] @ matrices[:-1].transpose(0, 2, 1))


def test_any_coordinate_any_order_and_the_seed_count(scripted):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(6, 3, dtype=torch.float64, generator=generator)
    changed = [
        (x + d * torch.eye(18, dtype=torch.float64)[k].reshape(6, 3), 0) for k in range(18) for d in (1e-12, -1e-12)
    ]
    changed += [(x[[1, 0, 2, 3, 4, 5]], 0), (x.flip(0), 0), (x.flip(1), 0), (-x, 0), (x, 1), (x, -1), (x, 2**63 - 1)]
    matrices = [scripted(x, 0)] + [scripted(y, seed) for y, seed in changed]
    for i, first in enumerate(matrices):
        for second in matrices[:i]:
            assert (first - second).abs().max() > 1e-3


def test_hash_is_a_function_of_its_input_alone(scripted):
    x = torch.randn(5, 3, dtype=torch.float64)
    expected = hashed_rotation(x, 11)
    for _ in range(4):  # past the calls in which TorchScript profiles and optimises
        assert torch.equal(scripted(x.clone(), 11), expected)
    assert torch.equal(scripted(x.t().contiguous().t(), 11), expected)
    zeros = torch.zeros(2, 3, dtype=torch.float64)
    assert torch.equal(scripted(zeros, 0), scripted(-zeros, 0))  # -0.0 is the same place


def test_absurd_positions_still_give_a_rotation(scripted):
    for value in (float("nan"), float("inf"), -float("inf"), 1e300):
        r = scripted(torch.full((3, 3), value, dtype=torch.float64), 0)
        assert (r @ r.t() - torch.eye(3, dtype=torch.float64)).abs().max() < 1e-14
