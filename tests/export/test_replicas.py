"""Forces of many copies in one call: those of as many calls of one."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import Model, load_model, save_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer

ETHANOL = Species([8, 6, 6, 1, 1, 1, 1, 1, 1])
SEEDS = (3, 1 << 40, 17, 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    torch.manual_seed(1)
    shape = NetworkConfig(n_layers=2, embd_dim=16, n_heads=2, n_radial=8, l_max=2, energy_head=True)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, EdgeTransformer(shape), elements=[1, 6, 8], training={}, metrics={}, card="random weights")
    return load_model(folder)


def copies() -> torch.Tensor:
    return 0.1 * torch.randn(4, 9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("orientations", [1, 12])
@pytest.mark.parametrize("offset", ["none", "hashed"])
@pytest.mark.parametrize("forces", ["direct", "conservative"])
def test_each_copy_has_the_forces_that_it_has_alone(model: Model, orientations: int, offset: str, forces: str) -> None:
    options = ForceOptions(orientations=orientations, offset=offset, forces=forces)
    x = copies()
    energy, found = bind(model, ETHANOL, options, SEEDS)(x.flatten(0, 1))
    alone = [bind(model, ETHANOL, replace(options, seed=s))(each) for s, each in zip(SEEDS, x, strict=True)]
    scale = max(float(f.abs().max()) for _, f in alone)
    expected = torch.cat([f for _, f in alone])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10 * scale)
    assert float(energy) == pytest.approx(sum(float(e) for e, _ in alone), rel=1e-12)
    if offset == "hashed" and forces == "direct":  # a copy has its own rotation, and the others' seeds do not count
        other = bind(model, ETHANOL, options, (3, 5, 5, 5))(x.flatten(0, 1))[1]
        torch.testing.assert_close(other[:9], found[:9], rtol=0, atol=1e-10 * scale)
        assert (other[9:] - found[9:]).abs().max() > 1e-6 * scale


def test_a_copy_that_is_not_finite_spoils_no_other(model: Model, tmp_path: Path) -> None:
    module = bind(model, ETHANOL, ForceOptions(), SEEDS)
    x = copies()
    before = module(x.flatten(0, 1))[1].view(4, 9, 3)
    x[2, 4, 1] = float("nan")
    after = module(x.flatten(0, 1))[1].view(4, 9, 3)
    assert after[2].isnan().any()
    assert torch.equal(after[[0, 1, 3]], before[[0, 1, 3]])


def test_random_rotations_differ_between_copies(model: Model) -> None:
    module = bind(model, ETHANOL, ForceOptions(offset="random"), SEEDS)
    same = copies()[:1].expand(4, 9, 3)
    found = module(same.reshape(36, 3))[1].view(4, 9, 3)
    assert all((found[i] - found[j]).abs().max() > 1e-6 * found.abs().max() for i in range(4) for j in range(i))
