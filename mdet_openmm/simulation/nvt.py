"""Dynamics at constant temperature."""

from collections.abc import Collection
from typing import Any

from mdet_openmm.simulation.run import run
from mdet_openmm.simulation.settings import NvtSettings


def run_nvt(settings: NvtSettings, given: Collection[str] | None = None) -> dict[str, Any]:
    """Run NVT dynamics of one molecule, or go on with it; parameters, result and errors are those of `run`."""
    return run(settings, given)
