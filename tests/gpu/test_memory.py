"""Steps leave nothing behind, neither on the device nor on the host."""

import os
from pathlib import Path
from typing import Any

import openmm
import pytest
import torch
from platform_runs import MASSES

from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import Model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Molecule, Species
from mdet_openmm.system.force import add_force, make_system
from mdet_openmm.system.platform import PlatformChoice
from mdet_openmm.units import NM_PER_ANGSTROM

STEPS = int(os.environ.get("MDET_MEMORY_STEPS", "400"))
"""Force calls, of captured ones; a tenth of it, but 400 at least, of plain ones. 100,000 is the claim."""
ALONE = os.environ.get("MDET_MEMORY_ALONE", "1") != "0"
"""Whether no other process uses the device: all of its memory is then counted, and else what torch has reserved."""
HOST, DEVICE = 8e6, 4e6
"""Growth that is not counted, bytes: whole arenas of the host's allocator, whole blocks of the driver's."""


def resident() -> int:
    """Bytes of this process in main memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024


def taken(device: str) -> tuple[int, int, int]:
    """Bytes in main memory, of the device in all, and of the device in tensors."""
    if device == "cpu":
        return resident(), 0, 0
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    return resident(), total - free if ALONE else torch.cuda.memory_reserved(), torch.cuda.memory_allocated()


@pytest.mark.parametrize("offset", ["hashed", "random"])
@pytest.mark.parametrize("cuda_graph", [False, True], ids=["plain", "captured"])
def test_memory_does_not_grow(
    choice: PlatformChoice, backend: str, trained: Model, ethanol: Molecule, cuda_graph: bool, offset: str
) -> None:
    def run(context: Any, steps: int) -> None:
        for _ in range(steps // 100):
            context.getIntegrator().step(100)
            context.getState(positions=True, velocities=True)

    module = bind(trained, Species(ethanol.atomic_numbers), ForceOptions(precision="mixed", offset=offset))
    system = make_system([MASSES[int(z)] for z in ethanol.atomic_numbers])
    add_force(system, module, backend, choice.device, cuda_graph)
    integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.0005)
    context = openmm.Context(system, integrator, choice.platform, choice.properties)
    context.setPositions(NM_PER_ANGSTROM * ethanol.positions)
    context.setVelocitiesToTemperature(300, 1)
    steps = STEPS if cuda_graph else max(400, STEPS // 10)
    run(context, 200)
    before = taken(choice.device)
    run(context, steps)
    host, device, tensors = (now - then for now, then in zip(taken(choice.device), before, strict=True))
    assert context.getStepCount() == 200 + steps
    assert host < HOST and device < DEVICE and tensors <= 0
