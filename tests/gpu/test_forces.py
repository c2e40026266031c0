"""A bound module gives the same force on a GPU as on a CPU, and does all of its work there."""

import io
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import Model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.export.rotations import random_rotation
from mdet_openmm.molecules.molecule import Molecule

TOLERANCE = {"double": 1e-9, "mixed": 2e-6, "fp32": 5e-5}
"""Largest error of a force relative to the largest force."""


def bound(model: Model, molecule: Molecule, **options: Any) -> torch.jit.ScriptModule:
    steady: dict[str, Any] = {"offset": "none", "seed": 4}
    return bind(model, molecule, ForceOptions(**steady | options))


def on(device: str, module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """Moved and frozen, as OpenMM runs it."""
    return torch.jit.freeze(module.to(device).eval())


def error(found: Tensor, expected: Tensor) -> float:
    return float((found.cpu() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("offset", ["none", "hashed"])
@pytest.mark.parametrize("orientations", [1, 12, 60])
@pytest.mark.parametrize("precision", ["double", "mixed", "fp32"])
def test_direct_forces_are_those_of_the_cpu_in_double(
    device: str,
    trained: Model,
    ethanol: Molecule,
    structures: list[NDArray[np.float64]],
    precision: str,
    orientations: int,
    offset: str,
) -> None:
    exact = bound(trained, ethanol, orientations=orientations, offset=offset)
    module = on(device, bound(trained, ethanol, precision=precision, orientations=orientations, offset=offset))
    for x in structures:
        given = torch.tensor(x, device=device)
        forces = module(given)[1]
        assert forces.device == given.device and forces.dtype == torch.float64 and forces.is_contiguous()
        assert error(forces, exact(torch.tensor(x))[1]) < TOLERANCE[precision]
        torque = torch.linalg.cross(given - given.mean(dim=0), forces).sum(dim=0)
        assert float(torch.cat((forces.sum(dim=0), torque)).abs().max()) < 1e-10 * float(forces.abs().max())


@pytest.mark.parametrize("offset", ["none", "hashed"])
@pytest.mark.parametrize("orientations", [1, 12])
@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_conservative_forces_are_those_of_the_cpu_in_double(
    device: str,
    with_energy: Model,
    ethanol: Molecule,
    structures: list[NDArray[np.float64]],
    precision: str,
    orientations: int,
    offset: str,
) -> None:
    options: dict[str, Any] = {"orientations": orientations, "offset": offset, "forces": "conservative"}
    exact = bound(with_energy, ethanol, **options)
    module = on(device, bound(with_energy, ethanol, precision=precision, **options))
    # random weights are less smooth than trained ones, and a gradient is less smooth than an energy
    tolerance = 1e-9 if precision == "double" else 1e-4
    for x in structures:
        energy, forces = module(torch.tensor(x, device=device))
        exact_energy, exact_forces = exact(torch.tensor(x))
        assert error(forces, exact_forces) < tolerance
        assert float(energy) == pytest.approx(float(exact_energy), rel=tolerance)
        assert not forces.requires_grad and not energy.requires_grad


def test_conservative_forces_are_minus_the_slope_of_the_energy(
    device: str, with_energy: Model, ethanol: Molecule, structures: list[NDArray[np.float64]]
) -> None:
    module = on(device, bound(with_energy, ethanol, forces="conservative"))
    x = torch.tensor(structures[1], device=device)
    forces, step = module(x)[1], torch.zeros_like(x)
    for atom, axis in ((0, 0), (4, 1), (8, 2)):
        step.zero_()[atom, axis] = 1e-5
        slope = (module(x + step)[0] - module(x - step)[0]) / 2e-5
        assert float(slope) == pytest.approx(-float(forces[atom, axis]), abs=1e-6 * float(forces.abs().max()))


def test_a_random_offset_turns_the_molecule_by_a_fresh_rotation_of_the_seeded_generator(
    device: str, trained: Model, ethanol: Molecule, structures: list[NDArray[np.float64]]
) -> None:
    turning, steady = (on(device, bound(trained, ethanol, offset=o)) for o in ("random", "none"))
    x = torch.tensor(structures[1], device=device)
    torch.manual_seed(5)
    first, second = turning(x)[1], turning(x)[1]
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    for found in (first, second):
        turn = random_rotation(x)
        assert error(found, (steady(x @ turn)[1] @ turn.T).cpu()) < 1e-9


class OnTheHost(torch.nn.Module):
    """What must not happen: a constant made on the CPU at each call."""

    def forward(self, positions: Tensor) -> Tensor:
        return positions + torch.ones([3, 3], dtype=torch.float64)


class Waits(torch.nn.Module):
    """What must not happen: a number that the host waits for."""

    def forward(self, positions: Tensor) -> Tensor:
        return positions * float(positions.sum())


def without_data(module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """The module on torch's meta device: a device of its own, whose tensors have shapes and no numbers."""
    stored = io.BytesIO()
    torch.jit.save(module, stored)
    stored.seek(0)
    return torch.jit.load(stored, map_location="meta")


@pytest.mark.parametrize("kind", [OnTheHost, Waits])
def test_the_meta_device_finds_work_on_the_host(kind: type[torch.nn.Module]) -> None:
    with pytest.raises((RuntimeError, NotImplementedError)):
        without_data(torch.jit.script(kind()))(torch.empty(3, 3, dtype=torch.float64, device="meta"))


@pytest.mark.parametrize("precision", ["double", "mixed", "fp32"])
def test_nothing_is_made_on_the_host_or_waits_for_it(
    trained: Model, with_energy: Model, ethanol: Molecule, precision: str
) -> None:
    x = torch.empty(9, 3, dtype=torch.float64, device="meta")
    grid = itertools.product((1, 12), ("none", "hashed", "random"))
    # rotations are in double whatever the precision of the network: of a lower one the two opposite corners
    turned = list(grid) if precision == "double" else [(1, "none"), (12, "random")]
    for (orientations, offset), conservative in itertools.product(turned, (False, True)):
        model, forces = (with_energy, "conservative") if conservative else (trained, "direct")
        module = bound(model, ethanol, precision=precision, orientations=orientations, offset=offset, forces=forces)
        energy, found = without_data(module)(x)
        assert energy.device == found.device == x.device and found.shape == x.shape
