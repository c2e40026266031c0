"""The ablation: the same starts for all conditions, the same numbers in parallel, nothing computed twice."""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mdet_openmm.errors import InputError
from mdet_openmm.studies import runs
from mdet_openmm.studies.ablation import ablate
from mdet_openmm.studies.folder import STUDY, go_on, store
from mdet_openmm.studies.nve_runs import NveResult
from mdet_openmm.studies.settings import AblationSettings

CONDITIONS = "fp32,fp64,fp64+random,mixed+hashed"


def cold(water: Path, model: Path, folder: Path, **options: Any) -> AblationSettings:
    options = {
        "conditions": CONDITIONS, "replicas": 2, "temperature": 10.0, "time": 0.02, "thermalize": 0.01,
        "report_interval": 1.0, "workers": 1, "quiet": True, **options,
    }  # fmt: skip
    return AblationSettings(system=water, model=str(model), output=folder, **options)


def numbers(folder: Path) -> dict[str, bytes]:
    """What must not depend on who ran it; the pace does."""
    return {str(p.relative_to(folder)): p.read_bytes() for name in ("log.csv", "state.xml") for p in folder.rglob(name)}


def written(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.parent != folder}


Study = tuple[Path, list[NveResult]]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, water_once: Path, model: Path) -> Study:
    """The folder of a whole study and its results, made in one process and without a break."""
    folder = tmp_path_factory.mktemp("study") / "out"
    return folder, ablate(cold(water_once, model, folder))


def assert_as_in(study: Study, folder: Path) -> None:
    """The numbers of a study of some of the conditions are those of the study of all."""
    found, whole = numbers(folder), numbers(study[0])
    conditions = {p.parent.parent.name for p in folder.rglob("replica-*/log.csv")}
    assert len(found) == 2 * (2 + 2 * len(conditions)) and found == {name: whole[name] for name in found}


def test_all_conditions_of_a_replica_start_from_the_same_state(study: Study) -> None:
    folder, results = study
    assert [(r.condition.name, r.replica) for r in results] == [(c, k) for k in (1, 2) for c in CONDITIONS.split(",")]
    assert all(r.summary is not None and r.summary["exit_reason"] == "completed" for r in results)
    starts: dict[int, set[str]] = {1: set(), 2: set()}
    first: dict[int, list[float]] = {1: [], 2: []}
    for r in results:
        starts[r.replica].add((r.folder / "start.xyz").read_text())
        # 1 fs after the start, under weak forces, velocities have hardly changed
        first[r.replica].append(float((r.folder / "log.csv").read_text().splitlines()[1].split(",")[2]))
    assert all(len(s) == 1 for s in starts.values()) and starts[1] != starts[2]
    assert all(np.ptp(t) < 0.05 * np.mean(t) for t in first.values())
    assert abs(np.mean(first[1]) - np.mean(first[2])) > 0.2 * np.mean(first[1])
    assert {(r.summary["precision"], r.summary["offset"]) for r in results if r.summary} == {
        ("fp32", "none"), ("double", "none"), ("double", "random"), ("mixed", "hashed"),
    }  # fmt: skip
    assert len(set(numbers(folder).values())) == len(numbers(folder))  # and yet every run is another one


def test_tables_and_plot(study: Study) -> None:
    folder, results = study
    value = json.loads((folder / "table.json").read_text())
    assert [row["condition"] for row in value["rows"]] == CONDITIONS.split(",")
    drifts = [r.summary["temperature_drift_K_per_ps"] for r in results if r.summary and r.condition.name == "fp64"]
    row = value["rows"][1]["temperature_drift_K_per_ps"]
    assert row["mean"] == pytest.approx(np.mean(drifts))
    assert row["error"] == pytest.approx(abs(drifts[0] - drifts[1]) / 2)  # of two values
    assert value["rows"][0]["kept"] == "2 of 2" and len(value["runs"]) == 8
    assert (folder / "table.md").read_text().count("\n| fp64 |") == 1
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_two_processes_give_the_numbers_of_one(tmp_path: Path, water: Path, model: Path, study: Study) -> None:
    # random offsets come from torch's generator, seeded at the start of each run
    ablate(cold(water, model, tmp_path / "parallel", workers=2, conditions="fp64+random,mixed+hashed"))
    assert_as_in(study, tmp_path / "parallel")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as made:
        yield made


def test_a_dask_cluster_gives_the_numbers_of_one_process(
    tmp_path: Path, water: Path, model: Path, study: Study, cluster: Any
) -> None:
    there = cold(water, model, tmp_path / "there", conditions="fp64,mixed+hashed", workers=None)
    ablate(replace(there, scheduler=cluster.scheduler_address))
    assert_as_in(study, tmp_path / "there")


def test_a_restart_computes_nothing_that_is_there(tmp_path: Path, water: Path, model: Path, study: Study) -> None:
    folder = Path(shutil.copytree(study[0], tmp_path / "out"))
    settings = cold(water, model, folder)
    before = written(folder)

    def table() -> str:  # settings of a run keep the place where it was made
        return (folder / "table.json").read_text().replace(str(study[0]), str(folder))

    then = table()
    ablate(replace(settings, restart=True), given={"system"})
    assert written(folder) == before and table() == then
    ablate(replace(settings, restart=True))  # from Python: what differs from the defaults counts as given
    assert written(folder) == before and table() == then
    more = replace(settings, restart=True, replicas=3, conditions="fp64,fp32")
    results = ablate(more, given={"system", "replicas", "conditions"})
    after = written(folder)
    assert {k: after[k] for k in before} == before
    assert len(results) == 6 and {Path(p).parent.name for p in after.keys() - before.keys()} >= {"start-3", "replica-3"}


def test_interrupted_runs_go_on_and_the_numbers_are_those_of_an_unbroken_study(
    tmp_path: Path, water: Path, model: Path, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import signal

    from mdet_openmm.simulation.monitor import Monitor

    check, calls = Monitor.suspects, [0]

    def interrupting(self: Monitor, *arguments: Any) -> object:
        calls[0] += 1
        if calls[0] in (30, 90):
            os.kill(os.getpid(), signal.SIGINT)
        return check(self, *arguments)

    monkeypatch.setattr(Monitor, "suspects", interrupting)
    broken = cold(water, model, tmp_path / "broken", conditions="fp64,mixed+hashed")
    interruptions = 0
    for _ in range(5):
        try:
            ablate(broken, given={"system"})
            break
        except KeyboardInterrupt:
            interruptions += 1
            broken = replace(broken, restart=True)
    assert interruptions == 2
    assert_as_in(study, tmp_path / "broken")


def test_a_run_that_was_killed_before_it_had_stored_its_settings_starts_anew(
    tmp_path: Path, water: Path, model: Path
) -> None:
    folder = tmp_path / "out"
    settings = cold(water, model, folder, conditions="fp64", replicas=1)
    run = folder / "water" / "fp64" / "replica-1"
    run.mkdir(parents=True)
    (run / ".lock").touch()
    (folder / "study.json").write_text('{"settings": {"time": 0.02}, "identity": {}}')
    assert ablate(replace(settings, restart=True), given=_all())[0].summary is not None
    (run / "mine.txt").write_text("not ours")
    (run / "settings.json").unlink()
    (run / "summary.json").unlink()
    with pytest.raises(InputError, match="not empty"):
        ablate(replace(settings, restart=True), given=_all())


def _all() -> set[str]:
    import dataclasses

    return {field.name for field in dataclasses.fields(AblationSettings)}


def test_a_run_that_breaks_is_a_result(tmp_path: Path, water: Path, model: Path) -> None:
    # nothing holds these atoms together: at 3000 K they fly apart
    results = ablate(
        cold(water, model, tmp_path / "out", conditions="fp64", temperature=3000.0, time=2.0, thermalize=0.001)
    )
    assert {r.summary["exit_reason"] for r in results if r.summary} <= {"broken_bond", "runaway_temperature"}
    value = json.loads((tmp_path / "out" / "table.json").read_text())
    assert value["rows"][0]["kept"] == "0 of 2" and len(value["notes"]) == 2
    assert 0 < value["rows"][0]["time_ps"]["mean"] < 2.0
    before = written(tmp_path / "out")
    ablate(
        cold(water, model, tmp_path / "out", conditions="fp64", temperature=3000.0, time=2.0, restart=True),
        given={"system"},
    )
    assert written(tmp_path / "out") == before


def test_a_start_that_breaks_is_told(tmp_path: Path, water: Path, model: Path) -> None:
    settings = cold(water, model, tmp_path / "out", conditions="fp64", temperature=3000.0, time=0.01, thermalize=2.0)
    results = ablate(settings)
    assert all(r.summary is None and r.problem and "while a start was made" in r.problem for r in results)
    assert "water, fp64, replica 2: not run" in (tmp_path / "out" / "table.md").read_text()


def test_a_start_without_its_bonds_is_told_and_the_others_run(tmp_path: Path, water: Path, model: Path) -> None:
    settings = cold(water, model, tmp_path / "out", conditions="fp64", replicas=1)
    ablate(settings)
    torn = water.read_text().replace("0 0.7572", "0 1.4")
    (tmp_path / "out" / "water" / "start-2.xyz").write_text(torn)
    results = ablate(replace(settings, replicas=3, restart=True), given={"system", "replicas"})
    assert [r.summary is None for r in results] == [False, True, False]
    assert results[1].problem and "come apart" in results[1].problem


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conditions": "fp16"}, "--conditions"),
        ({"conditions": "mixed+hashed+held"}, "energy head"),
        ({"replicas": 0}, "replicas must be at least 1"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"workers": 2, "scheduler": "tcp://x:1"}, "only one"),
        ({"time": 0.0}, "time must be positive"),
        ({"time": float("nan")}, "time must be a finite number"),
        ({"thermalize": 0.0}, "thermalize must be positive"),
        ({"temperature": -1.0}, "temperature must be positive"),
        ({"timestep": 9.0}, "timestep must be positive and at most 5.0"),
        ({"model": "nowhere"}, "no model"),
        ({"multiplicity": 2}, "multiplicity"),
        ({"forces": "conservative"}, "no energy"),
        ({"restart": True}, "nothing to restart"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"seed": 2**31 - 2}, "--seed must be at most"),
        ({"report_interval": 0.1}, "--report-interval"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    tmp_path: Path, water: Path, model: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ablate(replace(cold(water, model, tmp_path / "out"), **change))
    assert not (tmp_path / "out").exists()


def test_a_restart_refuses_what_differs(tmp_path: Path, water: Path, model: Path, study: Study) -> None:
    settings = cold(water, model, Path(shutil.copytree(study[0], tmp_path / "out")))
    with pytest.raises(InputError, match="holds a study"):
        ablate(settings)
    again = replace(settings, restart=True)
    for change, word in (
        ({"temperature": 11.0}, "--temperature"),
        ({"seed": 2}, "--seed"),
        ({"thermalize": 0.02}, "--thermalize"),
        ({"time": 0.01}, "longer, not shorter"),
    ):
        with pytest.raises(InputError, match=word):
            ablate(replace(again, **change), given={"system", *change})
    water.write_text(water.read_text().replace("0.7572", "0.7573"))
    with pytest.raises(InputError, match="system is not the one"):
        ablate(again, given={"system"})


def test_a_study_can_be_made_longer(tmp_path: Path, water: Path, model: Path) -> None:
    short = cold(water, model, tmp_path / "longer", conditions="fp64", replicas=1)
    ablate(short)
    ablate(replace(short, time=0.04, restart=True), given={"system", "time"})
    ablate(cold(water, model, tmp_path / "whole", conditions="fp64", replicas=1, time=0.04))
    assert numbers(tmp_path / "longer") == numbers(tmp_path / "whole")


def test_how_far_a_run_is(tmp_path: Path, water: Path, model: Path) -> None:
    from mdet_openmm.simulation.settings import NvtSettings

    run = runs.StudyRun(NvtSettings(system=water, time=10.0, output=tmp_path), 1.0)
    assert runs.fraction_done(run) == 0.0
    header = "step,time_ps,temperature_K\n"
    (tmp_path / "log.csv").write_text(header)
    assert runs.fraction_done(run) == 0.0
    (tmp_path / "log.csv").write_text(header + "".join(f"{i},{0.01 * i:g},300.0\n" for i in range(1, 401)) + "401,4.")
    assert runs.fraction_done(run) == pytest.approx(0.4)


def test_command_line(tmp_path: Path, water: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mdet_openmm.studies.command import main

    flags = ["--model", str(model), "--output", str(tmp_path / "out"), "--conditions", "fp64", "--replicas", "1"]
    flags += ["--time", "0.01", "--thermalize", "0.01", "--temperature", "10", "--workers", "1"]
    flags += ["--report-interval", "1"]
    assert main("ablate-nve", [str(water), *flags]) == 0
    assert "| fp64 | 1 of 1 |" in capsys.readouterr().out
    assert main("ablate-nve", [str(water), *flags]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert main("ablate-nve", [str(water), "--output", str(tmp_path / "out"), "--restart", "--quiet"]) == 0
    assert sys.modules["mdet_openmm.studies.ablation"] and capsys.readouterr().out == ""


def test_a_study_is_stored_by_the_former_names_of_its_settings(tmp_path: Path) -> None:
    asked = AblationSettings(system=Path("water.xyz"), output=tmp_path / "out", teacher="gfn2")
    (tmp_path / "out").mkdir()
    store(asked, {})
    kept = json.loads((tmp_path / "out" / STUDY).read_text())["settings"]
    assert kept["reference"] == "gfn2" and "teacher" not in kept
    again = AblationSettings(system=Path("water.xyz"), output=tmp_path / "out", restart=True)
    assert go_on(again, {"system"}).teacher == "gfn2"
