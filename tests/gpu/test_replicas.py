"""Many copies of a molecule in one force call: each has the forces and the path that it has alone."""

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
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.simulation.nve import run_nve
from mdet_openmm.simulation.nvt import run_nvt
from mdet_openmm.simulation.settings import NveSettings, NvtSettings
from mdet_openmm.simulation.thermostat import replica_seeds
from mdet_openmm.system.force import add_force, make_system
from mdet_openmm.system.platform import PlatformChoice

REPLICAS = [f"replica-{k:02d}" for k in range(3)]


@pytest.mark.parametrize("offset", ["none", "hashed"])
@pytest.mark.parametrize("cuda_graph", [False, True], ids=["plain", "captured"])
@pytest.mark.parametrize("orientations", [1, 12])
@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_each_has_the_forces_that_it_has_alone_on_a_cpu(
    choice: PlatformChoice,
    backend: str,
    trained: Model,
    ethanol: Molecule,
    structures: list[NDArray[np.float64]],
    precision: str,
    orientations: int,
    cuda_graph: bool,
    offset: str,
) -> None:
    options: dict[str, Any] = {"orientations": orientations, "offset": offset}
    seeds = replica_seeds(5, len(structures))
    alone = [bind(trained, ethanol, ForceOptions(seed=seed, **options)) for seed in seeds]
    module = bind(trained, ethanol, ForceOptions(precision=precision, **options), seeds)
    system = make_system([MASSES[int(z)] for z in ethanol.atomic_numbers] * len(seeds))
    add_force(system, module, backend, choice.device, cuda_graph)
    context = openmm.Context(system, openmm.VerletIntegrator(0.0005), choice.platform, choice.properties)
    for turn in range(3):  # each copy has been each structure
        order = [structures[(k + turn) % len(seeds)] for k in range(len(seeds))]
        context.setPositions(np.concatenate(order))
        found = context.getState(forces=True).getForces(asNumpy=True)._value
        expected = np.concatenate([one(torch.tensor(x))[1].numpy() for one, x in zip(alone, order, strict=True)])
        assert np.abs(found - expected).max() < (1e-9 if precision == "double" else 2e-6) * np.abs(expected).max()


def test_random_rotations_differ_between_copies(
    choice: PlatformChoice, backend: str, trained: Model, ethanol: Molecule, structures: list[NDArray[np.float64]]
) -> None:
    module = bind(trained, ethanol, ForceOptions(offset="random"), replica_seeds(5, 3))
    system = make_system([12.0] * 27)
    add_force(system, module, backend, choice.device, True)
    context = openmm.Context(system, openmm.VerletIntegrator(0.0005), choice.platform, choice.properties)
    context.setPositions(np.tile(structures[0], (3, 1)))
    calls = []
    for _ in range(2):
        context.setPositions(np.tile(structures[0], (3, 1)))
        calls.append(context.getState(forces=True).getForces(asNumpy=True)._value.reshape(3, 9, 3))
    found = np.concatenate(calls)
    assert all(np.abs(found[i] - found[j]).max() > 1e-6 * np.abs(found).max() for i in range(6) for j in range(i))


def test_an_nve_run_follows_the_same_paths_as_on_the_reference_platform(
    choice: PlatformChoice, backend: str, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"steps": 100, "equilibrate": 0.0, "offset": "none", "replicas": 3}
    summary = run_nve(settings_of(NveSettings, choice, backend, tmp_path / "here", **options))
    assert summary["exit_reason"] == "completed" and summary["failures"] == {} and summary["platform"] == choice.name
    run_nve(settings_of(NveSettings, choice, "python", tmp_path / "there", **options | {"platform": "Reference"}))
    ends = []
    for name in REPLICAS:
        here, there = trajectory(tmp_path / "here" / name), trajectory(tmp_path / "there" / name)
        assert len(here) == 50 and np.abs(there[-1] - there[0]).max() > 1e-3
        assert np.abs(here - there).max() < 2e-6  # nm; frames are stored in fp32
        ends.append(here[-1])
    assert all(np.abs(ends[i] - ends[j]).max() > 1e-3 for i in range(3) for j in range(i))


@pytest.mark.parametrize(("kind", "run"), [(NvtSettings, run_nvt), (NveSettings, run_nve)], ids=["nvt", "nve"])
def test_a_restarted_run_has_the_bytes_of_an_unbroken_one(
    choice: PlatformChoice, backend: str, tmp_path: Path, kind: type, run: Any
) -> None:
    restarted(kind, run, choice, backend, tmp_path, folders=REPLICAS, replicas=3)
