"""The report of replicas, on run folders whose answer is known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_run import thermal_spring, write_run

from mdet_openmm.analysis.report import analyze
from mdet_openmm.errors import InputError
from mdet_openmm.simulation.replica_summary import summary_of_replicas

NUMBERS = (8, 1)


def hydroxyl(folder: Path, k: int, length: float, reason: str = "completed") -> dict:
    """A run of two atoms on a spring; the summary that it has written."""
    rng = np.random.default_rng(k)
    bond, _ = thermal_spring(rng, 1000, length=length, wavenumber=3600.0, reduced_mass=0.948, temperature=300.0)
    positions = np.zeros((1000, 2, 3))
    positions[:, 1, 0] = bond
    write_run(
        folder, NUMBERS, positions, seed=k, exit_reason=reason, interval_fs=20.0, ensemble="nvt", degrees_of_freedom=6,
        temperature_mean_K=300.0, temperature_by_element_K={"H": 300.0, "O": 300.0}, message="it broke", atom=0,
        equilibration_steps=0, replica=k,
    )  # fmt: skip
    return json.loads((folder / "summary.json").read_text())


def replicas(folder: Path, lengths: list[float], failed: int | None = None) -> Path:
    names = [f"replica-{k:02}" for k in range(len(lengths))]
    summaries = [
        hydroxyl(folder / name, k, length, "broken_bond" if k == failed else "completed")
        for k, (name, length) in enumerate(zip(names, lengths, strict=True))
    ]
    (folder / "summary.json").write_text(json.dumps(summary_of_replicas(summaries, names)))
    return folder


def report(folder: Path) -> tuple[dict, str]:
    page = analyze(folder)
    return json.loads((page.parent / "analysis.json").read_text()), page.read_text()


def test_replicas_that_agree(tmp_path: Path) -> None:
    numbers, page = report(replicas(tmp_path / "run", [0.97] * 5))
    bond, temperature = numbers["bonds_A"][0], numbers["temperature_K"]
    assert bond["label"] == "O1–H2" and len(bond["replicas"]) == 5
    sigma = np.std([np.random.default_rng(k).normal(size=1000).mean() for k in range(5)], ddof=1)
    _, spread = thermal_spring(
        np.random.default_rng(0), 2, length=1.0, wavenumber=3600.0, reduced_mass=0.948, temperature=300.0
    )
    assert bond["error"] == pytest.approx(sigma * spread / np.sqrt(5.0), rel=1e-3)
    assert abs(bond["mean"] - 0.97) < 4.0 * bond["error"]
    assert temperature["verdict"] == "holds" and abs(temperature["mean"] - 300.0) < 4.0 * temperature["error"]
    assert numbers["largest_shrink_factor"] < 1.02
    assert [v["state"] for v in numbers["verdicts"]] == ["good", "good", "good"]
    assert "The replicas agree" in page and all(f"replica-0{k}" in page for k in range(5))
    assert "one relaxed structure" in numbers["notes"][0]


def test_replicas_that_do_not(tmp_path: Path) -> None:
    numbers, page = report(replicas(tmp_path / "run", [0.90, 0.90, 1.10, 1.10]))
    bond = numbers["bonds_A"][0]
    assert bond["mean"] == pytest.approx(1.0, abs=0.01)
    assert bond["error"] == pytest.approx(0.1 * np.sqrt(4.0 / 3.0) / 2.0, rel=0.03)
    assert bond["shrink_factor"] > 2.0 and "not converged: R̂ is" in page and "O1–H2" in page


def test_a_failed_replica_is_named_and_left_out(tmp_path: Path) -> None:
    numbers, page = report(replicas(tmp_path / "run", [0.97, 0.97, 1.4, 0.97], failed=2))
    assert numbers["replicas"] == ["replica-00", "replica-01", "replica-03"]
    assert numbers["verdicts"][0]["state"] == "bad" and "replica-02 went wrong" in numbers["verdicts"][0]["text"]
    assert numbers["bonds_A"][0]["mean"] == pytest.approx(0.97, abs=0.002)
    assert numbers["largest_shrink_factor"] < 1.02 and "left out of every mean" in page
    with pytest.raises(InputError, match="compare one of them"):
        analyze(tmp_path / "run", reference=tmp_path / "run" / "replica-00")
    every: dict[str, dict[str, Any]] = {f"replica-0{k}": {} for k in range(4)}
    summary = json.loads((tmp_path / "run" / "summary.json").read_text()) | {"failures": every}
    (tmp_path / "run" / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(InputError, match="every replica of"):
        analyze(tmp_path / "run")
