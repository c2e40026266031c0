"""Fixtures: every backend and every thermostat."""

import pytest

from mdet_openmm.system.force import choose_backend


@pytest.fixture(params=["torch", "python"])
def backend(request: pytest.FixtureRequest) -> str:
    """Both backends; TorchForce is skipped where it does not work."""
    if request.param == "torch" and choose_backend("auto")[0] != "torch":
        pytest.skip("TorchForce does not work here")
    return str(request.param)


@pytest.fixture(params=["langevin", "nose-hoover"])
def thermostat(request: pytest.FixtureRequest) -> str:
    return str(request.param)
