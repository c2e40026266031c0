"""The force in OpenMM on its CUDA platform, step by step and in whole runs, with both backends."""

from pathlib import Path
from typing import Any

import numpy as np
import openmm
import pytest
import torch
from numpy.typing import NDArray
from platform_runs import MASSES, restarted, settings_of, trajectory

from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import Model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Molecule, Species
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.log_file import read_table
from mdet_openmm.simulation.nve import run_nve
from mdet_openmm.simulation.nvt import run_nvt
from mdet_openmm.simulation.settings import NveSettings, NvtSettings
from mdet_openmm.system.force import add_force, make_system
from mdet_openmm.system.platform import PlatformChoice
from mdet_openmm.units import NM_PER_ANGSTROM

Structures = list[NDArray[np.float64]]


def langevin() -> Any:
    integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.0005)
    integrator.setRandomNumberSeed(5)
    return integrator


def context_of(
    choice: PlatformChoice,
    backend: str,
    module: torch.jit.ScriptModule,
    molecule: Molecule,
    integrator: Any,
    cuda_graph: bool | None = None,
) -> Any:
    system = make_system([MASSES[int(z)] for z in molecule.atomic_numbers])
    add_force(system, module, backend, choice.device, cuda_graph)
    context = openmm.Context(system, integrator, choice.platform, choice.properties)
    context.setPositions(NM_PER_ANGSTROM * molecule.positions)
    return context


def positions_of(context: Any) -> NDArray[np.float64]:
    return context.getState(positions=True).getPositions(asNumpy=True)._value


@pytest.mark.parametrize("offset", ["none", "hashed"])
@pytest.mark.parametrize("orientations", [1, 12])
@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_the_force_is_that_of_the_module_on_a_cpu(
    choice: PlatformChoice,
    backend: str,
    trained: Model,
    ethanol: Molecule,
    structures: Structures,
    precision: str,
    orientations: int,
    offset: str,
) -> None:
    options: dict[str, Any] = {"orientations": orientations, "offset": offset, "seed": 4}
    exact = bind(trained, ethanol, ForceOptions(**options))
    module = bind(trained, ethanol, ForceOptions(precision=precision, **options))
    context = context_of(choice, backend, module, ethanol, openmm.VerletIntegrator(0.0005))
    for x in structures:
        context.setPositions(x)
        found = context.getState(forces=True).getForces(asNumpy=True)._value
        expected = exact(torch.tensor(x))[1].numpy()
        # a hashed rotation is another one if a position differs in its twelfth digit: they arrive in fp64
        assert np.abs(found - expected).max() < (1e-9 if precision == "double" else 2e-6) * np.abs(expected).max()


def test_conservative_forces_and_their_energy(
    choice: PlatformChoice, backend: str, with_energy: Model, ethanol: Molecule, structures: Structures
) -> None:
    module = bind(
        with_energy,
        Species(ethanol.atomic_numbers),
        ForceOptions(orientations=12, forces="conservative", offset="none"),
    )
    context = context_of(choice, backend, module, ethanol, openmm.VerletIntegrator(0.0005))
    for x in structures:
        context.setPositions(x)
        state = context.getState(forces=True, energy=True)
        energy, forces = (result.numpy() for result in module(torch.tensor(x)))
        assert np.abs(state.getForces(asNumpy=True)._value - forces).max() < 1e-9 * np.abs(forces).max()
        assert state.getPotentialEnergy()._value == pytest.approx(float(energy), rel=1e-9)


def test_openmm_computes_in_double(choice: PlatformChoice, backend: str, trained: Model, ethanol: Molecule) -> None:
    module = bind(trained, Species(ethanol.atomic_numbers), ForceOptions(offset="none"))
    context = context_of(choice, backend, module, ethanol, openmm.VerletIntegrator(0.0005))
    if "Precision" in choice.platform.getPropertyNames():
        assert choice.platform.getPropertyValue(context, "Precision") == "double"
    x = NM_PER_ANGSTROM * ethanol.positions
    x[0, 0] += 1e-13
    context.setPositions(x)
    assert np.abs(positions_of(context) - x).max() < 1e-15


@pytest.mark.parametrize("make", [langevin, lambda: openmm.VerletIntegrator(0.0005)], ids=["langevin", "verlet"])
@pytest.mark.parametrize("cuda_graph", [False, True])
def test_a_hashed_run_goes_on_bit_by_bit_from_a_checkpoint(
    choice: PlatformChoice, backend: str, trained: Model, ethanol: Molecule, make: Any, cuda_graph: bool
) -> None:
    module = bind(trained, Species(ethanol.atomic_numbers), ForceOptions(orientations=12, offset="hashed"))
    context = context_of(choice, backend, module, ethanol, make(), cuda_graph)
    context.setVelocitiesToTemperature(300, 5)
    context.getIntegrator().step(10)
    checkpoint = context.createCheckpoint()
    context.getIntegrator().step(10)
    expected = positions_of(context)
    context = context_of(choice, backend, module, ethanol, make(), cuda_graph)
    context.loadCheckpoint(checkpoint)
    context.getIntegrator().step(10)
    assert np.abs(positions_of(context) - NM_PER_ANGSTROM * ethanol.positions).max() > 1e-4
    assert np.array_equal(positions_of(context), expected)


def test_an_nve_run_follows_the_same_path_as_on_the_reference_platform(
    choice: PlatformChoice, backend: str, tmp_path: Path
) -> None:
    # 50 fs are too short for chaos to enlarge the rounding of the last digits to what is compared here
    options: dict[str, Any] = {"steps": 100, "equilibrate": 0.0, "offset": "none"}
    summary = run_nve(settings_of(NveSettings, choice, backend, tmp_path / "here", **options))
    assert summary["exit_reason"] == "completed" and summary["platform"] == choice.name
    assert abs(summary["integrator_check_relative"]) < 1e-9
    run_nve(settings_of(NveSettings, choice, "python", tmp_path / "there", **{**options, "platform": "Reference"}))
    here, there = trajectory(tmp_path / "here"), trajectory(tmp_path / "there")
    assert len(here) == 50 and np.abs(there[-1] - there[0]).max() > 1e-3
    assert np.abs(here - there).max() < 2e-6  # nm; frames are stored in fp32


@pytest.mark.parametrize("offset", ["hashed", "random"])
def test_a_langevin_run_keeps_its_bonds_and_its_temperature(
    choice: PlatformChoice, backend: str, tmp_path: Path, offset: str
) -> None:
    summary = run_nvt(
        settings_of(
            NvtSettings, choice, backend, tmp_path / "out", steps=400, friction=50.0, equilibrate=0.1, offset=offset,
            precision="mixed", minimize=True,
        )
    )  # fmt: skip
    assert summary["exit_reason"] == "completed"  # a broken bond, a runaway and a NaN would have stopped it
    assert 150.0 < summary["temperature_mean_K"] < 450.0
    log = read_table(tmp_path / "out" / run_folder.LOG)
    assert len(log["step"]) == 200 and all(np.isfinite(column).all() for column in log.values())
    assert 0.01 < summary["equivariance_error_mean_kcal_mol_A"] < 2.0


@pytest.mark.parametrize(("kind", "run"), [(NvtSettings, run_nvt), (NveSettings, run_nve)], ids=["nvt", "nve"])
def test_a_restarted_run_has_the_bytes_of_an_unbroken_one(
    choice: PlatformChoice, backend: str, tmp_path: Path, kind: type, run: Any
) -> None:
    restarted(kind, run, choice, backend, tmp_path)
