"""The part that direct forces lack to be the gradient: by definition, in one pass, and as force groups of a System."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import torch  # isort: skip
import openmm
from openmm import app, unit

import mdet_openmm as mdet
from mdet_openmm.errors import InputError
from mdet_openmm.export.bound_network import BoundNetwork
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import Model, load_model, save_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer

PDB = Path(__file__).resolve().parents[2] / "simulations/systems/ethanol.pdb"
ETHANOL = [atom.element.atomic_number for atom in app.PDBFile(str(PDB)).topology.atoms()]
START = np.array(app.PDBFile(str(PDB)).positions.value_in_unit(unit.nanometer))
BACKENDS = ("torch", "python")


def make_model(**heads: Any) -> Model:
    torch.manual_seed(0)
    network = EdgeTransformer(NetworkConfig(n_layers=2, embd_dim=16, n_heads=2, n_radial=8, **heads))
    with torch.no_grad():
        for p in network.parameters():  # nothing at its initial value
            p.add_(0.1 * torch.randn_like(p))
    return Model("t", Path("t"), network.eval(), (1, 6, 8), network.has_energy, "0" * 64)


@pytest.fixture(scope="module")
def model() -> Model:
    return make_model(energy_head=True)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Model:
    folder = tmp_path_factory.mktemp("models") / "both"
    save_model(folder, model.network, elements=(1, 6, 8), training={}, metrics={}, card="")
    return load_model(folder)


@pytest.mark.parametrize(("orientations", "raw"), list(itertools.product((1, 12), (False, True))))
@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_both_parts_add_up_to_the_gradient(model: Model, orientations: int, raw: bool, precision: str) -> None:
    options = ForceOptions(precision, orientations, raw=raw)
    x = torch.tensor(START)
    fast, slow = (torch.jit.freeze(bind(model, Species(ETHANOL), part)) for part in options.split())
    whole = bind(model, Species(ETHANOL), ForceOptions(precision, orientations, forces="conservative"))
    (energy, direct), (nothing, lacking) = fast(x), slow(x)
    expected = whole(x)
    tolerance = 1e-12 if precision == "double" else 1e-6  # direct forces alone run compiled
    assert (direct + lacking - expected[1]).abs().max() < tolerance * direct.abs().max()
    assert lacking.abs().max() > 0.1 * expected[1].abs().max()
    assert float(energy) == pytest.approx(float(expected[0]), rel=1e-6) and float(nothing) == 0.0
    assert not lacking.requires_grad
    for _ in range(3):
        assert torch.equal(slow(x)[1], lacking)
    with torch.no_grad():
        assert torch.equal(slow(x)[1], lacking)


@pytest.mark.parametrize("cycle", [1, 4])
def test_the_kick_between_two_cycles_is_that_of_both_parts(model: Model, cycle: int) -> None:
    x, ethanol = torch.tensor(START), Species(ETHANOL)
    fast, lacking = (bind(model, ethanol, part)(x)[1] for part in ForceOptions(orientations=12).split())
    fast_too, kick = (bind(model, ethanol, part) for part in ForceOptions(orientations=12).split(cycle))
    assert torch.equal(fast_too(x)[1], fast) and float(kick(x)[0]) == pytest.approx(float(fast_too(x)[0]), rel=1e-12)
    assert (kick(x)[1] - fast - cycle * lacking).abs().max() < 1e-12 * fast.abs().max()
    with pytest.raises(InputError, match="a cycle of 4 steps is one of forces difference, not direct"):
        ForceOptions(forces="direct", cycle=4)


def test_it_is_one_pass_of_the_network(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [0]
    forward = BoundNetwork.forward

    def counted(self: BoundNetwork, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        calls[0] += 1
        return forward(self, positions)

    monkeypatch.setattr("mdet_openmm.export.force_module.script", lambda module: module.eval())
    module = bind(model, Species(ETHANOL), ForceOptions(orientations=12, forces="difference"))
    monkeypatch.setattr(BoundNetwork, "forward", counted)
    module(torch.tensor(START))
    assert calls == [1]


@pytest.mark.parametrize("offset", ["random", "hashed"])
def test_a_rotation_at_each_call_is_refused_with_the_reason(offset: str) -> None:
    for make in (lambda: ForceOptions(offset=offset).split(), lambda: ForceOptions(offset=offset, forces="difference")):
        with pytest.raises(InputError, match=f"offset {offset} .* noise .* multiple time steps need offset none"):
            make()


@pytest.mark.parametrize(
    ("heads", "lacks"), [({"energy_head": True, "force_head": False}, "no direct forces"), ({}, "no energy")]
)
def test_a_model_with_one_head_is_refused(heads: dict[str, Any], lacks: str) -> None:
    with pytest.raises(InputError, match=lacks):
        bind(make_model(**heads), Species(ETHANOL), ForceOptions(forces="difference"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_system_with_two_groups_is_conservative_as_a_whole(stored: Model, backend: str) -> None:
    pdb = app.PDBFile(str(PDB))
    system = mdet.create_system(pdb.topology, stored, positions=pdb.positions, backend=backend, force_groups=(2, 5))
    assert [force.getForceGroup() for force in system.getForces()] == [2, 5]
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(pdb.positions)
    x = torch.tensor(np.array(pdb.positions.value_in_unit(unit.nanometer)))
    numbers = [atom.element.atomic_number for atom in pdb.topology.atoms()]
    for groups, kind in ((1 << 2, "direct"), (1 << 5, "difference"), (-1, "conservative")):
        state = context.getState(forces=True, energy=True, groups=groups)
        energy, forces = bind(stored, Species(numbers), ForceOptions(forces=kind, offset="none"))(x)
        assert np.abs(state.getForces(asNumpy=True)._value - forces.numpy()).max() < 1e-10 * float(forces.abs().max())
        assert state.getPotentialEnergy()._value == pytest.approx(float(energy), rel=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_openmms_integrators_take_the_groups(stored: Model, backend: str) -> None:
    """As in docs/conservative.md; at one short step to each long one it is velocity Verlet with the gradient."""
    pdb = app.PDBFile(str(PDB))
    where = openmm.Platform.getPlatformByName("Reference")

    def after(system: openmm.System, integrator: openmm.Integrator, steps: int) -> np.ndarray:
        context = openmm.Context(system, integrator, where)
        context.setPositions(pdb.positions)
        context.setVelocitiesToTemperature(300, 7)
        integrator.step(steps)
        return context.getState(positions=True).getPositions(asNumpy=True)._value

    split = mdet.create_system(pdb.topology, stored, positions=pdb.positions, backend=backend, force_groups=(0, 1))
    whole = mdet.create_system(pdb.topology, stored, positions=pdb.positions, backend=backend, forces="conservative")
    plain = openmm.CustomIntegrator(0.0005)
    plain.addComputePerDof("v", "v + 0.5*dt*f/m")
    plain.addComputePerDof("x", "x + dt*v")
    plain.addComputePerDof("v", "v + 0.5*dt*f/m")
    one = after(split, openmm.MTSIntegrator(0.0005 * unit.picosecond, [(0, 1), (1, 1)]), 5)
    assert np.abs(one - after(whole, plain, 5)).max() < 1e-11
    bath = openmm.MTSLangevinIntegrator(300 * unit.kelvin, 1 / unit.picosecond, 2 * unit.femtosecond, [(0, 4), (1, 1)])
    assert np.isfinite(after(split, bath, 2)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"force_groups": (1, 1)}, "two different groups"),
        ({"force_groups": (0, 32)}, "from 0 to 31"),
        ({"force_groups": (0, 1), "forces": "direct"}, "leave out forces='direct'"),
        ({"force_groups": (0, 1), "offset": "hashed"}, "multiple time steps need offset none"),
    ],
)
def test_groups_that_cannot_be(stored: Model, options: dict, message: str) -> None:
    pdb = app.PDBFile(str(PDB))
    with pytest.raises(InputError, match=message):
        mdet.create_system(pdb.topology, stored, positions=pdb.positions, **options)
