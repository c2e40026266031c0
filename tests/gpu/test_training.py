"""Training and its evaluation on a GPU: what is measured there is what a CPU measures."""

import json
from pathlib import Path

import md17
import numpy as np
import pytest

from mdet_openmm.data.store import Store
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.training.config import TrainConfig
from mdet_openmm.training.evaluate import evaluate
from mdet_openmm.training.fit import run_training


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Shaken water on springs; RDKit and tblite are not where GPUs are."""
    rng = np.random.default_rng(0)
    x0 = np.array([[0, 0, 0.12], [0, 0.76, -0.47], [0, -0.76, -0.47]])
    x = (x0 + rng.normal(scale=0.05, size=(60, 3, 3))).astype(np.float32)
    pool = {"atomic_numbers": np.array([8, 1, 1], dtype=np.uint8), "positions": x, "forces_md17": -3.0 * (x - x0)}
    pool |= {"energies_md17": np.arange(60.0), "test_01": np.arange(0, 60, 3)}
    pool["forces_md17"] = pool["forces_md17"].astype(np.float32)
    return md17.write_data(pool, "water", tmp_path / "water.h5", quick=True)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_model_trained_there_has_the_errors_that_a_cpu_finds(
    device: str, data: Path, tmp_path: Path, precision: str
) -> None:
    config = TrainConfig(
        name="water",
        data=data,
        network=NetworkConfig(n_layers=2, embd_dim=16, n_heads=2, n_radial=16, l_max=2),
        steps=20,
        batch_size=8,
        learning_rate=1e-2,
        warmup_steps=5,
        precision=precision,
        accelerator=device,
        validate_every=10,
    )
    folder = run_training(config, model_folder=tmp_path / "model", run_folder=tmp_path / "run", quiet=True)
    there = json.loads((folder / "metrics.json").read_text())["test"]["all"]
    here = evaluate(load_model(folder).network, Store(data), ("test",))["test"]["all"]
    assert there["e_eq_kcal_mol_A"] > 0 and there["lambda"] > 0
    assert there == pytest.approx(here, rel=2e-3, abs=2e-3)
