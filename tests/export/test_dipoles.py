"""Dipoles along a trajectory: the average over orientations, origin, and units."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mdet_openmm.errors import InputError
from mdet_openmm.export import dipoles as module
from mdet_openmm.export.dipoles import dipoles
from mdet_openmm.export.model_folder import Model, load_model, save_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.export.rotations import rotation_group
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer

BOHR = 0.529177210903
NUMBERS = [8, 1, 1, 6]
SPECIES = Species(NUMBERS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    torch.manual_seed(2)
    network = EdgeTransformer(NetworkConfig(n_layers=2, embd_dim=16, n_heads=2, n_radial=8, l_max=3, dipole_head=True))
    folder = tmp_path_factory.mktemp("models") / "dipole"
    save_model(folder, network, elements=(1, 6, 8), training={}, metrics={}, card="")
    return load_model(folder)


def structures(count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, len(NUMBERS), 3)) * 1.3


def test_one_frame_is_the_network(model: Model) -> None:
    x = structures()
    network = load_model(model.path).network.double()
    z, zero, one = torch.tensor([NUMBERS] * 5), torch.zeros(5, dtype=torch.long), torch.ones(5, dtype=torch.long)
    expected = network.dipole(z, torch.from_numpy(x) / BOHR, zero, one).numpy() * BOHR
    got = dipoles(model, SPECIES, x, ForceOptions(precision="double", orientations=1))
    np.testing.assert_allclose(got, expected, rtol=1e-9)
    mixed = dipoles(model, SPECIES, x, ForceOptions(precision="mixed", orientations=1))
    np.testing.assert_allclose(mixed, expected, rtol=0, atol=1e-5 * abs(expected).max())


def test_frames_make_the_average_turn_with_the_group(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Averaged over T the dipole of a structure turned by an element of T is the turned dipole, exactly."""
    x, twelve, one = structures(), ForceOptions(orientations=12), ForceOptions(orientations=1)
    averaged = dipoles(model, SPECIES, x, twelve)
    element = rotation_group(12)[5].numpy()
    np.testing.assert_allclose(dipoles(model, SPECIES, x @ element, twelve), averaged @ element, atol=1e-12)
    single = dipoles(model, SPECIES, x, one)
    assert abs(dipoles(model, SPECIES, x @ element, one) - single @ element).max() > 1e-4
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 1)  # a structure at a time
    np.testing.assert_allclose(dipoles(model, SPECIES, x, twelve), averaged, atol=1e-12)


def test_the_origin_counts_for_charged_molecules_only(model: Model) -> None:
    x, away = structures(), np.array([2.0, 0.0, -1.0])
    for charge in (0, -2):
        there = dipoles(model, Species(NUMBERS, charge), x + away, ForceOptions(orientations=12))
        here = dipoles(model, Species(NUMBERS, charge), x, ForceOptions(orientations=12))
        np.testing.assert_allclose(there - here, np.broadcast_to(charge * away, here.shape), atol=1e-8)


def test_more_frames_are_closer_to_turning_with_the_molecule(model: Model) -> None:
    x, turn = structures(20), Rotation.from_rotvec([0.4, 0.2, -0.5]).as_matrix()
    errors = [
        abs(
            dipoles(model, SPECIES, x @ turn, ForceOptions(precision="mixed", orientations=k))
            - dipoles(model, SPECIES, x, ForceOptions(precision="mixed", orientations=k)) @ turn
        ).mean()
        for k in (1, 12)
    ]
    assert errors[1] < 0.5 * errors[0]


def test_a_precision_that_there_is_not_is_refused(model: Model) -> None:
    with pytest.raises(InputError, match="precision must be one of double, mixed, fp32, not 'fp64'"):
        dipoles(model, SPECIES, structures(1), ForceOptions(precision="fp64"))


def test_a_model_without_the_head_is_refused(tmp_path: Path) -> None:
    network = EdgeTransformer(NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=8, l_max=2))
    save_model(tmp_path / "plain", network, elements=(1, 8), training={}, metrics={}, card="")
    with pytest.raises(InputError, match="no dipole head"):
        dipoles(load_model(tmp_path / "plain"), Species([8, 1, 1]), np.zeros((1, 3, 3)))
