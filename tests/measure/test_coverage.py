"""What a training set covered, from a data set whose contents are known, and how far molecules lie from it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from mdet_openmm.data.store import LabelledFrames
from mdet_openmm.errors import InputError
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.measure.coverage import (
    Coverage,
    coverage_from,
    coverage_of,
    distance_to,
    held_out_e_eq,
    shortest_distances,
    stored_coverage,
)

WATER = np.array([[0.0, 0, 0.1173], [0, 0.7572, -0.4692], [0, -0.7572, -0.4692]])


class Waters:
    """101 waters whose first O-H bond is 1.00, 1.01, ... 2.00 Å, as a Store has them, and one nitrogen molecule."""

    path = Path("waters.h5")
    elements = (1, 7, 8)
    molecules = (SimpleNamespace(smiles="O"), SimpleNamespace(smiles=""))

    def __init__(self) -> None:
        self.lengths = 1.0 + 0.01 * np.arange(101)
        self.loads: list[int] = []

    def by_size(self, split: str) -> dict[int, np.ndarray]:
        return {3: np.arange(101), 2: np.array([101])} if split == "train" else {}

    def load(self, indices: np.ndarray) -> LabelledFrames:
        self.loads.append(len(indices))
        b = len(indices)
        if indices[0] == 101:
            z, x = np.array([[7, 7]]), np.array([[[0.0, 0, 0], [1.1, 0, 0]]])
        else:
            z = np.tile([8, 1, 1], (b, 1))
            x = np.zeros((b, 3, 3))
            x[:, 1, 0], x[:, 2, 1] = self.lengths[indices], 3.0
        forces = np.ones_like(x) * (1.0 + 0.01 * indices[:, None, None])
        return LabelledFrames(
            z,
            x,
            forces,
            np.zeros(b),
            np.zeros(b, int),
            np.ones(b, int),
            np.where(indices == 101, 1, 0),
            np.zeros((b, 3)),
        )


@pytest.fixture
def coverage() -> Coverage:
    return coverage_of(Waters(), {"test": {"all": {"e_eq_kcal_mol_A": 0.25}}})  # type: ignore[arg-type]


def test_environments_come_from_the_smiles_or_else_from_the_geometry(coverage: Coverage) -> None:
    assert coverage.environments is not None
    assert coverage.environments["near"] == "H(O) N(N) O(H,H)"


def test_of_a_known_data_set(coverage: Coverage, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (coverage.elements, coverage.fewest_atoms, coverage.most_atoms) == ((1, 7, 8), 2, 3)
    assert coverage.formulas == ("H2O", "N2") and coverage.e_eq == 0.25
    assert coverage.closest["O-H"] == (1.0, 1.01)  # 1 % of 101 structures fall below the second
    assert coverage.closest["H-H"][0] == pytest.approx(10**0.5, abs=1e-4)
    assert coverage.closest["N-N"] == (1.1, 1.1) and set(coverage.closest) == {"O-H", "H-H", "N-N"}
    assert coverage.largest_rms_force == pytest.approx(2.01)
    store = Waters()
    monkeypatch.setattr("mdet_openmm.measure.coverage.AT_ONCE", 10)
    assert coverage_of(store) == coverage_of(Waters()) and max(store.loads) <= 10  # type: ignore[arg-type]


def test_there_and_back(coverage: Coverage) -> None:
    assert coverage_from(json.loads(json.dumps(coverage.plain()))) == coverage
    assert coverage_from(yaml.safe_load(yaml.safe_dump(coverage.plain()))) == coverage
    wrong = {**coverage.plain(), "closest": {"O-H": [1.0]}}, {**coverage.plain(), "elements": "HO"}
    nothing: tuple[Any, ...] = ({}, [])
    for broken in (*nothing, *wrong):
        with pytest.raises(InputError):
            coverage_from(broken)


def test_without_training_frames() -> None:
    empty = SimpleNamespace(by_size=lambda split: {}, path=Path("empty.h5"))
    with pytest.raises(InputError, match="no frames"):
        coverage_of(empty)  # type: ignore[arg-type]


def texts(coverage: Coverage, numbers: list[int], x: Any, force: float = 1.0) -> list[tuple[str, bool]]:
    found = distance_to(coverage, np.array(numbers), np.asarray(x, dtype=float), force)
    return [(d.text, d.far) for d in found]


def test_distances(coverage: Coverage) -> None:
    inside = np.array([[[0.0, 0, 0], [1.5, 0, 0], [0, 3.2, 0]]])
    assert texts(coverage, [8, 1, 1], inside) == []
    ((text, far),) = texts(coverage, [8, 1, 1], inside * [0.6, 1, 1])
    assert "O-H" in text and "0.900" in text and far
    ((text, far),) = texts(coverage, [8, 1, 1], inside, force=5.0)
    assert "5 eV/Å" in text and far
    found = texts(coverage, [8, 1, 1, 6], [np.vstack([inside[0], [[0, 0, 4.0]]])])
    assert any("elements" in t and "C" in t and far for t, far in found)
    assert any("4 atoms" in t and far for t, far in found)
    assert any("C-H" in t and far for t, far in found) and any("CH2O" in t and not far for t, far in found)


def test_shortest_distances() -> None:
    found = shortest_distances(np.array([8, 1, 1]), WATER[None])
    assert found["O-H"] == pytest.approx([np.hypot(0.7572, 0.5865)]) and found["H-H"] == pytest.approx([2 * 0.7572])


@pytest.mark.parametrize("metrics", [None, {}, [], {"test": None}, {"test": {"all": {"e_eq_kcal_mol_A": "?"}}}])
def test_metrics_of_any_shape(metrics: Any) -> None:
    assert held_out_e_eq(metrics) is None


@pytest.mark.parametrize("training", [None, {}, "text", {"coverage": 3}, {"coverage": {"elements": [1]}}])
def test_models_without_it(training: Any) -> None:
    assert stored_coverage(SimpleNamespace(metadata={"training": training})) is None  # type: ignore[arg-type]


def test_the_shipped_model_tells_its_error_in_training() -> None:
    assert held_out_e_eq(load_model("mdet-gfn2-mini").metadata["metrics"]) == pytest.approx(0.34, abs=0.01)
