"""Schedules as their formulas say, Muon against torch's own, and runs that branch."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from mdet_openmm.errors import InputError
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.training.config import TrainConfig
from mdet_openmm.training.fit import run_training
from mdet_openmm.training.optimizers import learning_rate_factor, make_optimizer
from mdet_openmm.training.run_folder import newest_checkpoint

SMALL = NetworkConfig(n_layers=2, embd_dim=16, n_heads=2, n_radial=16, l_max=2)


def config(**changes) -> TrainConfig:
    settings = {"name": "x", "data": Path("x.h5"), "network": SMALL, "optimizer": "muon", **changes}
    return TrainConfig(**settings)


def test_constant_schedule_warms_up_stays_and_falls_in_a_line_to_its_end():
    it = config(schedule="constant", steps=100, warmup_steps=10, cooldown_steps=20, final_rate=0.1)
    factors = [learning_rate_factor(s, it) for s in range(101)]
    assert factors[0] == pytest.approx(0.1) and factors[4] == pytest.approx(0.5)
    assert factors[10:81] == [1.0] * 71
    assert factors[90] == pytest.approx(0.1 + 0.9 * 0.5) and factors[100] == pytest.approx(0.1)
    endless = config(schedule="constant", steps=100, warmup_steps=10)
    assert [learning_rate_factor(s, endless) for s in range(10, 100)] == [1.0] * 90


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cooldown_steps": 5}, "schedule: constant"),
        ({"schedule": "constant", "steps": 10, "cooldown_steps": 11}, "more than all"),
        ({"accumulate": 0}, "accumulate"),
        ({"muon_learning_rate": 0.0}, "muon_learning_rate"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        config(**changes)


def test_muon_steps_the_matrices_of_the_layers_and_adamw_the_rest():
    torch.manual_seed(0)
    network = EdgeTransformer(SMALL)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = make_optimizer(network, config(learning_rate=1e-3, muon_learning_rate=1e-2, weight_decay=0.0))
    generator = torch.Generator().manual_seed(1)
    for p in network.parameters():
        p.grad = torch.randn(p.shape, generator=generator)
    optimizer.step()
    for name, p in network.named_parameters():
        change = p.detach() - before[name]
        if name.startswith("layers.") and p.ndim == 2:
            # orthogonal, of an RMS of 0.2 times the rate (arXiv 2502.16982), to Newton-Schulz's accuracy
            assert change.square().mean().sqrt() == pytest.approx(0.2 * 1e-2, rel=0.3)
            values = torch.linalg.svdvals(change)
            assert values.max() / values.min() < 3.0
        else:  # AdamW's first step is the sign of the gradient times the rate
            assert p.grad is not None
            torch.testing.assert_close(change, -1e-3 * p.grad.sign(), rtol=1e-3, atol=1e-6)


@pytest.fixture
def muon(small_config: TrainConfig) -> TrainConfig:
    return dataclasses.replace(
        small_config, optimizer="muon", schedule="constant", steps=12, accumulate=2, warmup_steps=2, checkpoint_every=4,
        validate_every=6, batch_pairs=40,
    )  # fmt: skip


def read(run: Path) -> list[str]:
    return [r for r in (run / "loss.csv").read_text().splitlines()[1:] if r.split(",")[1] != ""]


def test_a_run_goes_on_where_it_was_and_a_branch_cools_down(tmp_path: Path, muon: TrainConfig):
    run_training(muon, model_folder=tmp_path / "a", run_folder=tmp_path / "run-a", quiet=True)
    rows = read(tmp_path / "run-a")
    assert [int(r.split(",")[0]) for r in rows] == list(range(12))  # one row a step, whatever makes a step
    assert "of up to 12 structures" in (tmp_path / "a" / "README.md").read_text()  # two batches of six
    # the same run, told to end earlier, and told to go on
    short = dataclasses.replace(muon, steps=8)
    run_training(short, model_folder=tmp_path / "b8", run_folder=tmp_path / "run-b", quiet=True)
    run_training(muon, model_folder=tmp_path / "b", run_folder=tmp_path / "run-b", restart=True, quiet=True)
    assert read(tmp_path / "run-b") == rows
    assert load_model(tmp_path / "a").sha256 == load_model(tmp_path / "b").sha256
    # a branch: the same weights at its start, rates that fall, a folder of its own
    run_training(
        muon, model_folder=tmp_path / "c", run_folder=tmp_path / "run-c", continue_from=tmp_path / "run-a", cooldown=4,
        quiet=True,
    )  # fmt: skip
    branch = read(tmp_path / "run-c")
    assert [int(r.split(",")[0]) for r in branch] == [12, 13, 14, 15]
    rates = [float(r.split(",")[2]) for r in branch]
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.3 * rates[0]
    newest = newest_checkpoint(tmp_path / "run-a" / "checkpoints")
    assert newest is not None and newest.stem == "step12"
    assert load_model(tmp_path / "c").sha256 != load_model(tmp_path / "a").sha256


def test_what_cannot_be_continued_is_refused(tmp_path: Path, muon: TrainConfig):
    folders: dict[str, Any] = {"model_folder": tmp_path / "m", "run_folder": tmp_path / "r", "quiet": True}
    with pytest.raises(InputError, match="no checkpoint"):
        run_training(muon, continue_from=tmp_path / "nowhere", **folders)
    run_training(
        dataclasses.replace(muon, steps=4), model_folder=tmp_path / "a", run_folder=tmp_path / "run", quiet=True
    )
    with pytest.raises(InputError, match="has done 4 steps"):
        run_training(dataclasses.replace(muon, steps=4), continue_from=tmp_path / "run", **folders)
    cosine = dataclasses.replace(muon, schedule="cosine")
    with pytest.raises(InputError, match="schedule: constant"):
        run_training(cosine, continue_from=tmp_path / "run", cooldown=3, **folders)
    assert not (tmp_path / "m").exists() and not (tmp_path / "r").exists()
