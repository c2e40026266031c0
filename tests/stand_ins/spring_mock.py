"""A mock force field of springs, and a run made of it without files of molecules or models."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mdet_openmm.simulation.checkpoint import save_checkpoint
from mdet_openmm.simulation.monitor import Monitor, bond_lengths, runaway_temperature
from mdet_openmm.simulation.motion import make_motion
from mdet_openmm.simulation.schedule import Schedule, make_schedule
from mdet_openmm.simulation.settings import NvtSettings, RunSettings, resolved
from mdet_openmm.simulation.thermostat import (
    make_integrator,
    make_internal_thermometer,
    make_thermometer,
    replica_seeds,
    starting_velocities,
)
from mdet_openmm.system.force import add_force, make_system


class Springs(torch.nn.Module):
    """Springs between all pairs (kJ/mol/nm², lengths in nm), whirl (a force at a right angle to the position, which
    pumps energy), and a push that drives the first two atoms apart, or NaN, once atom 0 is that far off on x."""

    def __init__(self, lengths: Tensor, k: float = 2e5, whirl: float = 0.0, push: float = 0.0, nan_at: float = 1e9):
        super().__init__()
        self.register_buffer("lengths", lengths)
        self.k, self.whirl, self.push, self.nan_at = k, whirl, push, nan_at

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            r = positions.detach().double()
            between = r.unsqueeze(0) - r.unsqueeze(1)
            n = r.shape[0]
            distance = torch.linalg.vector_norm(between, dim=-1) + torch.eye(n, dtype=r.dtype)
            stretch = distance - self.lengths - torch.eye(n, dtype=r.dtype)
            forces = (self.k * (stretch / distance).unsqueeze(-1) * between).sum(dim=1)
            if self.whirl != 0.0:
                centred = r - r.mean(dim=0)
                forces = forces + self.whirl * torch.stack([-centred[:, 1], centred[:, 0], torch.zeros(n).double()], 1)
            if self.push != 0.0:
                apart = between[0, 1] / distance[0, 1]
                forces[1] += self.push * apart
                forces[0] -= self.push * apart
            if bool(r[0, 0].abs() > self.nan_at):
                forces = forces * float("nan")
        return torch.zeros([], dtype=positions.dtype), forces.to(positions.dtype).contiguous()


class SpringCopies(torch.nn.Module):
    """Springs of water for each of R copies."""

    def __init__(self, copies: int) -> None:
        super().__init__()
        self.one = Springs(torch.tensor(np.linalg.norm(WATER_NM[:, None] - WATER_NM[None], axis=-1)))
        self.copies = copies

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        each = positions.view(self.copies, -1, 3)
        forces = torch.stack([self.one(each[k])[1] for k in range(self.copies)])
        return torch.zeros([], dtype=positions.dtype), forces.view(-1, 3).contiguous()


WATER_NM = np.array([[0.0, 0.0, 0.0], [0.096, 0.0, 0.0], [-0.024, 0.093, 0.0]])
WATER_BONDS = np.array([[0, 1], [0, 2]])


def springs(positions: np.ndarray = WATER_NM, **options: float) -> torch.jit.ScriptModule:
    lengths = torch.tensor(np.linalg.norm(positions[:, None] - positions[None], axis=-1))
    return torch.jit.script(Springs(lengths, **options).eval())


@dataclass
class MockRun:
    """What run_dynamics takes."""

    context: Any
    force: Any
    settings: RunSettings
    schedule: Schedule
    monitor: Monitor
    topology: Any

    @property
    def arguments(self) -> tuple[Any, RunSettings, Schedule, Monitor, Any]:
        return self.context, self.settings, self.schedule, self.monitor, self.topology


def topology_of(numbers: np.ndarray) -> Any:
    from openmm import app

    topology = app.Topology()
    residue = topology.addResidue("MOL", topology.addChain())
    for i, z in enumerate(numbers):
        element = app.Element.getByAtomicNumber(int(z))
        topology.addAtom(f"{element.symbol}{i}", element, residue)
    return topology


def make_run(
    folder: Path,
    module: torch.jit.ScriptModule | tuple[torch.jit.ScriptModule, ...],
    numbers: tuple[int, ...] = (8, 1, 1),
    positions: np.ndarray = WATER_NM,
    bonds: np.ndarray = WATER_BONDS,
    start: bool = True,
    kind: type[RunSettings] = NvtSettings,
    **options: Any,
) -> MockRun:
    import openmm

    friction = {"friction": 10.0} if kind is NvtSettings else {}
    options = {"equilibrate": 0.0, "seed": 5, "quiet": True, "backend": "python", **friction, **options}
    settings = resolved(kind(system=Path("mock.xyz"), output=folder, **options))
    folder.mkdir(exist_ok=True)
    atomic_numbers = np.array(numbers)
    masses = np.array([openmm.app.Element.getByAtomicNumber(z).mass._value for z in numbers])
    system = make_system(np.tile(masses, settings.replicas))
    forces = [add_force(system, m, settings.backend) for m in (module if isinstance(module, tuple) else (module,))]
    for group, force in enumerate(forces):
        force.setForceGroup(group)
    integrator = make_integrator(settings, system)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
    zero = getattr(settings, "thermostat", None) == "nose-hoover"
    thermometer = make_thermometer(atomic_numbers, masses, zero)
    if kind is not NvtSettings:
        thermometer = make_internal_thermometer(atomic_numbers, masses, positions)
    limit = runaway_temperature(settings.temperature, thermometer.degrees_of_freedom)
    monitor = Monitor(bonds, bond_lengths(bonds, positions), thermometer, limit)
    if start:
        context.setPositions(np.tile(positions, (settings.replicas, 1)))
        seeds = replica_seeds(settings.seed or 0, settings.replicas)
        drawn = [starting_velocities(masses, settings.temperature, seed, zero) for seed in seeds]
        context.setVelocities(np.concatenate(drawn))
        for each in settings.folders:
            each.mkdir(exist_ok=True)
        if settings.equilibrate == 0.0:
            make_motion(context, settings, monitor).begin()
        save_checkpoint(context, folder)
    return MockRun(context, forces[0], settings, make_schedule(settings), monitor, topology_of(atomic_numbers))
