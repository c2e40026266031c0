"""The estimate of memory and the refusal of what does not fit."""

from dataclasses import replace
from pathlib import Path

import pytest

from mdet_openmm.errors import InputError
from mdet_openmm.export import memory
from mdet_openmm.export.model_folder import Model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.network.attention import MOST_SCORES
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer

SMALL = NetworkConfig(n_layers=2, embd_dim=64, n_heads=8, energy_head=True)
PUBLISHED = NetworkConfig(n_layers=12, embd_dim=192, n_heads=12)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model("small", Path("."), EdgeTransformer(SMALL), elements=(1, 6), has_energy=True, sha256="0" * 64)


@pytest.mark.parametrize(
    ("n_atoms", "orientations", "precision", "advice"),
    [
        (80, 12, "double", "use --orientations 1 or"),
        (150, 1, "double", "use --precision mixed or"),
        (150, 12, "double", "use --orientations 1 --precision mixed or"),
        (500, 12, "mixed", "use a smaller molecule or"),
    ],
)
def test_the_error_advises_what_would_fit(
    model: Model, n_atoms: int, orientations: int, precision: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "gpu_problem", lambda: "torch sees no CUDA device")
    with pytest.raises(InputError, match=rf"{n_atoms} atoms with {orientations} orientation.* GB of 1\.0 GB.*{advice}"):
        memory.check_memory(model, n_atoms, ForceOptions(precision, orientations), available=10**9)
    memory.check_memory(model, 9, ForceOptions(orientations=12), available=10**9)


@pytest.mark.parametrize("forces", ["direct", "conservative"])
def test_a_gpu_with_the_kernel_takes_what_it_could_not_take_without(
    model: Model, forces: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ForceOptions(forces=forces)
    room = memory.peak_bytes(SMALL, 200, 1, "double", differentiated=forces == "conservative", compiled=True)
    monkeypatch.setattr(memory, "gpu_problem", lambda: "")
    memory.check_memory(model, 200, options, available=room)
    with pytest.raises(InputError, match="200 atoms"):
        memory.check_memory(model, 200, options, available=room - 1)
    monkeypatch.setattr(memory, "gpu_problem", lambda: "no Triton")
    with pytest.raises(InputError, match="200 atoms"):
        memory.check_memory(model, 200, options, available=room)


def test_a_precision_that_there_is_not_has_no_size() -> None:
    with pytest.raises(InputError, match="precision must be one of double, mixed, fp32, not 'fp64'"):
        memory.peak_bytes(SMALL, 9, 1, "fp64")


def test_an_exported_module_does_not_count_on_the_compiled_attention(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = memory.peak_bytes(SMALL, 200, 1, "double", compiled=True)
    monkeypatch.setattr("mdet_openmm.export.memory.available_memory", lambda: 2 * bound)
    memory.check_memory(model, 200, ForceOptions())
    with pytest.raises(InputError, match="memory"):
        memory.check_memory(model, 200, ForceOptions(compiled=False))
    with pytest.raises(InputError, match="memory"):
        memory.check_memory(model, 200, ForceOptions(forces="conservative"))
    bound = memory.peak_bytes(SMALL, 200, 1, "double", differentiated=True, compiled=True)
    memory.check_memory(model, 200, ForceOptions(forces="conservative"))
    with pytest.raises(InputError, match="memory"):
        memory.check_memory(model, 200, ForceOptions(forces="conservative", compiled=False))


def test_the_compiled_attention_needs_memory_with_atoms_squared_only() -> None:
    small, large = (memory.peak_bytes(PUBLISHED, n, 1, "double", compiled=True) for n in (150, 300))
    assert large == 4 * small < 8e9  # measured: 1.2 GB at 300 atoms


def test_scores_do_not_grow_beyond_what_is_held_at_a_time() -> None:
    n = 300
    assert n**3 * 12 > MOST_SCORES
    without = 8 * 40 * n**2 * 192
    assert memory.peak_bytes(PUBLISHED, n, 1, "double") == without + 8 * 4 * MOST_SCORES < 8e9
    assert memory.peak_bytes(SMALL, 50, 12, "double") == 24 * memory.peak_bytes(SMALL, 50, 1, "mixed")
    assert memory.peak_bytes(SMALL, 50, 1, "fp32") == memory.peak_bytes(SMALL, 50, 1, "mixed")


def test_a_gradient_keeps_every_layer() -> None:
    large, small = (memory.peak_bytes(PUBLISHED, n, 1, "double", differentiated=True) for n in (2000, 1000))
    assert 7.5 < large / small <= 8.0
    shape = replace(SMALL, n_layers=4)
    large, small = (memory.peak_bytes(shape, n, 1, "double", differentiated=True, compiled=True) for n in (240, 120))
    assert large == 4 * small and 0.62e9 < small < 2 * 0.62e9  # measured: 0.62 GB


def test_free_memory() -> None:
    assert 10**7 < memory.available_memory() < 10**14
