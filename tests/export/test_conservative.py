"""Forces that are the gradient of an energy: by finite differences, in both backends, at constant energy."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import openmm
import pytest
import torch

from mdet_openmm.errors import InputError
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import Model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.system.force import add_force, make_system

ETHANOL = [6, 6, 8, 1, 1, 1, 1, 1, 1]
MASSES = [12.011, 12.011, 15.999] + 6 * [1.008]
START = np.array(
    [
        [0.000, 0.000, 0.000],
        [0.152, 0.000, 0.000],
        [0.200, 0.134, 0.000],
        [-0.04, 0.100, 0.020],
        [-0.04, -0.05, 0.090],
        [-0.04, -0.05, -0.09],
        [0.190, -0.05, 0.090],
        [0.190, -0.05, -0.09],
        [0.295, 0.130, 0.010],
    ]
)
SIZE: dict[str, Any] = {"n_layers": 2, "embd_dim": 16, "n_heads": 2, "n_radial": 8, "energy_head": True}
KINDS = {
    "conserving": NetworkConfig(**SIZE, force_head=False),
    "direct and energy": NetworkConfig(**SIZE),
    "as the authors' second code": NetworkConfig(
        **SIZE, force_head=False, directions="direct", decomposer_activation="relu", numerics="authors_v2"
    ),
    "token, bessel, edge types": NetworkConfig(
        **SIZE, force_head=False, class_token=True, radial_basis="bessel", edge_types=True
    ),
}


def make_model(config: NetworkConfig, scale: float = 0.3) -> Model:
    torch.manual_seed(0)
    network = EdgeTransformer(config)
    with torch.no_grad():
        for p in network.parameters():  # nothing at its initial value
            p.add_(0.1 * torch.randn_like(p))
        assert network.energy_head is not None
        last = network.energy_head.mlp[4]
        assert isinstance(last, torch.nn.Linear)
        last.weight.mul_(scale)
    return Model(path=Path("t"), network=network.eval(), elements=(1, 6, 8), has_energy=True, name="t", sha256="0" * 64)


@pytest.fixture(params=KINDS, ids=list(KINDS), scope="module")
def model(request: pytest.FixtureRequest) -> Model:
    return make_model(KINDS[request.param])


@pytest.mark.parametrize("orientations", [1, 12])
def test_forces_are_minus_the_derivative_of_the_energy(model: Model, orientations: int) -> None:
    module = bind(
        model, Species(ETHANOL), ForceOptions(orientations=orientations, forces="conservative", offset="none")
    )
    x, step = torch.tensor(START), 1e-6
    forces = module(x)[1]
    numeric = torch.zeros_like(forces)
    for i, c in itertools.product(range(9), range(3)):
        shift = torch.zeros_like(x)
        shift[i, c] = step
        numeric[i, c] = -(module(x + shift)[0] - module(x - shift)[0]) / (2 * step)
    assert (numeric - forces).abs().max() < 1e-7 * forces.abs().max()
    assert forces.sum(0).abs().max() < 1e-11 * forces.abs().max()


def test_all_calls_give_the_same_bits_whoever_has_switched_gradients_off(model: Model) -> None:
    module = torch.jit.freeze(
        bind(model, Species(ETHANOL), ForceOptions(precision="mixed", forces="conservative", offset="none"))
    )
    x = torch.tensor(START, requires_grad=True)
    energy, first = module(x)
    assert not energy.requires_grad and not first.requires_grad
    for _ in range(4):
        assert torch.equal(module(x)[1], first)
    with torch.no_grad():
        assert torch.equal(module(x)[1], first)
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


def test_mixed_precision_is_close(model: Model) -> None:
    x = torch.tensor(START)
    exact = bind(model, Species(ETHANOL), ForceOptions(forces="conservative", offset="none"))(x)[1]
    mixed = bind(model, Species(ETHANOL), ForceOptions(precision="mixed", forces="conservative", offset="none"))(x)[1]
    assert 0 < (mixed - exact).abs().max() < 1e-5 * exact.abs().max()


def context(
    model: Model, backend: str, timestep: float = 0.0005, platform: str = "Reference", precision: str = "double"
) -> openmm.Context:
    """The model's potential, held together by springs between all atoms."""
    system = make_system(MASSES)
    options = ForceOptions(precision=precision, forces="conservative", offset="none")
    add_force(system, bind(model, Species(ETHANOL), options), backend)
    springs = openmm.HarmonicBondForce()
    for i, j in itertools.combinations(range(9), 2):
        length = float(np.linalg.norm(START[i] - START[j]))
        springs.addBond(i, j, length, 1e5 if length < 0.16 else 5e3)
    system.addForce(springs)
    made = openmm.Context(system, openmm.VerletIntegrator(timestep), openmm.Platform.getPlatformByName(platform))
    made.setPositions(START)
    return made


@pytest.mark.parametrize("precision", ["double", "mixed"])
@pytest.mark.parametrize("platform", ["Reference", "CPU"])
def test_both_backends_give_the_same_energy_and_forces(model: Model, platform: str, precision: str) -> None:
    states = [
        context(model, backend, platform=platform, precision=precision).getState(energy=True, forces=True)
        for backend in ("torch", "python")
    ]
    one, other = (state.getForces(asNumpy=True)._value for state in states)
    assert np.abs(one - other).max() <= 1e-10 * np.abs(one).max()
    energies = [state.getPotentialEnergy()._value for state in states]
    assert energies[0] == pytest.approx(energies[1], rel=1e-12)


@pytest.mark.parametrize("backend", ["torch", "python"])
@pytest.mark.parametrize("kind", ["conserving", "direct and energy"])
def test_energy_is_conserved_to_the_order_of_the_integrator(kind: str, backend: str) -> None:
    """Verlet's error is quadratic in the time step. (With ReLU the gradient jumps, and a floor is reached early.)"""
    spread = []
    for timestep in (0.0005, 0.00025):
        made = context(make_model(KINDS[kind]), backend, timestep)
        made.setVelocitiesToTemperature(300, 1)
        energies = []
        for _ in range(25):
            made.getIntegrator().step(round(0.002 / timestep))
            state = made.getState(energy=True)
            energies.append((state.getPotentialEnergy() + state.getKineticEnergy())._value)
        spread.append(np.std(energies))
    assert spread[0] < 0.05  # kJ/mol
    assert spread[0] / spread[1] == pytest.approx(4.0, abs=0.3)


def test_energies_of_the_direct_and_the_conservative_module_are_the_same_and_the_forces_are_not() -> None:
    model, x = make_model(KINDS["direct and energy"]), torch.tensor(START)
    direct, conservative = (
        bind(model, Species(ETHANOL), ForceOptions(forces=kind, offset="none"))(x)
        for kind in ("direct", "conservative")
    )
    assert float(direct[0]) == pytest.approx(float(conservative[0]), rel=1e-12)
    assert (direct[1] - conservative[1]).abs().max() > 0.1 * conservative[1].abs().max()


def test_raw_direct_forces_keep_net_force_and_torque() -> None:
    model, x = make_model(KINDS["direct and energy"]), torch.tensor(START)
    raw, filtered = (bind(model, Species(ETHANOL), ForceOptions(raw=raw, offset="none"))(x)[1] for raw in (True, False))
    assert raw.sum(0).abs().max() > 0.1 * raw.abs().max()
    assert filtered.sum(0).abs().max() < 1e-11 * raw.abs().max()


def test_what_a_model_cannot_give_is_refused() -> None:
    conserving = make_model(KINDS["conserving"])
    assert ForceOptions().resolved(conserving).forces == "conservative"
    with pytest.raises(InputError, match="no direct forces"):
        bind(conserving, Species(ETHANOL), ForceOptions(forces="direct", offset="none"))
    both = make_model(KINDS["direct and energy"])
    assert ForceOptions().resolved(both).forces == "direct"
    torch.manual_seed(0)
    network = EdgeTransformer(NetworkConfig(**{**SIZE, "energy_head": False}))
    without = Model("t", Path("t"), network, (1, 6, 8), False, "0" * 64)
    with pytest.raises(InputError, match="no energy"):
        bind(without, Species(ETHANOL), ForceOptions(forces="conservative", offset="none"))
    with pytest.raises(InputError, match="direct, conservative, difference"):
        bind(both, Species(ETHANOL), ForceOptions(forces="mixed", offset="none"))
