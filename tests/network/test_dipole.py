"""The dipole head: a vector of the molecule, beside forces that it does not touch."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer

SMALL: dict[str, Any] = {"n_layers": 2, "embd_dim": 16, "n_heads": 2, "n_radial": 12, "l_max": 3}
KINDS = {
    "plain": NetworkConfig(**SMALL, dipole_head=True),
    "token": NetworkConfig(**SMALL, dipole_head=True, class_token=True, edge_types=True),
    "energy": NetworkConfig(**SMALL, dipole_head=True, energy_head=True, decomposer="diagonal"),
}
Molecules = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.fixture(params=KINDS, ids=list(KINDS))
def network(request: pytest.FixtureRequest) -> EdgeTransformer:
    torch.manual_seed(0)
    network = EdgeTransformer(KINDS[request.param])
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return network.to(torch.float64).eval()


def molecules(b: int = 2, n: int = 6) -> Molecules:
    generator = torch.Generator().manual_seed(3)
    z = torch.randint(1, 9, (b, n), generator=generator)
    x = 2.5 * torch.randn(b, n, 3, dtype=torch.float64, generator=generator)
    return z, x, torch.tensor([0, -1])[:b], torch.tensor([1, 2])[:b]


def test_the_same_seed_gives_the_same_forces_with_and_without_the_head() -> None:
    forces = []
    for dipole_head in (False, True):
        torch.manual_seed(4)
        config = dataclasses.replace(NetworkConfig(**SMALL, energy_head=True), dipole_head=dipole_head)
        network = EdgeTransformer(config)
        assert network.has_dipole is dipole_head
        forces.append(network(*molecules()))
    assert torch.equal(forces[0][0], forces[1][0]) and torch.equal(forces[0][1], forces[1][1])


def test_a_sum_over_atoms_whatever_their_order_and_the_padding(network: EdgeTransformer) -> None:
    z, x, charge, multiplicity = molecules()
    dipole = network.dipole(z, x, charge, multiplicity)
    assert dipole.shape == (2, 3) and dipole.abs().min() > 1e-4
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    permuted = network.dipole(z[:, order], x[:, order], charge, multiplicity)
    torch.testing.assert_close(permuted, dipole, rtol=1e-10, atol=1e-12)
    padded = torch.cat((z, torch.zeros(2, 3, dtype=torch.long)), dim=1)
    away = torch.cat((x, torch.zeros(2, 3, 3, dtype=torch.float64)), dim=1)
    torch.testing.assert_close(
        network.dipole(padded, away, charge, multiplicity, padded > 0), dipole, rtol=1e-10, atol=1e-12
    )


def test_it_depends_on_positions_charge_and_elements_but_not_on_the_origin(network: EdgeTransformer) -> None:
    z, x, charge, multiplicity = molecules()
    dipole = network.dipole(z, x, charge, multiplicity)
    torch.testing.assert_close(network.dipole(z, x + 3.0, charge, multiplicity), dipole, rtol=1e-8, atol=1e-10)
    for changed in ((z + 1, x, charge), (z, 1.01 * x, charge), (z, -x, charge), (z, x, charge + 1)):
        assert (network.dipole(*changed, multiplicity) - dipole).abs().max() > 1e-6 * dipole.abs().max()


def test_torchscript_gives_the_same(network: EdgeTransformer) -> None:
    given = molecules()
    torch.testing.assert_close(torch.jit.script(network).dipole(*given), network.dipole(*given), rtol=1e-13, atol=1e-15)


def test_a_network_without_the_head_says_so_also_in_torchscript() -> None:
    network = EdgeTransformer(NetworkConfig(**SMALL))
    with pytest.raises(ValueError, match="dipole_head"):
        network.dipole(*molecules())
    scripted = torch.jit.script(network)
    with pytest.raises(torch.jit.Error, match="dipole_head"):
        scripted.dipole(*molecules())
    assert torch.equal(scripted(*molecules())[1], network(*molecules())[1])


def test_mixed_precision_sums_over_atoms_in_double(network: EdgeTransformer) -> None:
    given = molecules()
    exact = network.dipole(*given)
    network.to_mixed()
    mixed = network.dipole(*given)
    assert mixed.dtype == torch.float64
    assert 0 < (mixed - exact).abs().max() < 3e-6 * exact.abs().max()


def test_gradients_reach_the_head_and_the_trunk(network: EdgeTransformer) -> None:
    z, x, charge, multiplicity = molecules()
    network.dipole(z, x.requires_grad_(True), charge, multiplicity).square().sum().backward()
    assert network.dipole_head is not None and network.force_head is not None
    first: Any = network.layers[0]
    for p in [*network.dipole_head.parameters(), first.attention.qkvv.weight, x]:
        assert p.grad is not None and p.grad.abs().max() > 0
    assert all(p.grad is None for p in network.force_head.parameters())
