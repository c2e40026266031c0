"""Every test here runs on a CPU and on a GPU, with the same assertions; ``pytest -m gpu`` takes the GPU half.

The CPU half is a rehearsal, for tests/export and tests/system ask the same of CPUs: of a grid of options it takes the
two opposite corners.
"""

import os
import time
from collections import defaultdict
from pathlib import Path

import pytest

import torch  # before openmm # isort: skip
import numpy as np
from numpy.typing import NDArray
from platform_runs import ETHANOL

from mdet_openmm.export.model_folder import Model, load_model
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.system.force import choose_backend
from mdet_openmm.system.platform import PlatformChoice, choose_platform
from mdet_openmm.units import NM_PER_ANGSTROM

HERE = Path(__file__).parent
START, SECONDS = time.monotonic(), float(os.environ.get("MDET_TESTS_SECONDS", "inf"))
"""For machines that are lent for minutes: after these seconds no test is begun, and those that were are reported."""
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, on a CPU, all cases of a test but its first and its last."""
    grids: dict[tuple[Path, str], list[pytest.Item]] = defaultdict(list)
    for item in items:
        case = getattr(item, "callspec", None)
        if HERE in item.path.parents and case is not None and case.params.get("device") == "cpu":
            grids[item.path, item.name.partition("[")[0]].append(item)
    inner = {item for cases in grids.values() for item in cases[1:-1]}
    config.hook.pytest_deselected(items=list(inner))
    items[:] = [item for item in items if item not in inner]


def pytest_runtest_setup() -> None:
    """Leave out what there is no time for."""
    if time.monotonic() - START > SECONDS:
        pytest.skip("out of time")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])])
def device(request: pytest.FixtureRequest) -> str:
    """Where tensors live."""
    return str(request.param)


@pytest.fixture
def choice(device: str) -> PlatformChoice:
    """OpenMM's platform on that device, in double precision."""
    return choose_platform("CUDA" if device == "cuda" else "Reference")


@pytest.fixture(params=["torch", "python"])
def backend(request: pytest.FixtureRequest, choice: PlatformChoice) -> str:
    """Both backends; TorchForce is skipped where it does not work."""
    if request.param == "torch" and choose_backend("auto", choice.name)[0] != "torch":
        pytest.skip(choose_backend("auto", choice.name)[1])
    return str(request.param)


@pytest.fixture(scope="session")
def trained() -> Model:
    """A smooth trained model; direct forces."""
    return load_model("mdet-gfn2-mini")


@pytest.fixture(scope="session")
def with_energy() -> Model:
    """Random weights with an energy head, whose gradient is a conservative force."""
    torch.manual_seed(2)
    config = NetworkConfig(n_layers=2, embd_dim=32, n_heads=2, n_radial=8, energy_head=True, force_scale=0.01)
    network = EdgeTransformer(config).eval()
    return Model(path=Path("tiny"), network=network, elements=(1, 6, 8), has_energy=True, name="tiny", sha256="0" * 64)


@pytest.fixture(scope="session")
def ethanol() -> Molecule:
    return read_molecule(ETHANOL)


@pytest.fixture(scope="session")
def structures(ethanol: Molecule) -> list[NDArray[np.float64]]:
    """Ethanol as drawn and shaken by 0.05 Å per coordinate, about other origins; (9, 3) in nm each."""
    rng = np.random.default_rng(3)
    shaken = [ethanol.positions + rng.normal(scale=0.05, size=(9, 3)) + rng.normal(scale=5, size=3) for _ in range(3)]
    return [NM_PER_ANGSTROM * x for x in (ethanol.positions, *shaken)]
