"""A run that is killed and resumed is the run that was not."""

import csv
import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mdet_openmm.data.store import Store
from mdet_openmm.errors import InputError, RunStopped, exit_status
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import load_model, save_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.training.batches import Batch, load_batch
from mdet_openmm.training.config import FINETUNE_DEFAULTS, TrainConfig
from mdet_openmm.training.fit import run_training
from mdet_openmm.training.module import ForceTraining
from mdet_openmm.training.optimizers import learning_rate_factor
from mdet_openmm.training.run_folder import stored


def losses(run: Path) -> dict[int, str]:
    with (run / "loss.csv").open() as file:
        return {int(row["step"]): row["loss"] for row in csv.DictReader(file) if row["loss"]}


def train(config: TrainConfig, folder: Path, **options: Any) -> None:
    run_training(config, model_folder=folder / "model", run_folder=folder / "run", quiet=True, **options)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, small_config: TrainConfig) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    train(small_config, folder)
    return folder


def assert_the_same(folder: Path, unbroken: Path) -> None:
    assert losses(folder / "run") == losses(unbroken / "run")
    assert load_model(folder / "model").sha256 == load_model(unbroken / "model").sha256


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_goes_on_with_the_same_curve(
    how: signal.Signals, tmp_path: Path, small_config: TrainConfig, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = ForceTraining.training_step

    def interrupting(self: ForceTraining, *arguments: Any) -> Any:
        if self.global_step == 13:
            os.kill(os.getpid(), how)
        return step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ForceTraining, "training_step", interrupting)
        assert exit_status(lambda: train(small_config, tmp_path)) == 130
    assert not (tmp_path / "model").exists() and len(losses(tmp_path / "run")) == 14
    train(small_config, tmp_path, restart=True)
    assert_the_same(tmp_path, unbroken)


SLOW = """
import sys, time
from mdet_openmm.cli import main
from mdet_openmm.training.progress import Progress
before = Progress.on_train_batch_end
def wait(self, trainer, *args):
    before(self, trainer, *args)
    if trainer.global_step >= 13:
        time.sleep(0.5)
Progress.on_train_batch_end = wait
sys.exit(main(sys.argv[1:]))
"""


def test_killed_it_goes_on_with_the_same_curve(tmp_path: Path, small_config: TrainConfig, unbroken: Path) -> None:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(stored(small_config)))
    words = ["train", "small.yaml", "--output", "model", "--run-folder", "run", "--quiet"]
    process = subprocess.Popen([sys.executable, "-c", SLOW, *words], cwd=tmp_path)
    deadline = time.time() + 120
    while len(losses(tmp_path / "run") if (tmp_path / "run/loss.csv").exists() else {}) < 13:
        assert time.time() < deadline and process.poll() is None
        time.sleep(0.1)
    process.kill()
    assert process.wait(timeout=60) == -signal.SIGKILL
    assert not (tmp_path / "model").exists()
    # a checkpoint that the crash cut off is passed over
    (tmp_path / "run/checkpoints/step12.ckpt").write_bytes(b"half a checkpoint")
    train(small_config, tmp_path, restart=True)
    assert_the_same(tmp_path, unbroken)


def test_the_loss_falls_and_the_folder_is_complete(unbroken: Path) -> None:
    values = [float(v) for _, v in sorted(losses(unbroken / "run").items())]
    assert len(values) == 24
    assert sum(values[-4:]) < 0.9 * sum(values[:4])
    names = {p.name for p in (unbroken / "model").iterdir()}
    assert {"network.pt", "weights.safetensors", "config.yaml", "metrics.json", "README.md", "manifest.json"} <= names
    card = (unbroken / "model/README.md").read_text()
    assert "methanol" in card and "never saw" in card


def test_exported_network_is_the_average(unbroken: Path) -> None:
    checkpoint = torch.load(unbroken / "run/checkpoints/step20.ckpt", weights_only=True)["state_dict"]
    raw = {k.removeprefix("network."): v for k, v in checkpoint.items() if k.startswith("network.")}
    average = {k.removeprefix("average.module."): v for k, v in checkpoint.items() if k.startswith("average.module.")}
    assert raw.keys() == average.keys()
    assert any(not torch.equal(raw[k], average[k]) for k in raw)
    scripted = torch.jit.load(unbroken / "model/network.pt")
    model = load_model(unbroken / "model")
    z, x = torch.tensor([[8, 1, 1]]), torch.randn(1, 3, 3, dtype=torch.float64)
    zero, one = torch.tensor([0]), torch.tensor([1])
    torch.testing.assert_close(scripted(z, x, zero, one)[1], model.network(z, x, zero, one)[1], rtol=1e-5, atol=1e-9)


def test_finetuning_starts_from_the_weights(tmp_path: Path, small_config: TrainConfig, unbroken: Path) -> None:
    config = dataclasses.replace(
        small_config, name="tuned", start_from=str(unbroken / "model"), steps=1, learning_rate=1e-12, warmup_steps=1
    )
    run_training(config, model_folder=tmp_path / "tuned", run_folder=tmp_path / "run", quiet=True)
    before, after = load_model(unbroken / "model"), load_model(tmp_path / "tuned")
    assert after.network.config == before.network.config
    for name, tensor in before.network.state_dict().items():
        torch.testing.assert_close(after.network.state_dict()[name], tensor, rtol=0, atol=1e-7)
    assert (FINETUNE_DEFAULTS["steps"], FINETUNE_DEFAULTS["learning_rate"]) == (2000, 5e-5)


def test_nothing_is_overwritten(tmp_path: Path, small_config: TrainConfig) -> None:
    model, run = tmp_path / "model", tmp_path / "run"
    model.mkdir()
    with pytest.raises(InputError, match="not overwritten"):
        run_training(small_config, model_folder=model, run_folder=run)
    model.rmdir()
    run.mkdir()
    (run / "config.yaml").write_text("steps: 3\n")
    with pytest.raises(InputError, match="--restart"):
        run_training(small_config, model_folder=model, run_folder=run)
    with pytest.raises(InputError, match="steps"):
        run_training(small_config, model_folder=model, run_folder=run, restart=True)
    with pytest.raises(InputError, match="energy_head"):
        changed = dataclasses.replace(small_config, energy_weight=1.0)
        run_training(changed, model_folder=model, run_folder=tmp_path / "other")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", -30),
        ("batch_size", 0),
        ("learning_rate", float("nan")),
        ("name", "a/b"),
        ("ema_decay", 1.0),
        ("precision", "fp16"),
        ("optimizer", "adam"),
        ("schedule", "linear"),
        ("train_only", "force"),
        ("accelerator", "gpu"),
        ("clip_norm", 0.0),
        ("weight_decay", float("nan")),
        ("penalties_from", 1.0),
        ("steps", 10.0),
        ("compile", 1),
    ],
)
def test_settings_that_cannot_be_trained(field: str, value: Any, small_config: TrainConfig) -> None:
    with pytest.raises(InputError, match=field):
        dataclasses.replace(small_config, **{field: value})


def test_frozen_layers_keep_their_weights_to_the_bit(tmp_path: Path, small_config: TrainConfig) -> None:
    torch.manual_seed(0)
    before = EdgeTransformer(dataclasses.replace(small_config.network, n_layers=3, force_scale=0.02))
    save_model(tmp_path / "before", before, elements=(1, 6, 7, 8), training={}, metrics={}, card="")
    config = dataclasses.replace(small_config, start_from=str(tmp_path / "before"), steps=3, frozen_layers=2)
    folders: dict[str, Any] = {"model_folder": tmp_path / "model", "run_folder": tmp_path / "run", "quiet": True}
    after = load_model(run_training(config, **folders)).network.state_dict()
    same = {name for name, value in before.float().state_dict().items() if torch.equal(value, after[name].float())}
    learnt = {name for name in after if name.startswith(("layers.2", "decomposer", "force_head"))}
    assert not same & learnt and set(after) - same == learnt
    with pytest.raises(InputError, match="leaves none of the network's 3 layers"):
        run_training(
            dataclasses.replace(config, frozen_layers=3), model_folder=tmp_path / "m", run_folder=tmp_path / "r"
        )
    with pytest.raises(InputError, match="frozen_layers needs start_from"):
        dataclasses.replace(small_config, frozen_layers=1)
    assert not (tmp_path / "m").exists() and not (tmp_path / "r").exists()


def test_a_model_that_is_not_there_leaves_no_folder(tmp_path: Path, small_config: TrainConfig) -> None:
    config = dataclasses.replace(small_config, start_from=str(tmp_path / "absent"))
    with pytest.raises(InputError, match="absent"):
        run_training(config, model_folder=tmp_path / "model", run_folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_untrained_charge_is_refused(unbroken: Path) -> None:
    model = load_model(unbroken / "model")
    assert model.trained_on("charge") == (0,) and model.trained_on("multiplicity") == (1,)
    bind(model, Species([8, 1, 1]), ForceOptions(offset="none"))
    for charge, multiplicity in ((1, 1), (0, 3)):
        with pytest.raises(InputError, match="not trained on"):
            bind(model, Species([8, 1, 1], charge, multiplicity), ForceOptions(offset="none"))


def test_a_loss_that_is_not_finite_stops_with_the_batch(tmp_path: Path, small_config: TrainConfig) -> None:
    config = dataclasses.replace(small_config, learning_rate=1e30, clip_norm=1e30, warmup_steps=0)
    with pytest.raises(RunStopped, match="step"):
        run_training(config, model_folder=tmp_path / "model", run_folder=tmp_path / "run", quiet=True)
    (saved,) = (tmp_path / "run").glob("not_finite_step*.pt")
    assert len(torch.load(saved, weights_only=True)["batch"]) == len(Batch._fields)
    assert not (tmp_path / "model").exists()


def test_schedule() -> None:
    config = TrainConfig(name="x", data=Path("x"), steps=1000, warmup_steps=100, final_rate=0.1)
    factors = [learning_rate_factor(s, config) for s in range(1001)]
    assert factors[0] == 0.01 and factors[99] == 1.0  # update 0 does not run at the full rate
    assert factors[550] == pytest.approx(0.55) and factors[1000] == pytest.approx(0.1)
    assert all(a >= b for a, b in itertools.pairwise(factors[99:]))


def test_energy_head_learns_what_the_elements_do_not_explain(tmp_path: Path, small_config: TrainConfig) -> None:
    config = dataclasses.replace(
        small_config, network=dataclasses.replace(small_config.network, energy_head=True), energy_weight=0.1, steps=8
    )
    run_training(config, model_folder=tmp_path / "model", run_folder=tmp_path / "run", quiet=True)
    model = load_model(tmp_path / "model")
    assert model.has_energy
    store = Store(config.data)
    batch = load_batch(store, store.by_size("train")[3][:5])
    energy, _ = model.network(batch.atomic_numbers, batch.positions, batch.charge, batch.multiplicity)
    # water is about -5.07 Ha in GFN2-xTB: the reference energies carry that, the head the rest
    assert batch.energy.mean() < -4.9
    assert (energy - batch.energy).abs().max() < 1.0


def test_two_processes(tmp_path: Path, small_data: Path) -> None:
    """DDP on two CPU processes: each step uses both ranks' frames, and one model is written."""
    (tmp_path / "two.yaml").write_text(
        f"""
name: two
data: {small_data}
network: {{n_layers: 1, embd_dim: 16, n_heads: 2, n_radial: 16, l_max: 2}}
steps: 6
batch_size: 4
warmup_steps: 1
validate_every: 6
checkpoint_every: 3
devices: 2
accelerator: cpu
"""
    )
    command = [sys.executable, "-m", "mdet_openmm.cli", "train", "two.yaml", "--output", "model", "--run-folder", "run"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(losses(tmp_path / "run")) == 6
    load_model(tmp_path / "model")


@pytest.mark.parametrize("conserving", [False, True])
def test_fine_tuning_a_network_of_the_authors_kind(tmp_path: Path, small_config: TrainConfig, conserving: bool) -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(
        small_config.network, directions="direct", energy_head=True, force_head=not conserving, numerics="authors_v2"
    )
    network = EdgeTransformer(config)
    save_model(tmp_path / "old", network, elements=range(1, 101), training={}, metrics={}, card="")
    tuned = dataclasses.replace(
        small_config, name="tuned", start_from=str(tmp_path / "old"), steps=1, learning_rate=1e-12, warmup_steps=1
    )
    if conserving:
        with pytest.raises(InputError, match="no force_head"):
            run_training(tuned, model_folder=tmp_path / "new", run_folder=tmp_path / "run", quiet=True)
        return
    run_training(tuned, model_folder=tmp_path / "new", run_folder=tmp_path / "run", quiet=True)
    new = load_model(tmp_path / "new")
    assert not new.has_energy and new.network.config.numerics == "authors_v2"
    before = network.eval().state_dict()
    for key, value in new.network.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=1e-6)
