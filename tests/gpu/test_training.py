"""Training and its evaluation on a GPU: what is measured there is what a CPU measures."""

import json
from pathlib import Path

import numpy as np
import pytest

from mdet_openmm.conversion.convert import convert
from mdet_openmm.conversion.settings import ConvertSettings
from mdet_openmm.data.store import Store
from mdet_openmm.evaluation.evaluate import evaluate as evaluate_with_page
from mdet_openmm.evaluation.settings import EvaluateSettings
from mdet_openmm.export.model_folder import load_model, save_model
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.training.config import TrainConfig
from mdet_openmm.training.evaluate import evaluate
from mdet_openmm.training.fit import run_training


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Shaken water on springs; RDKit and tblite are not where GPUs are."""
    rng = np.random.default_rng(0)
    x0 = np.array([[0, 0, 0.12], [0, 0.76, -0.47], [0, -0.76, -0.47]])
    x = (x0 + rng.normal(scale=0.05, size=(60, 3, 3))).astype(np.float32)
    forces, energies = -20.0 * (x - x0), 10.0 * np.square(x - x0).sum(axis=(1, 2))
    files = [tmp_path / "train.npz", tmp_path / "test.npz"]
    for path, rows in zip(files, (slice(20, None), slice(0, 20)), strict=True):
        labels = {"positions": x[rows], "forces": forces[rows], "energies": energies[rows]}
        np.savez(path, atomic_numbers=np.array([8, 1, 1], dtype=np.uint8), **labels)
    dest = tmp_path / "water.h5"
    convert(ConvertSettings(sources=(files[0],), test_files=(files[1],), dest=dest, val=0.2))
    return dest


@pytest.mark.parametrize(("precision", "compiled"), [("fp32", False), ("bf16", False), ("bf16", True)])
def test_a_model_trained_there_has_the_errors_that_a_cpu_finds(
    device: str, data: Path, tmp_path: Path, precision: str, compiled: bool
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
        compile=compiled,
        accelerator=device,
        validate_every=10,
    )
    folder = run_training(config, model_folder=tmp_path / "model", run_folder=tmp_path / "run", quiet=True)
    there = json.loads((folder / "metrics.json").read_text())["test"]["all"]
    here = evaluate(load_model(folder).network, Store(data), ("test",))["test"]["all"]
    assert there["e_eq_kcal_mol_A"] > 0 and there["lambda"] > 0
    assert there == pytest.approx(here, rel=2e-3, abs=2e-3)


@pytest.mark.parametrize("orientations", [1, 12])
def test_mdet_evaluate_finds_the_errors_that_a_cpu_finds(
    device: str, data: Path, tmp_path: Path, orientations: int
) -> None:
    shape = NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=8, l_max=2, energy_head=True, force_scale=0.02)
    save_model(tmp_path / "model", EdgeTransformer(shape), elements=(1, 8), training={}, metrics={}, card="")
    found = []
    for k, place in enumerate((device, "cpu")):
        settings = EvaluateSettings(
            model=str(tmp_path / "model"), data=data, device=place, orientations=orientations, lambda_frames=3,
            workers=1, output=tmp_path / str(k), quiet=True,
        )  # fmt: skip
        found.append(evaluate_with_page(settings)["methods"][0])
    for key in ("force_mae_meV_A", "force_rmse_meV_A", "energy_mae_meV_atom", "e_eq_kcal_mol_A", "lambda"):
        assert found[0][key] == pytest.approx(found[1][key], rel=1e-6) and found[0][key] > 0
