"""A small labelled data set with a teacher that is a formula, made through the same code as any other."""

from pathlib import Path

import pytest

from mdet_openmm.data.config import (
    DynamicsRun,
    HeldOutConfig,
    LabelConfig,
    MoleculeEntry,
    SamplingConfig,
)
from mdet_openmm.data.label import run_label
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.training.config import TrainConfig


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Water, ammonia and methanol (held out) with GFN2-xTB."""
    path = tmp_path_factory.mktemp("data") / "small.h5"
    config = LabelConfig(
        molecules=(
            MoleculeEntry(smiles="O", name="water"),
            MoleculeEntry(smiles="N", name="ammonia"),
            MoleculeEntry(smiles="CO", name="methanol", split="test"),
        ),
        sampling=SamplingConfig(
            runs=(DynamicsRun(300.0, 1),), frames=20, displaced=10, equilibrate=20.0, interval=5.0, conformers=1
        ),
        held_out=HeldOutConfig(val=3, test=4, unseen=2, frames=2, equilibrate=10.0, interval=5.0),
    )
    run_label(config, path, workers=1)
    return path


@pytest.fixture(scope="session")
def small_config(small_data: Path) -> TrainConfig:
    """A run of seconds."""
    return TrainConfig(
        name="small",
        data=small_data,
        network=NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=16, l_max=2),
        steps=24,
        batch_size=6,
        learning_rate=3e-3,
        warmup_steps=4,
        validate_every=12,
        checkpoint_every=5,
        threads=1,
        accelerator="cpu",
    )
