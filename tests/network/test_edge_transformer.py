"""Symmetries that the network must have, and the precision it must keep."""

from typing import Any

import pytest
import torch
from torch import Tensor

from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer

SMALL: dict[str, Any] = {"n_layers": 2, "embd_dim": 16, "n_heads": 2, "n_radial": 12, "n_frequencies": 6, "l_max": 3}
KINDS = {
    "harmonics": NetworkConfig(**SMALL),
    "fourier": NetworkConfig(**SMALL, directions="fourier"),
    "diagonal, relu, energy": NetworkConfig(
        **SMALL, decomposer="diagonal", activation="relu", norm_first=False, head_project_down=False, energy_head=True
    ),
    "pooling, energy": NetworkConfig(**SMALL, energy_head=True, electronic_embedding=False),
    "direct, bessel": NetworkConfig(**SMALL, directions="direct", radial_basis="bessel", class_token=True),
    "harmonics mlp, edge types": NetworkConfig(**SMALL, directions="spherical_harmonics_mlp", edge_types=True),
    "bessel, edge types, token": NetworkConfig(
        **SMALL, radial_basis="bessel", edge_types=True, class_token=True, energy_head=True, decomposer="diagonal"
    ),
    "atomic energies": NetworkConfig(**SMALL, energy_head=True, energy_pooling="atoms"),
    "atomic energies, token": NetworkConfig(**SMALL, energy_head=True, energy_pooling="atoms", class_token=True),
    "dipole, token": NetworkConfig(**SMALL, dipole_head=True, class_token=True),
    "dipole, energy": NetworkConfig(**SMALL, dipole_head=True, energy_head=True, decomposer="diagonal"),
    "conservative": NetworkConfig(**SMALL, force_head=False, energy_head=True, edge_types=True),
    "conservative, token": NetworkConfig(
        **SMALL, directions="direct", force_head=False, energy_head=True, class_token=True
    ),
}


@pytest.fixture(params=KINDS, ids=list(KINDS))
def network(request: pytest.FixtureRequest) -> EdgeTransformer:
    torch.manual_seed(0)
    network = EdgeTransformer(KINDS[request.param])
    with torch.no_grad():
        for p in network.parameters():  # nothing at its initial value
            p.add_(0.2 * torch.randn_like(p))
    return network.to(torch.float64).eval()


def molecules(b: int = 2, n: int = 6) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    z = torch.randint(1, 9, (b, n), generator=generator)
    x = 2.5 * torch.randn(b, n, 3, dtype=torch.float64, generator=generator)
    return z, x, torch.tensor([0, -1])[:b], torch.tensor([1, 2])[:b]


def close(a: Tensor, b: Tensor, tolerance: float = 1e-11) -> None:
    assert (a - b).abs().max() <= tolerance * b.abs().max()


@pytest.mark.parametrize("dummies", [1, 9])
def test_padding_changes_nothing(network: EdgeTransformer, dummies: int) -> None:
    z, x, charge, multiplicity = molecules()
    energy, forces = network(z, x, charge, multiplicity)
    padded_z = torch.cat((z, torch.zeros(2, dummies, dtype=torch.long)), dim=1)
    padded_x = torch.cat((x, torch.zeros(2, dummies, 3, dtype=torch.float64)), dim=1)
    mask = padded_z > 0
    padded_energy, padded_forces = network(padded_z, padded_x, charge, multiplicity, mask)
    close(padded_forces[:, : x.shape[1]], forces)
    assert (padded_forces[:, x.shape[1] :] == 0).all()
    torch.testing.assert_close(padded_energy, energy, rtol=1e-11, atol=1e-13)


def test_permuting_atoms_permutes_forces(network: EdgeTransformer) -> None:
    z, x, charge, multiplicity = molecules()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    forces = network(z, x, charge, multiplicity)[1]
    close(network(z[:, order], x[:, order], charge, multiplicity)[1], forces[:, order])


def test_first_atom_is_special_to_the_authors_only() -> None:
    torch.manual_seed(0)
    network = EdgeTransformer(NetworkConfig(**SMALL, numerics="authors_v2")).to(torch.float64)
    z, x, charge, multiplicity = molecules()
    order = torch.tensor([1, 0, 2, 3, 4, 5])
    forces = network(z, x, charge, multiplicity)[1]
    swapped = network(z[:, order], x[:, order], charge, multiplicity)[1]
    assert (swapped - forces[:, order]).abs().max() > 1e-4 * forces.abs().max()


def test_translation_and_dependence_on_everything(network: EdgeTransformer) -> None:
    z, x, charge, multiplicity = molecules()
    forces = network(z, x, charge, multiplicity)[1]
    close(network(z, x + 3.0, charge, multiplicity)[1], forces, 1e-9)
    for changed in (
        (z + 1, x, charge, multiplicity),
        (z, 1.01 * x, charge, multiplicity),
        (z, -x, charge, multiplicity),
        (z, x, charge + 1, multiplicity),
        (z, x, charge, multiplicity + 1),
    ):
        assert (network(*changed)[1] - forces).abs().max() > 1e-6 * forces.abs().max()


def test_torchscript_gives_the_same(network: EdgeTransformer) -> None:
    z, x, charge, multiplicity = molecules()
    scripted = torch.jit.script(network)
    for got, expected in zip(scripted(z, x, charge, multiplicity), network(z, x, charge, multiplicity), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-13, atol=1e-15)
    pairs = scripted.node_pairs(z[:1], charge[:1], multiplicity[:1])
    types = scripted.pair_types(z[:1])
    energy, forces = scripted.from_pairs(pairs, x[:1], types)
    expected_energy, expected = network(z[:1], x[:1], charge[:1], multiplicity[:1])
    torch.testing.assert_close(energy + scripted.reference_energy(z[:1]), expected_energy, rtol=1e-13, atol=1e-15)
    close(forces, expected if network.config.force_head else torch.zeros_like(expected))


def test_mixed_precision_keeps_the_geometry(network: EdgeTransformer) -> None:
    z, x, charge, multiplicity = molecules()
    exact = network(z, x, charge, multiplicity)[1]
    scale = exact.abs().max()
    network.to(torch.float32)
    mixed = network(z, x, charge, multiplicity)[1]
    assert mixed.dtype == (torch.float32 if network.config.force_head else torch.float64)
    assert (mixed - exact).abs().max() < 3e-6 * scale
    if network.config.directions == "fourier":
        # the published frequencies: with the geometry in fp32 too, the error is far larger
        single = network(z, x.float(), charge, multiplicity)[1]
        assert (single - exact).abs().max() > 10 * (mixed - exact).abs().max()
    network.to(torch.float64)
    close(network(z, x, charge, multiplicity)[1], exact, 1e-13)


@pytest.mark.parametrize("n", [1, 2])
def test_one_and_two_atoms(network: EdgeTransformer, n: int) -> None:
    z, x, charge, multiplicity = molecules(1, n)
    assert torch.isfinite(network(z, x, charge, multiplicity)[1]).all()


def test_derivatives_are_finite_and_right(network: EdgeTransformer) -> None:
    z, x, charge, multiplicity = molecules(1, 3)
    fourier = network.config.directions == "fourier"
    w = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))

    def projected(y: Tensor) -> Tensor:
        return (network(z, y, charge[:1], multiplicity[:1])[1][0] * w).sum()

    x.requires_grad_(True)
    (gradient,) = torch.autograd.grad(projected(x), x)
    # along the gradient, where the derivative is largest; the Fourier embedding's frequencies reach 3e4
    direction = gradient / gradient.norm()
    step = 1e-8 if fourier else 1e-5
    with torch.no_grad():
        numeric = (projected(x + step * direction) - projected(x - step * direction)) / (2 * step)
    torch.testing.assert_close(gradient.norm(), numeric, rtol=1e-4 if fourier else 1e-6, atol=0)
