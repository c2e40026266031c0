"""Captured force calls: the same forces, fresh random rotations, and a way out where a capture fails.

On a CPU `Recorded` stands for the graph: what is claimed of a graph is claimed of it too.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openmm
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import Model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Molecule, Species
from mdet_openmm.system.cuda_graph import MOST_PAIRS, CapturedCall, ForceCall, GraphedCall, wants_graph
from mdet_openmm.system.force import PythonCompute, add_force, make_system
from mdet_openmm.system.platform import PlatformChoice

Capture = Callable[[ForceCall, Tensor], ForceCall]
Structures = list[NDArray[np.float64]]


class Recorded:
    """What a CUDA graph is to its caller: input and output in tensors of its own, no random numbers for the making."""

    def __init__(self, call: ForceCall, positions: Tensor) -> None:
        numbers = torch.get_rng_state()
        self.call, self.positions = call, positions.clone()
        self.results = tuple(result.clone() for result in call(self.positions))
        torch.set_rng_state(numbers)

    def __call__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        self.positions.copy_(positions)
        for mine, result in zip(self.results, self.call(self.positions), strict=True):
            mine.copy_(result)
        return self.results[0], self.results[1]


@pytest.fixture
def capture(device: str) -> Capture:
    return CapturedCall if device == "cuda" else Recorded


def frozen(device: str, model: Model, molecule: Molecule, **options: Any) -> torch.jit.ScriptModule:
    steady: dict[str, Any] = {"offset": "none", "seed": 4}
    return torch.jit.freeze(bind(model, molecule, ForceOptions(**steady | options)).to(device).eval())


@pytest.mark.parametrize("forces", ["direct", "conservative"])
@pytest.mark.parametrize("offset", ["none", "hashed"])
@pytest.mark.parametrize("orientations", [1, 12])
@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_replays_are_the_plain_calls(
    device: str,
    capture: Capture,
    trained: Model,
    with_energy: Model,
    ethanol: Molecule,
    structures: Structures,
    precision: str,
    orientations: int,
    offset: str,
    forces: str,
) -> None:
    model = with_energy if forces == "conservative" else trained
    plain = frozen(device, model, ethanol, precision=precision, orientations=orientations, offset=offset, forces=forces)
    graphed = GraphedCall(plain, torch.device(device), capture)
    for x in (*structures, structures[0]):
        given = torch.tensor(x)
        energy, found = (result.clone() for result in plain(given.to(device)))
        for where in ("cpu", device):
            replayed_energy, replayed = graphed(given.to(where))
            assert float((replayed - found).abs().max()) <= 1e-12 * float(found.abs().max())
            assert float(replayed_energy) == pytest.approx(float(energy), rel=1e-12)


def test_hashed_rotations_are_the_same_at_every_replay_of_a_structure(
    device: str, capture: Capture, trained: Model, ethanol: Molecule, structures: Structures
) -> None:
    graphed = GraphedCall(frozen(device, trained, ethanol, offset="hashed"), torch.device(device), capture)
    first, other, again = (graphed(torch.tensor(structures[i]))[1].clone() for i in (0, 1, 0))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_random_rotations_are_fresh_at_every_replay_and_those_of_plain_calls(
    device: str, capture: Capture, trained: Model, ethanol: Molecule, structures: Structures
) -> None:
    plain = frozen(device, trained, ethanol, offset="random")
    graphed, x = GraphedCall(plain, torch.device(device), capture), torch.tensor(structures[0], device=device)
    torch.manual_seed(7)
    expected = torch.stack([plain(x)[1] for _ in range(5)])
    torch.manual_seed(7)
    found = torch.stack([graphed(x)[1].clone() for _ in range(5)])  # the first of them captures
    scale = float(expected.abs().max())
    assert float((found - expected).abs().max()) < 1e-12 * scale
    for i in range(5):
        for j in range(i):
            assert float((found[i] - found[j]).abs().max()) > 1e-6 * scale
    torch.manual_seed(7)
    torch.rand(1, device=device)
    assert not torch.equal(graphed(x)[1], found[0])  # a replay goes on where the generator stands


class Waits(torch.nn.Module):
    """What no graph can hold: the host waits for a number. It also draws some."""

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        noise = torch.randn([3], dtype=positions.dtype, device=positions.device)
        return positions.sum(), positions * float(positions.sum()) + noise


def refuses(call: ForceCall, positions: Tensor) -> ForceCall:
    raise RuntimeError("operation not permitted\nwhen stream is capturing")


def test_what_cannot_be_captured_runs_as_it_is_after_one_warning(device: str, structures: Structures) -> None:
    plain = torch.jit.script(Waits()).to(device)
    graphed = GraphedCall(plain, torch.device(device), CapturedCall if device == "cuda" else refuses)
    x = torch.tensor(structures[0])
    torch.manual_seed(7)
    expected = [plain(x.to(device))[1] for _ in range(3)]
    torch.manual_seed(7)
    with pytest.warns(UserWarning, match="without a CUDA graph") as caught:
        found = [graphed(x)[1]]
    assert len(caught) == 1 and "\n" not in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found += [graphed(x)[1] for _ in range(2)]
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.equal(mine, theirs)


def test_where_a_graph_is_the_default(trained: Model, ethanol: Molecule) -> None:
    one, sixty = (
        bind(trained, Species(ethanol.atomic_numbers), ForceOptions(orientations=orientations, offset="none"))
        for orientations in (1, 60)
    )
    largest = int(MOST_PAIRS**0.5)
    assert wants_graph(None, one, largest, "cuda") and not wants_graph(None, one, largest + 1, "cuda")
    assert not wants_graph(None, sixty, largest, "cuda:1") and wants_graph(None, sixty, largest // 8, "cuda:1")
    assert wants_graph(True, sixty, 10 * largest, "cuda") and not wants_graph(False, one, 1, "cuda")
    assert not wants_graph(True, one, 1, "cpu")


@pytest.mark.parametrize("offset", ["none", "hashed"])
@pytest.mark.parametrize("orientations", [1, 12])
def test_in_openmm_both_backends_give_the_same_with_and_without(
    choice: PlatformChoice,
    backend: str,
    trained: Model,
    ethanol: Molecule,
    structures: Structures,
    orientations: int,
    offset: str,
) -> None:
    module = bind(
        trained, Species(ethanol.atomic_numbers), ForceOptions(orientations=orientations, offset=offset, seed=4)
    )
    found = []
    for asked in (False, True):
        system = make_system([12.0] * 9)
        force = add_force(system, module, backend, choice.device, asked)
        graphed = asked and choice.device == "cuda"
        if backend == "torch":
            assert force.getProperties()["useCUDAGraphs"] == str(graphed).lower()
        else:
            assert isinstance(force.callback.module, GraphedCall) == graphed
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), choice.platform, choice.properties)
        for x in (*structures, structures[0]):
            context.setPositions(x)
            found.append(context.getState(forces=True).getForces(asNumpy=True)._value)
    plain, captured = np.split(np.array(found), 2)
    # OpenMM's CUDA platform adds forces up in multiples of 2^-32 kJ/mol/nm
    assert np.abs(captured - plain).max() < 1e-11 * np.abs(plain).max()


def test_the_python_backend_calls_a_graph_like_a_module(
    device: str, capture: Capture, with_energy: Model, ethanol: Molecule, structures: Structures
) -> None:
    module = bind(with_energy, Species(ethanol.atomic_numbers), ForceOptions(offset="hashed"))
    compute = PythonCompute(module, device)
    plain = compute.module
    context = openmm.Context(make_system([12.0] * 9), openmm.VerletIntegrator(0.001), reference())
    kept = []
    for call in (plain, GraphedCall(plain, torch.device(device), capture)):
        compute.module = call
        for x in structures:
            context.setPositions(x)
            energy, forces = compute(context.getState(positions=True))
            kept.append((energy, forces.copy()))  # OpenMM copies them too, before it calls again
    for (energy, forces), (graphed_energy, graphed_forces) in zip(kept[:4], kept[4:], strict=True):
        assert graphed_energy == pytest.approx(energy, rel=1e-12)
        assert np.abs(graphed_forces - forces).max() <= 1e-12 * np.abs(forces).max()


def reference() -> Any:
    return openmm.Platform.getPlatformByName("Reference")


def test_a_restart_may_change_its_mind_about_graphs(tmp_path: Path) -> None:
    from mdet_openmm.simulation.restart import MAY_CHANGE, continued, stored
    from mdet_openmm.simulation.settings import NvtSettings, resolved

    settings = resolved(NvtSettings(system=Path("x.xyz"), output=tmp_path, seed=1, cuda_graph=True))
    before = stored(settings)
    assert continued(NvtSettings(system=Path("x.xyz"), cuda_graph=False), before, ["cuda_graph"]).cuda_graph is False
    before.pop("cuda_graph")  # a run of an earlier version
    assert continued(NvtSettings(system=Path("x.xyz")), before, []).cuda_graph is None and "cuda_graph" in MAY_CHANGE
