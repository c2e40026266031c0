"""The penalties of the loss on forces whose answers are known, and their derivatives."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mdet_openmm.measure.definitions import antisymmetric_ratio
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.training.antisymmetry import force_jacobian
from mdet_openmm.training.batches import Batch, augmented, random_orthogonal
from mdet_openmm.training.penalties import antisymmetry, inequivariance


def batch(b: int, n: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(b)
    x = 2.0 * torch.randn(b, n, 3, dtype=torch.float64, generator=generator)
    forces = torch.randn(b, n, 3, dtype=torch.float64, generator=generator)
    z = torch.tensor([[6, 1, 8, 1]]).expand(b, n)
    zeros, ones = torch.zeros(b, dtype=torch.long), torch.ones(b, dtype=torch.long)
    turns = torch.eye(3, dtype=torch.float64).expand(b, 3, 3)
    return Batch(z, x, forces, zeros.double(), zeros, ones, turns, torch.zeros(b, 3).double())


class Linear(nn.Module):
    """Forces x A^T on every atom."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def forward(self, z: Tensor, x: Tensor, charge: Tensor, multiplicity: Tensor) -> tuple[Tensor, Tensor]:
        return x.sum((1, 2)), x @ self.matrix.T


SPRING = torch.tensor([[2.0, 1, 0], [1, 3, 0], [0, 0, 1]], dtype=torch.float64)
CURL = torch.tensor([[0.0, 1, 2], [-1, 0, 3], [-2, -3, 0]], dtype=torch.float64)


@pytest.mark.parametrize(("part", "expected"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5)])
def test_antisymmetry_of_known_forces(part: float, expected: float) -> None:
    matrix = (1 - part) ** 0.5 * SPRING / SPRING.norm() + part**0.5 * CURL / CURL.norm()
    given = batch(4000)
    probes = torch.randn(given.positions.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    got = antisymmetry(Linear(matrix), given, probes)  # type: ignore[arg-type]
    assert float(got.detach()) == pytest.approx(expected, abs=1e-12 if part in (0.0, 1.0) else 0.01)


def small_network(directions: str) -> EdgeTransformer:
    torch.manual_seed(0)
    config = NetworkConfig(
        n_layers=1, embd_dim=16, n_heads=2, n_radial=8, l_max=2, directions=directions, shortest_wavelength=0.5
    )
    return EdgeTransformer(config).double()


@pytest.mark.parametrize("directions", ["spherical_harmonics", "fourier"])
def test_probes_give_the_exact_ratio_on_average(directions: str) -> None:
    network, one = small_network(directions), batch(1)
    exact = float(antisymmetric_ratio(force_jacobian(network, one))) ** 2
    many = Batch(*(t.repeat(1500, *[1] * (t.dim() - 1)) for t in one))
    probes = torch.randn(many.positions.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert float(antisymmetry(network, many, probes)) == pytest.approx(exact, rel=0.06)


def test_the_derivative_in_the_weights_is_that_of_the_number() -> None:
    network, given = small_network("spherical_harmonics"), batch(2)
    probes = torch.randn(given.positions.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    first: Any = network.layers[0]
    weight: Tensor = first.attention.qkvv.weight
    (slope,) = torch.autograd.grad(antisymmetry(network, given, probes), weight)
    direction = torch.randn(weight.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    step, values = 1e-5, []
    for sign in (1.0, -1.0):
        with torch.no_grad():
            weight.add_(sign * step * direction)
        values.append(float(antisymmetry(network, given, probes)))
        with torch.no_grad():
            weight.sub_(sign * step * direction)
    assert float((slope * direction).sum()) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


def test_a_compiled_layer_does_not_stand_in_the_way() -> None:
    network, given = small_network("spherical_harmonics"), batch(2)
    probes = torch.randn(given.positions.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    before = antisymmetry(network, given, probes)
    for layer in network.layers:
        layer.compile(dynamic=False, backend="aot_eager")
    torch.testing.assert_close(antisymmetry(network, given, probes), before, rtol=1e-12, atol=0)


def test_inequivariance() -> None:
    given = augmented(batch(3), 2, torch.Generator().manual_seed(5))
    assert inequivariance(given.forces, given.turns, 2) < 1e-14  # the labels turn with the structures
    constant = torch.tensor([0.0, 0.3, 0.4], dtype=torch.float64).expand_as(given.forces)
    back = constant @ given.turns.transpose(1, 2)
    expected = (back[:3] - back[3:]).norm(dim=-1).mean() / 2  # each is as far from the mean of both
    assert float(inequivariance(constant, given.turns, 2)) == pytest.approx(float(expected))
    assert expected > 0.1


def test_of_the_average_over_orientations() -> None:
    """Forces x A^T, A not isotropic: their average over all rotations is trace A / 3 x plus what the curl leaves, 0."""
    given = batch(2)
    probes = torch.randn(given.positions.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    turns = random_orthogonal(2 * 4000, torch.Generator().manual_seed(2)).view(-1, 2, 3, 3)
    force = Linear(SPRING + CURL)
    alone = float(antisymmetry(force, given, probes, turns[:1]))  # type: ignore[arg-type]
    assert alone == pytest.approx(float(CURL.square().sum() / (SPRING + CURL).square().sum()), rel=0.5)
    assert float(antisymmetry(force, given, probes, turns)) < 1e-3 * alone  # type: ignore[arg-type]


def test_average_over_orientations_of_a_network() -> None:
    network, given = small_network("spherical_harmonics"), batch(2)
    probes = torch.randn(given.positions.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    turns = random_orthogonal(2 * 3, torch.Generator().manual_seed(2)).view(3, 2, 3, 3)
    share: list[Tensor] = []
    for i in range(2):
        total = torch.zeros(12, 12, dtype=torch.float64)
        for turn in turns[:, i]:
            turned = Batch(*(t[i : i + 1] for t in given))._replace(positions=given.positions[i : i + 1] @ turn)
            jacobian = force_jacobian(network, turned).view(4, 3, 4, 3)
            total += torch.einsum("ab,ibjc,dc->iajd", turn, jacobian, turn).reshape(12, 12) / 3
        v = probes[i].flatten()
        share.append(torch.stack(((total @ v - total.T @ v).square().sum(), 2 * (total @ v).square().sum())))
        share[-1][1] += 2 * (total.T @ v).square().sum()
    wanted = torch.stack(share).sum(dim=0)
    got = antisymmetry(network, given, probes, turns)
    assert float(got) == pytest.approx(float(wanted[0] / wanted[1]), rel=1e-9)
