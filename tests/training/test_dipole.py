"""Training on dipoles: their origin and their turning, and a head alone on forces that stay as they are."""

import dataclasses
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from mdet_openmm.cli import main
from mdet_openmm.data.layout import FrameBlock, MoleculeRow, write_dataset
from mdet_openmm.data.store import Store
from mdet_openmm.errors import InputError
from mdet_openmm.export.model_folder import load_model, save_model
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.training.batches import augmented, load_batch
from mdet_openmm.training.config import TrainConfig
from mdet_openmm.training.evaluate import evaluate
from mdet_openmm.training.fit import run_training
from mdet_openmm.training.module import ForceTraining

DEBYE = 4.803204  # per e Å
SHIFT = np.array([3.0, -1.0, 2.0])


def point_charges(path: Path, charges: list[float], *, unknown: bool = False) -> Path:
    """Twelve frames of O, H and C with fixed point charges, and the same frames away from the origin."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 3, 3)).astype(np.float32)
    x = np.concatenate([x, x + SHIFT]).astype(np.float32)
    dipole = np.einsum("a,fax->fx", charges, x)
    blocks = [
        FrameBlock(
            molecule=0,
            task=0,
            split=split,
            atomic_numbers=np.array([8, 1, 6]),
            positions=x,
            forces=np.ones_like(x),
            energy=np.zeros(24),
            dipole=np.full_like(dipole, np.nan) if unknown else dipole,
            temperature=np.full(24, 300.0, dtype=np.float32),
            kind=np.zeros(24, dtype=np.uint8),
            failures=np.zeros(3, dtype=np.int64),
            message="",
        )
        for split in (0, 1, 2)
    ]
    row = MoleculeRow("three charges", "", "", round(sum(charges)), 1, "train", 3)
    write_dataset(path, [row], blocks, {"teacher": "point charges"})
    return path


@pytest.mark.parametrize("charges", [[0.4, -0.7, 0.3], [1.0, 0.5, -0.5]], ids=["neutral", "cation"])
def test_dipoles_are_about_the_centroid_wherever_the_molecule_lies(tmp_path: Path, charges: list[float]) -> None:
    store = Store(point_charges(tmp_path / "set.h5", charges))
    batch = load_batch(store, np.arange(24))
    about_centroid = torch.einsum("a,fax->fx", torch.tensor(charges, dtype=torch.float64), batch.positions)
    torch.testing.assert_close(batch.dipole, about_centroid, rtol=0, atol=2e-5)
    torch.testing.assert_close(batch.dipole[:12], batch.dipole[12:], rtol=0, atol=2e-5)


def test_dipoles_turn_with_the_copies(tmp_path: Path) -> None:
    charges = [0.9, -0.4, -0.5]
    store = Store(point_charges(tmp_path / "set.h5", charges))
    turned = augmented(load_batch(store, np.arange(12)), 3, torch.Generator().manual_seed(1))
    assert (torch.linalg.det(turned.turns) < 0).any() and (torch.linalg.det(turned.turns) > 0).any()
    expected = torch.einsum("a,fax->fx", torch.tensor(charges, dtype=torch.float64), turned.positions)
    torch.testing.assert_close(turned.dipole, expected, rtol=0, atol=2e-5)
    assert not torch.allclose(turned.dipole[:12], turned.dipole[12:24])


def test_unknown_dipoles_do_not_count(tmp_path: Path, small_config: TrainConfig) -> None:
    network = EdgeTransformer(dataclasses.replace(small_config.network, dipole_head=True))
    module = ForceTraining(network, dataclasses.replace(small_config, dipole_weight=1.0), tmp_path)
    store = Store(point_charges(tmp_path / "set.h5", [0.4, -0.7, 0.3]))
    batch = load_batch(store, np.arange(4))
    x, unknown = module.pair_features(batch), torch.full((4, 3), torch.nan)
    part = module.dipole_error(x, batch._replace(dipole=torch.cat([batch.dipole[:1], unknown[1:]])))
    expected = (network.dipole_readout(x, batch.positions)[0] - batch.dipole[0].float()).norm()
    torch.testing.assert_close(part, expected)
    nothing = module.dipole_error(x, batch._replace(dipole=unknown))
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert all(bool(torch.isfinite(p.grad).all()) for p in network.parameters() if p.grad is not None)


@pytest.fixture(scope="module")
def force_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with random weights that has an energy head too, as a model that was trained on cations as well."""
    torch.manual_seed(1)
    shape = NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=16, l_max=2, energy_head=True)
    folder = tmp_path_factory.mktemp("models") / "forces"
    training = {"trained_on": {"charge": [0, 1], "multiplicity": [1]}}
    save_model(folder, EdgeTransformer(shape), elements=(1, 6, 7, 8), training=training, metrics={}, card="")
    return folder


def test_the_head_alone_changes_no_bit_of_the_forces(
    tmp_path: Path, small_data: Path, force_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--steps", "60", "--batch-size", "8", "--train-only", "dipole", "--quiet"]
    folders = ["--output", str(tmp_path / "dipole"), "--run-folder", str(tmp_path / "run")]
    assert main(["finetune", str(force_model), str(small_data), "--name", "dipole", *options, *folders]) == 0
    before, after = load_model(force_model), load_model(tmp_path / "dipole")
    assert after.network.has_dipole and after.has_energy and not before.network.has_dipole
    for key, value in before.network.state_dict().items():
        assert torch.equal(after.network.state_dict()[key], value), key
    given = (torch.tensor([[8, 1, 1]]), torch.randn(1, 3, 3).double(), torch.tensor([0]), torch.tensor([1]))
    for old, new in zip(before.network(*given), after.network(*given), strict=True):
        assert torch.equal(old, new)
    assert after.elements == before.elements
    assert after.trained_on("charge") == (0, 1)  # what the forces know, not what the dipole was shown
    assert after.metadata["training"]["dipole_trained_on"]["charge"] == [0]
    capsys.readouterr()
    molecule = tmp_path / "water.xyz"
    molecule.write_text("3\n\nO 0 0 0.1\nH 0 0.76 -0.48\nH 0 -0.76 -0.48\n")
    assert main(["predict", str(tmp_path / "dipole"), str(molecule)]) == 0
    assert '"dipole_D"' in capsys.readouterr().out


def test_the_head_learns(tmp_path: Path, small_config: TrainConfig) -> None:
    """All of a network with a dipole head, trained on point charges: a vector that it can know exactly."""
    data = point_charges(tmp_path / "set.h5", [0.4, -0.7, 0.3])
    config = dataclasses.replace(
        small_config,
        data=data,
        network=dataclasses.replace(small_config.network, dipole_head=True),
        dipole_weight=1.0,
        steps=150,
        learning_rate=1e-2,
        batch_size=24,
    )
    run_training(config, model_folder=tmp_path / "model", run_folder=tmp_path / "run", quiet=True)
    row = load_model(tmp_path / "model").metadata["metrics"]["test"]["by_molecule"]["three charges"]
    assert row["dipole_mae_12_D"] < 0.5 * row["dipole_reference_rms_D"]
    assert row["dipole_mae_12_D"] == pytest.approx(row["dipole_mae_12_e_A"] * DEBYE, abs=1e-3)
    assert "Dipoles, in D" in (tmp_path / "model/README.md").read_text()


def test_a_network_that_says_zero_has_the_mean_dipole_as_its_error(tmp_path: Path, small_config: TrainConfig) -> None:
    store = Store(point_charges(tmp_path / "set.h5", [0.4, -0.7, 0.3]))
    network = EdgeTransformer(dataclasses.replace(small_config.network, dipole_head=True))
    assert network.dipole_head is not None
    last = network.dipole_head.head.mlp[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.weight.zero_()
    report = evaluate(network, store, ("test",), n_rotations=2)["test"]["all"]
    with h5py.File(tmp_path / "set.h5") as file:
        expected = abs(file["frames/dipole"][:24]).mean()
    assert report["dipole_mae_12_e_A"] == pytest.approx(expected, rel=0.2)  # components of turned vectors
    known = point_charges(tmp_path / "unknown.h5", [0.4, -0.7, 0.3], unknown=True)
    assert "dipole_mae_D" not in evaluate(network, Store(known), ("test",), n_rotations=2)["test"]["all"]


def test_what_cannot_be_trained_is_refused(tmp_path: Path, small_config: TrainConfig, force_model: Path) -> None:
    with pytest.raises(InputError, match="start_from"):
        dataclasses.replace(small_config, train_only="dipole", dipole_weight=1.0)
    with pytest.raises(InputError, match="dipole_weight"):
        dataclasses.replace(small_config, train_only="dipole", start_from="x")
    with pytest.raises(InputError, match="energy_weight"):
        dataclasses.replace(small_config, train_only="dipole", start_from="x", dipole_weight=1.0, energy_weight=1.0)
    folders: dict[str, Any] = {"model_folder": tmp_path / "model", "run_folder": tmp_path / "run", "quiet": True}
    with pytest.raises(InputError, match="dipole_head"):
        run_training(dataclasses.replace(small_config, dipole_weight=1.0), **folders)
    unknown = point_charges(tmp_path / "unknown.h5", [0.4, -0.7, 0.3], unknown=True)
    alone = dataclasses.replace(
        small_config, data=unknown, train_only="dipole", dipole_weight=1.0, start_from=str(force_model)
    )
    with pytest.raises(InputError, match="no dipoles"):
        run_training(alone, **folders)
    assert not (tmp_path / "run").exists() and not (tmp_path / "model").exists()
