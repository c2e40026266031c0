"""The two force groups of multiple time steps: direct forces, and what they lack of the gradient."""

from pathlib import Path
from typing import Any

import numpy as np
import openmm
import pytest
import torch
from numpy.typing import NDArray
from platform_runs import MASSES, restarted, settings_of, trajectory

from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import Model, save_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.simulation.nve import run_nve
from mdet_openmm.simulation.nvt import run_nvt
from mdet_openmm.simulation.settings import NveSettings, NvtSettings
from mdet_openmm.simulation.verlet import FAST, SLOW
from mdet_openmm.system.force import add_force, make_system
from mdet_openmm.system.platform import PlatformChoice

COLD = 20.0
"""K: nothing holds these atoms together."""


@pytest.fixture(scope="module")
def both_heads(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of a model with random weights, whose forces are too weak to break a bond within a short, cold run."""
    torch.manual_seed(2)
    shape = NetworkConfig(n_layers=2, embd_dim=32, n_heads=2, n_radial=8, energy_head=True, force_scale=1e-4)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, EdgeTransformer(shape), elements=[1, 6, 8], training={}, metrics={}, card="random weights")
    return str(folder)


@pytest.mark.parametrize("cycle", [0, 4])
@pytest.mark.parametrize("cuda_graph", [False, True], ids=["plain", "captured"])
@pytest.mark.parametrize("orientations", [1, 12])
def test_the_forces_of_both_groups_are_those_of_a_cpu_and_add_up_to_the_gradient(
    choice: PlatformChoice,
    backend: str,
    with_energy: Model,
    ethanol: Molecule,
    structures: list[NDArray[np.float64]],
    orientations: int,
    cuda_graph: bool,
    cycle: int,
) -> None:
    whole = ForceOptions(orientations=orientations, forces="conservative", offset="none")
    gradient, direct = (bind(with_energy, ethanol, options) for options in (whole, whole.split()[0]))
    system = make_system([MASSES[int(z)] for z in ethanol.atomic_numbers])
    for group, options in zip((FAST, SLOW), whole.split(cycle), strict=True):
        module = bind(with_energy, ethanol, options)
        add_force(system, module, backend, choice.device, cuda_graph).setForceGroup(group)
    context = openmm.Context(system, openmm.VerletIntegrator(0.0005), choice.platform, choice.properties)

    def of(groups: set[int]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = context.getState(forces=True, groups=groups).getForces(asNumpy=True)._value
        return found

    for x in structures:
        context.setPositions(x)
        full, fast = (module(torch.tensor(x))[1].numpy() for module in (gradient, direct))
        slow = fast + cycle * (full - fast) if cycle else full - fast
        assert np.abs(full - fast).max() > 1e-2 * np.abs(full).max()
        for groups, expected in (({FAST}, fast), ({SLOW}, slow), ({FAST, SLOW}, fast + slow), ({SLOW}, slow)):
            assert np.abs(of(groups) - expected).max() < 1e-9 * np.abs(slow).max()
        if not cycle:
            assert np.abs(of({FAST}) + of({SLOW}) - full).max() < 1e-9 * np.abs(full).max()


def test_an_nve_run_follows_the_same_path_as_on_the_reference_platform(
    choice: PlatformChoice, backend: str, both_heads: str, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"steps": 80, "equilibrate": 0.0, "multiple_time_steps": 4, "model": both_heads}
    options |= {"report_interval": 2.0, "temperature": COLD}
    summary = run_nve(settings_of(NveSettings, choice, backend, tmp_path / "here", **options))
    assert summary["exit_reason"] == "completed" and summary["platform"] == choice.name
    assert abs(summary["integrator_check_relative"]) < 1e-9
    run_nve(settings_of(NveSettings, choice, "python", tmp_path / "there", **options | {"platform": "Reference"}))
    here, there = trajectory(tmp_path / "here"), trajectory(tmp_path / "there")
    straight = there[0] + 19 * (there[1] - there[0])
    assert len(here) == 20 and np.abs(there[-1] - straight).max() > 1e-4
    assert np.abs(here - there).max() < 2e-6  # nm; frames are stored in fp32


@pytest.mark.parametrize(("kind", "run"), [(NvtSettings, run_nvt), (NveSettings, run_nve)], ids=["nvt", "nve"])
def test_a_restarted_run_has_the_bytes_of_an_unbroken_one(
    choice: PlatformChoice, backend: str, both_heads: str, tmp_path: Path, kind: type, run: Any
) -> None:
    options: dict[str, Any] = {"model": both_heads, "multiple_time_steps": 2, "offset": "none", "temperature": COLD}
    restarted(kind, run, choice, backend, tmp_path, **options)
