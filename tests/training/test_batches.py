"""Batches: units, augmentation, and that batch k depends on nothing but the seed and k."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mdet_openmm.data.store import Store
from mdet_openmm.training import batches as batches_module
from mdet_openmm.training.batches import TrainingBatches, augmented, load_batch, random_orthogonal, thinned


def sequence(store: Store, **changes: Any) -> TrainingBatches:
    settings = {"batch_size": 5, "copies": 2, "seed": 1, "n_batches": 40, **changes}
    return TrainingBatches(store, **settings)


def test_units(small_data: Path) -> None:
    store = Store(small_data)
    index = store.by_size("train")[3][:2]
    batch, raw = load_batch(store, index), store.load(index)
    # 1 bohr = 0.529177 Å, 1 Ha/bohr = 51.42207 eV/Å (definitions of the field)
    np.testing.assert_allclose(batch.forces.numpy() * 51.42207, raw.forces, rtol=1e-6)
    bond = np.linalg.norm(raw.positions[0, 0] - raw.positions[0, 1])
    assert torch.dist(batch.positions[0, 0], batch.positions[0, 1]).item() * 0.529177 == pytest.approx(bond, rel=1e-6)
    assert batch.positions.mean(dim=1).abs().max() < 1e-12


def test_random_orthogonal_is_uniform() -> None:
    q = random_orthogonal(20000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(q @ q.transpose(1, 2), torch.eye(3, dtype=torch.float64).expand_as(q))
    determinants = torch.linalg.det(q)
    assert abs(determinants.mean()) < 4 / 20000**0.5
    assert q.mean(dim=0).abs().max() < 4 * (1 / 3 / 20000) ** 0.5
    # each image of a fixed vector is uniform on the sphere: its components are uniform in -1..1
    assert (q[:, 0].square().mean(dim=0) - 1 / 3).abs().max() < 4 * (4 / 45 / 20000) ** 0.5


def test_augmentation_keeps_the_physics(small_data: Path) -> None:
    store = Store(small_data)
    batch = load_batch(store, store.by_size("train")[4][:3])
    turned = augmented(batch, 2, torch.Generator().manual_seed(2))
    assert len(turned.positions) == 6
    for copy in range(2):
        x, f = turned.positions[3 * copy : 3 * copy + 3], turned.forces[3 * copy : 3 * copy + 3]
        torch.testing.assert_close(torch.cdist(x, x), torch.cdist(batch.positions, batch.positions))
        # projections of forces on interatomic vectors are invariants of rotation and reflection
        for i, j in ((0, 1), (1, 2), (3, 0)):
            torch.testing.assert_close(
                (f[:, i] * (x[:, j] - x[:, i])).sum(-1),
                (batch.forces[:, i] * (batch.positions[:, j] - batch.positions[:, i])).sum(-1),
            )
    assert not torch.allclose(turned.positions[:3], turned.positions[3:])


def test_any_step_can_be_entered(small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(small_data)
    every = list(sequence(store))
    late = list(sequence(store, first_batch=25))
    assert len(late) == 15
    monkeypatch.setattr(batches_module, "LARGEST_IN_MEMORY", 0)
    read = list(sequence(store, first_batch=25))
    for a, b, c in zip(every[25:], late, read, strict=True):
        assert torch.equal(a.positions, b.positions) and torch.equal(a.forces, b.forces)
        assert torch.equal(a.positions, c.positions)
    other = sequence(store, seed=2).batch(0)
    assert other.positions.shape != every[0].positions.shape or not torch.equal(other.positions, every[0].positions)


def test_strained_structures_are_thinned_out_by_the_square_of_their_force(small_data: Path) -> None:
    store, force = Store(small_data), 2.0
    frames = store.by_size("train")[3]
    rms = np.sqrt(np.square(store.load(frames).forces).sum(axis=2).mean(axis=1))
    assert (rms < force).any() and (rms > 1.5 * force).any()
    kept = np.array([np.isin(frames, thinned(store, frames, force, seed)) for seed in range(400)])
    assert kept[:, rms < force].all()
    chance = np.minimum(1.0, (force / rms) ** 2)
    np.testing.assert_allclose(kept.mean(axis=0), chance, atol=5 * 0.5 / 20)
    assert abs(kept.mean(axis=0) - chance).mean() < 0.5 / 20
    assert len(thinned(store, frames, 0.0, 1)) == len(frames)
    batches = sequence(store, thin_force=force)
    for group, n in zip(batches.groups, batches.sizes, strict=True):
        np.testing.assert_array_equal(group, thinned(store, store.by_size("train")[n], force, 1))


@pytest.mark.parametrize("power", [0.0, 1.0, 2.5])
def test_sizes_are_drawn_in_proportion_to_a_power_of_theirs(small_data: Path, power: float) -> None:
    batches = sequence(Store(small_data), size_power=power, n_batches=40_000)
    seen = np.bincount(batches.plan, minlength=len(batches.sizes)) * np.array(batches.batch_sizes, dtype=float)
    of_each = seen / [len(group) for group in batches.groups]
    assert len(batches.sizes) > 1
    expected = np.array(batches.sizes, dtype=float) ** -power
    np.testing.assert_allclose(of_each / of_each.sum(), expected / expected.sum(), rtol=0.05)


def test_a_pass_takes_every_frame_once_over_all_ranks(small_data: Path) -> None:
    store = Store(small_data)
    ranks = [sequence(store, rank=r, world_size=2, batch_size=3, n_batches=60) for r in range(2)]
    for group, frames in enumerate(ranks[0].groups):
        steps = np.flatnonzero(ranks[0].plan == group)
        taken = np.concatenate([r.indices(int(s)) for s in steps for r in ranks])
        assert sorted(taken[: len(frames)]) == list(range(len(frames)))


@pytest.mark.parametrize("first", [0, 3])
def test_a_loader_of_several_processes_gives_the_batches_in_their_order(
    small_data: Path, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdet_openmm.training.batches.available_cores", lambda: 4)
    batches = sequence(Store(small_data), first_batch=first, n_batches=first + 7)
    loader = batches.loader(side_by_side=True)
    assert loader.num_workers == 3
    loaded = list(loader)
    assert len(loaded) == 7
    for number, batch in enumerate(loaded, first):
        for found, expected in zip(batch, batches.batch(number), strict=True):
            assert torch.equal(found, expected)
