"""The gradient of the energy trained on the forces beside the direct head."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from mdet_openmm.cli import main
from mdet_openmm.data.store import Store
from mdet_openmm.errors import InputError
from mdet_openmm.export.force_module import bind, forces
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.network.gradient import minus_gradient
from mdet_openmm.training.batches import load_batch
from mdet_openmm.training.config import TrainConfig
from mdet_openmm.training.fit import run_training
from mdet_openmm.training.module import ForceTraining

BOTH: dict[str, Any] = {
    "forces": "both", "energy_weight": 0.01, "difference_weight": 1.0, "learning_rate": 3e-3, "batch_size": 6,
    "warmup_steps": 4, "validate_every": 12, "checkpoint_every": 5, "threads": 1, "accelerator": "cpu",
}  # fmt: skip


def both(config: TrainConfig, **changes: Any) -> TrainConfig:
    network = dataclasses.replace(config.network, energy_head=True, energy_pooling="atoms")
    return dataclasses.replace(config, network=network, **{**BOTH, **changes})


def test_the_loss_is_what_it_says_and_so_is_its_slope(small_config: TrainConfig, tmp_path: Path) -> None:
    """Against finite differences in the weights: the gradient is differentiated a second time, layer norms too."""
    config = both(small_config, calm_force=2.0, difference_weight=0.0)
    torch.manual_seed(0)
    network = EdgeTransformer(config.network).double()
    module = ForceTraining(network, config, tmp_path)
    module.log = lambda *args, **options: Any
    store = Store(config.data)
    batch = load_batch(store, store.by_size("train")[4][:3])
    batch = batch._replace(positions=batch.positions.requires_grad_(True))

    def loss() -> torch.Tensor:
        energy, direct = network(batch.atomic_numbers, batch.positions, batch.charge, batch.multiplicity)
        return module._gradient_loss(energy, direct, batch)

    energy = network(batch.atomic_numbers, batch.positions, batch.charge, batch.multiplicity)[0]
    error = (minus_gradient(energy, batch.positions) - batch.forces).norm(dim=-1) * module._calm(batch)
    assert loss().item() == pytest.approx(error.mean().item() / network.config.force_scale, rel=1e-12)
    first: Any = network.layers[0]
    for weight in (first.attention.qkvv.weight, first.norm_out.weight):
        (slope,) = torch.autograd.grad(loss(), weight)
        direction = torch.randn(weight.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        step, values = 1e-5, []
        for sign in (1.0, -2.0):
            with torch.no_grad():
                weight.add_(sign * step * direction)
            values.append(loss().item())
        assert float((slope * direction).sum()) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


def test_the_difference_pulls_the_direct_forces_and_not_the_gradient(small_config: TrainConfig, tmp_path: Path) -> None:
    config = both(small_config, gradient_weight=0.0)
    torch.manual_seed(0)
    network = EdgeTransformer(config.network)
    module = ForceTraining(network, config, tmp_path)
    module.log = lambda *args, **options: Any
    store = Store(config.data)
    batch = load_batch(store, store.by_size("train")[3][:3])
    batch = batch._replace(positions=batch.positions.requires_grad_(True))
    energy, direct = network(batch.atomic_numbers, batch.positions, batch.charge, batch.multiplicity)
    module._gradient_loss(energy, direct, batch).backward()
    assert network.atomic_energies is not None and network.force_head is not None
    own = [p.grad for p in network.atomic_energies.parameters()]
    assert all(g is None or not g.any() for g in own)
    assert any(p.grad is not None and p.grad.any() for p in network.force_head.parameters())


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, small_data: Path) -> Path:
    """The shipped model, which has no energy, tuned by the command."""
    folder = tmp_path_factory.mktemp("models")
    config = folder / "both.yaml"
    every = {"validate_every": 150, "checkpoint_every": 150}
    config.write_text(yaml.safe_dump({**BOTH, **every, "steps": 150, "copies": 1, "learning_rate": 1e-3}))
    where = ["--output", str(folder / "both"), "--run-folder", str(folder / "run"), "--quiet"]
    argv = ["finetune", "mdet-gfn2-mini", str(small_data), "--name", "both", "--config", str(config), *where]
    assert main(argv) == 0
    return folder / "both"


def test_the_gradient_learns_the_forces_and_both_come_near_each_other(tuned: Path, small_data: Path) -> None:
    report = json.loads((tuned / "metrics.json").read_text())["test"]["all"]
    assert report["gradient_mae"] < 0.6 * report["reference_rms"]
    assert report["difference_mae"] < report["mae"] + report["gradient_mae"]
    assert report["gradient_e_eq_kcal_mol_A"] > 0.0
    card = (tuned / "README.md").read_text()
    assert "| MAE, direct | MAE, gradient | MAE, difference | E_eq, gradient | E_eq, difference |" in card
    assert report["gradient_lambda"] == 0.0 < report["lambda"] < report["difference_lambda"] <= 1.0


def test_what_is_reported_is_what_a_bound_force_has(tuned: Path, small_data: Path) -> None:
    """In other orientations, so that only about."""
    store, model = Store(small_data), load_model(tuned)
    chosen = store.by_size("test")[3]
    batch = load_batch(store, chosen)
    frames = store.load(chosen)
    species = Species(batch.atomic_numbers[0].numpy())
    modules = [
        bind(model, species, ForceOptions(offset="none", forces=kind)) for kind in ("conservative", "difference")
    ]
    errors, lacking = [], []
    for x, wanted in zip(frames.positions, frames.forces, strict=True):
        errors.append(np.abs(forces(modules[0], x)[1] - wanted).mean())
        lacking.append(np.abs(forces(modules[1], x)[1]).mean())
    row = json.loads((tuned / "metrics.json").read_text())["test"]["by_molecule"]["water"]
    assert row["gradient_mae"] == pytest.approx(1e3 * float(np.mean(errors)), rel=0.3)
    assert row["difference_mae"] == pytest.approx(1e3 * float(np.mean(lacking)), rel=0.3)


def test_a_resumed_training_is_exact(small_config: TrainConfig, tmp_path: Path) -> None:
    config = both(small_config)

    def losses(run: str, **options: Any) -> str:
        run_training(config, model_folder=tmp_path / f"{run}-model", run_folder=tmp_path / run, quiet=True, **options)
        return (tmp_path / run / "loss.csv").read_text()

    whole = losses("whole")
    losses("broken")
    for path in (tmp_path / "broken" / "checkpoints").glob("*.ckpt"):
        if path.name != "step20.ckpt":
            path.unlink()
    shutil.rmtree(tmp_path / "broken-model")
    assert losses("broken", restart=True) == whole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_only": "energy", "start_from": "x"}, "trains the whole network"),
        ({"energy_weight": 0.0}, "needs energy_weight"),
        ({"energy_from": 10}, "leave out energy_from"),
        ({"compile": True}, "differentiates the layers twice; leave out compile"),
        ({"precision": "bf16"}, "differentiates the layers twice; leave out precision: bf16"),
        ({"forces": "direct"}, "difference_weight needs forces: both"),
    ],
)
def test_what_does_not_go_with_it(small_config: TrainConfig, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        both(small_config, **changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: other", "leave out name; the command line and the model give them"),
        ("network: {n_layers: 3}", "leave out network"),
        ("forces: all", "forces must be one of direct, both"),
        ("stepps: 3", "unknown setting 'stepps'"),
        ("- 1", "expected a mapping of settings"),
    ],
)
def test_a_configuration_that_cannot_be(
    tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(text)
    assert main(["finetune", "x", "x.h5", "--name", "y", "--config", str(tmp_path / "c.yaml")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and "c.yaml" in error
