"""The NVT protocol with a small model: pieces, collapse, restart, tables."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mdet_openmm.errors import InputError
from mdet_openmm.molecules.trajectories import read_dcd, read_trajectory
from mdet_openmm.studies import protocol
from mdet_openmm.studies.protocol import benchmark
from mdet_openmm.studies.scores import make_yardstick, score
from mdet_openmm.studies.settings import ProtocolSettings

WATER = np.array([[0.0, 0.0, 0.1173], [0.0, 0.7572, -0.4692], [0.0, -0.7572, -0.4692]])


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "water.npz"
    np.savez(path, z=np.array([8, 1, 1]), R=WATER + 0.02 * rng.standard_normal((50, 3, 3)))
    return path


def cold(model: Path, folder: Path, **options: Any) -> ProtocolSettings:
    options = {
        "temperature": 10.0, "time": 0.05, "replicas": 2, "report_interval": 1.0, "workers": 1, "quiet": True,
        **options,
    }  # fmt: skip
    return ProtocolSettings(model=str(model), output=folder, **options)


def written(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.parent != folder}


def test_scores_are_those_of_the_trajectories(tmp_path: Path, model: Path, reference: Path) -> None:
    folder = tmp_path / "out"
    results = benchmark(cold(model, folder), [reference])
    assert results[0].score != results[1].score
    yardstick = make_yardstick(read_trajectory(reference))
    for k, result in enumerate(results):
        positions = read_dcd(folder / "water" / f"replica-{k + 1}" / "trajectory.dcd").astype(np.float64)
        assert len(positions) == 50
        assert result.score == score(yardstick, positions, 0.001)
        assert result.score.stable_ps == pytest.approx(0.05) and not result.score.collapsed
        start = (folder / "water" / f"start-{k + 1}.xyz").read_text().splitlines()[2:]
        expected = read_trajectory(reference).positions[25 * k]  # frames 0 and 25 of 50
        assert np.allclose([[float(x) for x in row.split()[1:]] for row in start], expected)
        assert result.summary["thermostat"] == "nose-hoover" and result.summary["timestep_fs"] == 0.5
        assert result.summary["watch"] is False and result.summary["minimize"] is False
    with (folder / "table.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["reference"] == "water" and row["atoms"] == "3" and row["stable"] == "2 of 2"
    errors: list[Any] = [r.score.density_error for r in results]
    assert float(row["density_error"]) == pytest.approx(np.mean(errors))
    speeds = [1e3 / r.summary["ms_per_step"] for r in results]
    assert float(row["steps_per_second"]) == pytest.approx(np.mean(speeds))
    assert len(json.loads((folder / "table.json").read_text())["runs"]) == 2


def test_pieces_give_the_run_made_at_once(
    tmp_path: Path, model: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark(cold(model, tmp_path / "once", replicas=1), [reference])
    monkeypatch.setattr(protocol, "PIECE_PS", 0.02)
    calls = []
    do_run = protocol.do_run

    def counted(run: Any) -> Any:
        calls.append(run.steps)
        return do_run(run)

    monkeypatch.setattr(protocol, "do_run", counted)
    benchmark(cold(model, tmp_path / "pieces", replicas=1), [reference])
    assert calls == [40, 80, 100]
    for name in ("trajectory.dcd", "log.csv", "state.xml"):
        once, pieces = (tmp_path / f / "water" / "replica-1" / name for f in ("once", "pieces"))
        assert once.read_bytes() == pieces.read_bytes(), name


def test_a_run_that_has_collapsed_is_not_computed_to_its_end(
    tmp_path: Path, model: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # nothing holds these atoms together: at 3000 K they fly apart within tens of femtoseconds
    monkeypatch.setattr(protocol, "PIECE_PS", 0.1)
    folder = tmp_path / "out"
    settings = cold(model, folder, temperature=3000.0, time=100.0)
    results = benchmark(settings, [reference])
    for result in results:
        assert result.score.collapsed and 0 < result.score.stable_ps <= result.summary["time_ps"] < 5.0
        assert result.summary["exit_reason"] == "completed"
        assert result.score.frames == round(result.score.stable_ps / 0.001) - 1
    assert "| 0 of 2 |" in (folder / "table.md").read_text()
    before = written(folder)
    again = benchmark(replace(settings, restart=True), [reference], given={"model"})
    assert written(folder) == before
    assert [r.score for r in again] == [r.score for r in results]


def test_restart_goes_on_in_the_middle_of_a_piece(
    tmp_path: Path, model: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import signal

    from mdet_openmm.simulation.monitor import Monitor

    monkeypatch.setattr(protocol, "PIECE_PS", 0.02)
    whole = cold(model, tmp_path / "whole", replicas=1)
    benchmark(whole, [reference])
    check, calls = Monitor.suspects, [0]

    def interrupting(self: Monitor, *arguments: Any) -> object:
        calls[0] += 1
        if calls[0] == 30:
            os.kill(os.getpid(), signal.SIGINT)
        return check(self, *arguments)

    monkeypatch.setattr(Monitor, "suspects", interrupting)
    broken = replace(whole, output=tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        benchmark(broken, [reference])
    summary = json.loads((tmp_path / "broken" / "water" / "replica-1" / "summary.json").read_text())
    assert summary["exit_reason"] == "interrupted" and 40 < summary["steps"] < 80
    benchmark(replace(broken, restart=True), [reference], given={"model"})
    for name in ("trajectory.dcd", "log.csv", "state.xml"):
        one, other = (tmp_path / f / "water" / "replica-1" / name for f in ("whole", "broken"))
        assert one.read_bytes() == other.read_bytes(), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": 50}, "--start 50 is not a frame of water, which has 50"),
        ({"start": -1}, "start must be at least 0"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"time": -1.0}, "time must be positive"),
        ({"orientations": 7}, "orientations must be one of"),
        ({"precision": "half"}, "precision must be one of"),
        ({"model": "nowhere"}, "no model"),
        ({"charge": 1}, "multiplicity"),
        ({"replicas": 0}, "replicas must be at least 1"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    tmp_path: Path, model: Path, reference: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        benchmark(replace(cold(model, tmp_path / "out"), **change), [reference])
    with pytest.raises(InputError, match="two references are called water"):
        benchmark(cold(model, tmp_path / "out"), [reference, reference])
    assert not (tmp_path / "out").exists()


def test_elements_that_the_model_does_not_know(tmp_path: Path, model: Path) -> None:
    np.savez(tmp_path / "n2.npz", z=np.array([7, 7]), R=np.array([[[0.0, 0.0, 0.0], [1.1, 0.0, 0.0]]]))
    with pytest.raises(InputError, match="N is not among the elements"):
        benchmark(cold(model, tmp_path / "out"), [tmp_path / "n2.npz"])


def test_another_reference_of_the_same_name_is_refused(tmp_path: Path, model: Path, reference: Path) -> None:
    settings = cold(model, tmp_path / "out", replicas=1)
    benchmark(settings, [reference])
    np.savez(reference, z=np.array([8, 1, 1]), R=WATER[None])
    with pytest.raises(InputError, match="reference water is not the one"):
        benchmark(replace(settings, restart=True), [reference], given={"model"})


def test_command_line(tmp_path: Path, model: Path, reference: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mdet_openmm.studies.command import main

    flags = ["--output", str(tmp_path / "out"), "--replicas", "1", "--time", "0.02", "--temperature", "10"]
    flags += ["--workers", "1", "--report-interval", "1"]
    assert main("benchmark-nvt", [str(model), str(reference), *flags]) == 0
    assert "| water | 3 | 1 of 1 | 0.02 |" in capsys.readouterr().out
    assert main("benchmark-nvt", [str(model), str(tmp_path / "none.xyz")]) == 2
    assert "does not exist" in capsys.readouterr().err
