import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import torch  # isort: skip
import openmm

from mdet_openmm.errors import InputError
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import Model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.system import force as force_module
from mdet_openmm.system.force import add_force, choose_backend, make_system, original_errors

ETHANOL = [8, 6, 6, 1, 1, 1, 1, 1, 1]
MASSES = [{1: 1.008, 6: 12.011, 8: 15.999}[z] for z in ETHANOL]


def start() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(9, 3)) * 0.2 + 0.7  # nm


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(2)
    config = NetworkConfig(n_layers=2, embd_dim=16, n_heads=2, n_radial=8, energy_head=True, force_scale=0.01)
    network = EdgeTransformer(config).eval()
    return Model(path=Path("tiny"), network=network, elements=(1, 6, 8), has_energy=True, name="tiny", sha256="0" * 64)


def context_of(module, backend: str, integrator=None, platform: str = "Reference"):
    system = make_system(MASSES)
    force = add_force(system, module, backend)
    context = openmm.Context(
        system, integrator or openmm.VerletIntegrator(0.0005), openmm.Platform.getPlatformByName(platform)
    )
    context.setPositions(start())
    return context, force


def measured(context) -> tuple[float, np.ndarray]:
    state = context.getState(forces=True, energy=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


def test_make_system_has_masses_and_nothing_else():
    system = make_system(MASSES)
    assert [system.getParticleMass(i)._value for i in range(9)] == MASSES
    assert system.getNumForces() == system.getNumConstraints() == 0
    assert not system.usesPeriodicBoundaryConditions()


@pytest.mark.parametrize("offset", ["none", "hashed"])
@pytest.mark.parametrize("orientations", [1, 12])
@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_both_backends_give_the_force_of_the_module(model, precision, orientations, offset):
    module = bind(
        model, Species(ETHANOL), ForceOptions(precision=precision, orientations=orientations, offset=offset, seed=4)
    )
    energy, forces = module(torch.tensor(start()))
    assert forces.abs().max() > 1e-3
    for backend in ("torch", "python"):
        context, _ = context_of(module, backend)
        for _ in range(3):  # past the calls in which TorchScript profiles and optimises
            found_energy, found = measured(context)
            assert np.abs(found - forces.numpy()).max() < 1e-10 * float(forces.abs().max())
            assert abs(found_energy - float(energy)) < 1e-10 * abs(float(energy))
            context.setPositions(start())


def test_on_the_cpu_platform_positions_are_single_at_least(model):
    module = bind(model, Species(ETHANOL), ForceOptions(orientations=12, offset="none"))
    forces = module(torch.tensor(start()))[1].numpy()
    for backend in ("torch", "python"):
        found = measured(context_of(module, backend, platform="CPU")[0])[1]
        assert np.abs(found - forces).max() < 1e-4 * np.abs(forces).max()


def test_the_backends_run_the_same_trajectory(model):
    module = bind(model, Species(ETHANOL), ForceOptions(offset="hashed"))
    ends = []
    for backend in ("torch", "python"):
        integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.0005)
        integrator.setRandomNumberSeed(5)
        context, _ = context_of(module, backend, integrator)
        context.setVelocitiesToTemperature(300, 5)
        integrator.step(20)
        ends.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    assert np.abs(ends[0] - start()).max() > 1e-4
    assert np.abs(ends[0] - ends[1]).max() < 1e-9


@pytest.mark.parametrize("backend", ["torch", "python"])
def test_a_hashed_run_goes_on_bit_by_bit_from_a_checkpoint(model, backend):
    module = bind(model, Species(ETHANOL), ForceOptions(orientations=12, offset="hashed"))

    def fresh():
        integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.0005)
        integrator.setRandomNumberSeed(5)
        return context_of(module, backend, integrator)[0], integrator

    context, integrator = fresh()
    context.setVelocitiesToTemperature(300, 5)
    integrator.step(10)
    checkpoint = context.createCheckpoint()
    integrator.step(10)
    expected = context.getState(positions=True).getPositions(asNumpy=True)._value
    context, integrator = fresh()
    context.loadCheckpoint(checkpoint)
    integrator.step(10)
    assert np.array_equal(context.getState(positions=True).getPositions(asNumpy=True)._value, expected)


@pytest.mark.parametrize("backend", ["torch", "python"])
def test_the_module_is_not_moved_or_changed(model, backend):
    module = bind(model, Species(ETHANOL), ForceOptions(offset="none"))
    before = module(torch.tensor(start()))[1]
    measured(context_of(module, backend)[0])
    assert torch.equal(module(torch.tensor(start()))[1], before)
    assert module.has_energy  # not frozen in place


class Fails(torch.nn.Module):
    def forward(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return positions.sum(), positions.reshape(7, 7)


def test_an_exception_in_the_python_backend_comes_back_as_it_was():
    context, force = context_of(torch.jit.script(Fails()), "python")
    with pytest.raises(RuntimeError, match=r"shape '\[7, 7\]' is invalid"), original_errors(force):
        context.getState(forces=True)

    class Interrupted:
        def __init__(self) -> None:
            self.buffers = None

        def __call__(self, positions):
            raise KeyboardInterrupt

    force.callback.module = Interrupted()
    with pytest.raises(KeyboardInterrupt), original_errors(force):
        context.getState(forces=True)
    assert force.callback.error is None


def test_an_exception_of_openmm_itself_passes_through(model):
    _, force = context_of(bind(model, Species(ETHANOL), ForceOptions(offset="none")), "torch")
    with pytest.raises(openmm.OpenMMException, match="Called"), original_errors(force):
        raise openmm.OpenMMException("Called")


def test_a_module_for_another_number_of_atoms_is_refused(model):
    with pytest.raises(InputError, match="bound to 3 atoms, but the system has 9"):
        add_force(make_system(MASSES), bind(model, Species([8, 1, 1]), ForceOptions(offset="none")))


def test_choosing_a_backend():
    assert choose_backend("torch")[0] == "torch"
    assert choose_backend("python")[0] == "python"
    assert choose_backend()[0] == "torch"  # the default wherever it works; it is in the default installation
    with pytest.raises(InputError, match="auto, torch, python"):
        choose_backend("cuda")


def test_auto_falls_back_to_python_with_the_reason(monkeypatch):
    monkeypatch.setattr(force_module, "torch_problem", lambda platform: "set_stride is not allowed")
    backend, reason = choose_backend("auto")
    assert backend == "python"
    assert "set_stride" in reason
    with pytest.raises(InputError, match="set_stride"):
        choose_backend("torch")


def test_a_backend_whose_trial_force_is_wrong_counts_as_broken():
    def transposed():
        return openmm.PythonForce(lambda state: (0.0, np.array([[1.0, 2, 3], [4, 5, 6]])))

    assert force_module._trial(transposed) == "a trial force came back wrong"

    def broken():
        raise RuntimeError("no\nlibrary")

    assert force_module._trial(broken) == "no library"


def test_torch_works_when_openmm_was_imported_first():
    code = (
        "import openmm; import openmm.app; openmm.Platform.getPlatformByName('Reference')\n"
        "from mdet_openmm.system.force import choose_backend\n"
        "print(choose_backend('torch')[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["torch"]
