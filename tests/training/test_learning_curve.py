"""experiments/learning_curve.py: what it fits, and what it trains on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import learning_curve
import numpy as np
import pytest
from learning_curve import Point, kept, subset, table, tenfold

from mdet_openmm.data.store import Store
from mdet_openmm.training.config import TrainConfig


@pytest.mark.parametrize("axis", ["steps", "molecules"])
def test_a_power_law_is_found_and_continued(axis: str) -> None:
    at: list[dict[str, Any]] = [{axis: n, "unseen_mae": 80 * n**-0.3} for n in (1000, 10, 100)]
    points = [replace(Point(1, 5, 7, 9, 1.0, 0.0), **where) for where in at]
    found = tenfold(points, axis)
    assert found["exponent"] == pytest.approx(0.3)
    assert found["unseen_mae_at_tenfold"] == pytest.approx(80 * 10_000**-0.3)
    assert tenfold(points[:1], axis) == {}


def test_shares_are_nested_and_what_is_held_out_stays(small_data: Path, tmp_path: Path) -> None:
    store = Store(small_data)
    half, everything = kept(store, 0.5), kept(store, 1.0)
    assert len(half) == 1 and half < everything == {0, 1}
    part = Store(subset(store, 0.5, tmp_path / "half.h5"))
    (name,) = {store.molecules[i].name for i in half}
    assert [m.name for m in part.molecules] == [m.name for m in store.molecules if m.name in (name, "methanol")]
    for split in ("train", "val", "test", "unseen"):
        names = np.array([store.molecules[i].name for i in store.molecule])
        before = store.indices(split)[np.isin(names[store.indices(split)], [name, "methanol"])]
        after = part.indices(split)
        assert len(before) == len(after) > 0
        for a, b in zip(before, after, strict=True):
            one, other = store.load([a]), part.load([b])
            assert all(np.array_equal(getattr(one, k), getattr(other, k)) for k in ("positions", "forces", "energy"))


def test_trained_points_are_not_trained_again(
    small_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning_curve, "ROOT", tmp_path)
    config = replace(small_config, network=replace(small_config.network, embd_dim=16), validate_every=2)
    first = learning_curve.point(config, 0.5, 2, quiet=True)
    assert first.molecules == 1 and first.unseen_mae > 0 and "| 1 |" in table([first])
    monkeypatch.setattr("mdet_openmm.training.fit.run_training", None)
    assert learning_curve.point(config, 0.5, 2, quiet=True) == first
