"""Means with errors, and the three forms of a table."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mdet_openmm.studies.estimate import Estimate, estimate
from mdet_openmm.studies.table import write_tables


def test_the_error_is_the_standard_error_of_the_mean() -> None:
    found = estimate([1.0, 2.0, None, 4.0, math.nan])
    assert found.count == 3 and found.mean == pytest.approx(7 / 3)
    assert found.error == pytest.approx(np.std([1.0, 2.0, 4.0], ddof=1) / math.sqrt(3))
    # many samples of known spread
    values = np.random.default_rng(0).normal(5.0, 2.0, 4000)
    assert estimate(values).error == pytest.approx(2.0 / math.sqrt(4000), rel=0.05)
    assert math.isnan(estimate([3.0]).error) and estimate([]).count == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Estimate(1.23456, 0.0421, 3), "1.235 ± 0.042"),
        (Estimate(-123.4, 17.0, 3), "-123 ± 17"),
        (Estimate(0.5, math.nan, 1), "0.5"),
        (Estimate(math.nan, math.nan, 0), "–"),
        (Estimate(1e-9, 2e-10, 3), "1 × 10⁻⁹ ± 2 × 10⁻¹⁰"),
    ],
)
def test_an_estimate_has_the_digits_that_its_error_leaves(value: Estimate, text: str) -> None:
    assert str(value) == text


def test_tables(tmp_path: Path) -> None:
    columns = {"condition": "condition", "drift": "drift, K/ps", "atoms": "atoms"}
    rows: list[dict[str, Any]] = [
        {"condition": "fp64|x", "drift": Estimate(1.5, 0.25, 3), "atoms": 9, "hidden": 1},
        {"condition": "fp32", "drift": Estimate(math.nan, math.nan, 0), "atoms": None},
    ]
    text = write_tables(tmp_path, columns, rows, [{"summary": {"x": math.inf}}], ["A note."])
    assert text == (tmp_path / "table.md").read_text()
    assert text.splitlines()[0] == "| condition | drift, K/ps | atoms |"
    assert text.splitlines()[2] == "| fp64\\|x | 1.50 ± 0.25 | 9 |" and text.endswith("\nA note.\n")
    with (tmp_path / "table.csv").open() as file:
        table = list(csv.DictReader(file))
    assert table[0] == {"condition": "fp64|x", "drift": "1.5", "drift_error": "0.25", "atoms": "9"}
    assert table[1]["drift"] == "" and table[1]["atoms"] == ""
    value = json.loads((tmp_path / "table.json").read_text())
    assert value["rows"][0]["drift"] == {"mean": 1.5, "error": 0.25, "count": 3}
    assert value["runs"] == [{"summary": {"x": None}}]
