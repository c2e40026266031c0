"""A model that lets a molecule fly apart is run, and learns from the frames before; each step is done once."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.io import read

from mdet_openmm.cli import main
from mdet_openmm.data.config import (
    DynamicsRun,
    HeldOutConfig,
    LabelConfig,
    MoleculeEntry,
    SamplingConfig,
    TeacherConfig,
)
from mdet_openmm.data.label import run_label
from mdet_openmm.data.store import Store
from mdet_openmm.errors import InputError, RunStopped
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.molecules.trajectories import read_dcd
from mdet_openmm.simulation.nvt import run_nvt
from mdet_openmm.simulation.settings import NvtSettings
from mdet_openmm.studies import relearn
from mdet_openmm.studies.failure_settings import FailureSettings
from mdet_openmm.studies.failures import learn_from_failures
from mdet_openmm.studies.harvest import BEFORE, FLAGGED, HEALTHY, LAST, WAY, choose, take_frames

FAILS_BEYOND = 1.3
"""Å between the first two atoms; the mock teacher has no answer beyond it."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Water of springs."""
    path = tmp_path_factory.mktemp("data") / "springs.h5"
    arguments = {"stiffness": 3.0, "fails_beyond": FAILS_BEYOND}
    config = LabelConfig(
        molecules=(MoleculeEntry(smiles="O", name="water"),),
        teacher=TeacherConfig(kind="ase", ase="label_calculators:Spring", arguments=arguments),
        sampling=SamplingConfig(
            runs=(DynamicsRun(100.0, 2),), frames=15, displaced=0, equilibrate=5.0, interval=2.0, conformers=1
        ),
        held_out=HeldOutConfig(temperature=100.0, val=2, test=6, frames=3, equilibrate=5.0, interval=2.0),
    )
    run_label(config, path, workers=1)
    return path


def settings(model: Path, folder: Path, **changes: object) -> FailureSettings:
    """Runs that end within 0.3 ps because nothing holds the atoms together, and a training of a few steps."""
    values: dict[str, object] = {
        "model": str(model),
        "name": "springs",
        "models": str(folder / "models"),
        "temperatures": "30",
        "time": 0.3,
        "equilibrate": 0.0,
        "replicas": 1,
        "report_interval": 2.0,
        "window": 10.0,
        "way_frames": 4,
        "healthy_frames": 3,
        "share": 0.5,
        "steps": 6,
        "batch_size": 4,
        "workers": 1,
        "output": folder / "study",
        "quiet": True,
    }
    return FailureSettings(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def water_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("systems") / "water.xyz"
    path.write_text("3\nwater\nO 0 0 0.1173\nH 0 0.7572 -0.4692\nH 0 -0.7572 -0.4692\n")
    return path


@pytest.fixture(scope="module")
def study(model: Path, data: Path, water_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of one round."""
    folder = tmp_path_factory.mktemp("failures")
    before = hashlib.sha256(data.read_bytes()).hexdigest()
    rounds = learn_from_failures(settings(model, folder), data, [str(water_file)])
    assert [r.number for r in rounds] == [1, 2]
    assert hashlib.sha256(data.read_bytes()).hexdigest() == before
    return folder / "study"


def summaries(study: Path, number: int) -> dict[str, dict]:
    return {
        path.parent.parent.name[:3]: json.loads(path.read_text())
        for path in sorted((study / f"round-{number}" / "runs").glob("*/*/*/summary.json"))
    }


def test_runs_fail_and_their_frames_are_those_before_it(study: Path) -> None:
    images = read(study / "round-1" / "frames" / "water.xyz", index=":")
    for ensemble, summary in summaries(study, 1).items():
        assert summary["exit_reason"] == "broken_bond"
        folder = next((study / "round-1" / "runs" / "water").glob(f"{ensemble}-*")) / "replica-1"
        trajectory = read_dcd(folder / "trajectory.dcd")
        mine = [image for image in images if image.info["run"].startswith(f"water/{ensemble}-")]
        reasons = [image.info["reason"] for image in mine]
        near = [image for image in mine if image.info["reason"] == BEFORE]
        end = summary["time_ps"]
        times = 0.002 * np.arange(1, len(trajectory) + 1)
        assert [i.info["time_ps"] for i in near] == pytest.approx(times[times > end - 0.010])
        assert reasons.count(WAY) == 4 and reasons.count(HEALTHY) == 0
        for image in mine:
            if image.info["reason"] != LAST:
                frame = trajectory[round(image.info["time_ps"] / 0.002) - 1]
                assert np.abs(image.positions - frame).max() < 1e-5


def test_frames_are_labelled_or_counted(study: Path) -> None:
    images = read(study / "round-1" / "frames" / "water.xyz", index=":")
    beyond = sum(image.get_distance(0, 1) > FAILS_BEYOND for image in images)
    labels = Store(study / "round-1" / "labels.h5")
    taken = json.loads((study / "round-1" / "harvest.json").read_text())["frames"]
    assert sum(taken.values()) == len(images)
    assert labels.attributes["skipped"]["teacher"] == beyond
    assert len(labels) + sum(labels.attributes["skipped"].values()) == len(images)
    assert [m.name for m in labels.molecules] == ["water (round 1)"]
    frame = labels.load([0])
    distances = np.linalg.norm(frame.positions[0, :, None] - frame.positions[0, None], axis=2)
    assert frame.energy[0] == pytest.approx(
        0.5 * 3.0 * ((distances[np.triu_indices(3, 1)] - 0.74) ** 2).sum(), rel=1e-5
    )


def test_new_frames_have_their_share_and_held_out_ones_are_untouched(study: Path, data: Path) -> None:
    old, both = Store(data), Store(study / "round-1" / "data.h5")
    for split in ("val", "test"):
        assert np.array_equal(old.indices(split), both.indices(split)) and len(old.indices(split))
    assert all(np.array_equal(old.load([i]).positions, both.load([i]).positions) for i in range(len(old)))
    new = sum(both.molecules[m].name == "water (round 1)" for m in both.molecule)
    labelled = len(Store(study / "round-1" / "labels.h5"))
    assert new % labelled == 0
    assert abs(new / len(both.indices("train")) - 0.5) < 0.5 * labelled / len(old.indices("train"))


def test_the_new_model_started_from_the_old_and_is_run_again(study: Path, model: Path) -> None:
    new = load_model(study.parent / "models" / "springs-round1")
    assert new.metadata["training"]["start_from"] == str(model) and new.metadata["training"]["steps"] == 6
    assert new.sha256 != load_model(model).sha256
    for number, name in ((1, model.name), (2, "springs-round1")):
        assert {s["model"]["name"] for s in summaries(study, number).values()} == {name}
    seeds = [s["seed"] for number in (1, 2) for s in summaries(study, number).values()]
    assert seeds[0] == seeds[1] != seeds[2]
    assert not (study / "round-2" / "harvest.json").exists()


def test_the_penalty_on_the_curl_acts_from_the_first_step(model: Path, data: Path, tmp_path: Path) -> None:
    # what it does to a training is in tests/training/test_penalties.py
    config = relearn._train_config(data, load_model(model), 1, settings(model, tmp_path, antisymmetry_weight=30.0))
    assert (config.antisymmetry_weight, config.penalties_from) == (30.0, 0.0)
    assert Path(str(config.start_from)) == model


def test_the_table_says_what_came_of_it(study: Path, model: Path) -> None:
    table = json.loads((study / "table.json").read_text())
    rows = table["rows"]
    assert [(r["round"], r["model"]) for r in rows] == [(1, model.name), (2, "springs-round1")]
    first = summaries(study, 1)
    for ensemble in ("nvt", "nve"):
        assert rows[0][f"{ensemble}_ps"]["mean"] == pytest.approx(first[ensemble]["time_ps"])
        assert rows[0][f"{ensemble}_kept"] == "0 of 1"
    images = read(study / "round-1" / "frames" / "water.xyz", index=":")
    assert rows[0]["taken"] == len(images) and rows[1]["taken"] is None
    metrics = load_model(study.parent / "models" / "springs-round1").metadata["metrics"]
    assert rows[1]["test_mae"] == metrics["test"]["all"]["mae"] != rows[0]["test_mae"]
    assert rows[0]["test_mae"] > 0
    text = (study / "table.md").read_text()
    assert "springs-round1" in text and "2 broken_bond" in text


def stamps(folder: Path) -> dict[Path, int]:
    made_anew = ("table", "study.json", "learnt.json", ".lock")
    return {
        path: path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(made_anew)
    }


def test_a_restart_does_nothing_twice_and_goes_on(
    study: Path, model: Path, data: Path, water_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stamps(study.parent)
    flags = [str(model), str(data), str(water_file), "--output", str(study), "--workers", "1", "--quiet", "--restart"]
    assert main(["learn-from-failures", *flags]) == 0
    assert stamps(study.parent) == before

    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    real = relearn.run_training
    monkeypatch.setattr(relearn, "run_training", interrupted)
    assert main(["learn-from-failures", *flags, "--rounds", "2"]) == 130
    labels = (study / "round-2" / "labels.h5").stat().st_mtime_ns
    monkeypatch.setattr(relearn, "run_training", real)
    assert main(["learn-from-failures", *flags, "--rounds", "2"]) == 0
    after = stamps(study.parent)
    assert all(after[path] == stamp for path, stamp in before.items())
    assert after[study / "round-2" / "labels.h5"] == labels
    assert (study.parent / "models" / "springs-round2" / "manifest.json") in after
    merged = Store(study / "round-2" / "data.h5").attributes["config"]["merged"]
    learnt = json.loads((study / "round-2" / "learnt.json").read_text())
    assert learnt["repeats"] == merged[-1]["repeats"] and sum(learnt["taken"].values()) >= learnt["labelled"]
    assert [m["file"] for m in merged] == ["springs.h5", "labels.h5", "labels.h5"]
    assert len(json.loads((study / "table.json").read_text())["rows"]) == 3


def test_a_restart_with_something_else_is_refused(
    study: Path, model: Path, data: Path, water_file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "water.xyz"
    other.write_text(water_file.read_text().replace("0.1173", "0.1200"))
    for system, changes, words in (
        (water_file, {"temperatures": "700"}, "temperatures"),
        (water_file, {"time": 0.4}, "--time"),
        (water_file, {"replicas": 2}, "--replicas"),
        (other, {}, "systems"),
    ):
        with pytest.raises(InputError, match=words):
            learn_from_failures(settings(model, study.parent, restart=True, **changes), data, [str(system)])


def test_bad_input_is_refused_before_anything_is_written(
    model: Path, data: Path, water_file: Path, tmp_path: Path
) -> None:
    taken = tmp_path / "models" / "springs-round1"
    for systems, changes, words in (
        ([], {}, "no system"),
        (["absent.pdb"], {}, "absent.pdb"),
        (["not a molecule"], {}, "SMILES"),
        (["N"], {}, "N"),
        ([str(water_file)] * 2, {}, "share the folder"),
        ([str(water_file)], {"temperatures": "300,hot"}, "hot"),
        ([str(water_file)], {"temperatures": "300,300"}, "twice"),
        ([str(water_file)], {"conditions": "fp64+often"}, "often"),
        ([str(water_file)], {"conditions": "fp64+held"}, "would hide"),
        ([str(water_file)], {"rounds": 0}, "rounds must be at least 1"),
        ([str(water_file)], {"share": 1.0}, "share must be positive and below 1"),
        ([str(water_file)], {"window": 0.0}, "window must be positive"),
        ([str(water_file)], {"max_force": -1.0}, "max_force must be positive"),
        ([str(water_file)], {"way_frames": -1}, "way_frames must be at least 0"),
        ([str(water_file)], {"time": -1.0}, "time must be positive"),
        ([str(water_file)], {"steps": 0}, "steps"),
        ([str(water_file)], {"name": "a/b"}, "--name"),
        ([str(water_file)], {"equivariance_limit": -1.0}, "equivariance"),
    ):
        with pytest.raises(InputError, match=words):
            learn_from_failures(settings(model, tmp_path, **changes), data, systems)
        assert not (tmp_path / "study").exists()
    taken.mkdir(parents=True)
    with pytest.raises(InputError, match="is not overwritten"):
        learn_from_failures(settings(model, tmp_path), data, [str(water_file)])
    assert not (tmp_path / "study").exists()


def test_without_a_failure_nothing_is_learnt(model: Path, data: Path, water_file: Path, tmp_path: Path) -> None:
    calm = settings(model, tmp_path, temperatures="1", time=0.01)
    (only,) = learn_from_failures(calm, data, [str(water_file)])
    assert only.learnt is None and not any(ran.failed for ran in only.runs)
    assert not (tmp_path / "models").exists()


def test_frames_around_a_flagged_measurement_are_taken(model: Path, water_file: Path, tmp_path: Path) -> None:
    nvt = NvtSettings(
        system=water_file, model=str(model), temperature=1.0, steps=100, equilibrate=0.0, report_interval=1.0, seed=1,
        watch_equivariance=50, largest_equivariance_error=1e-9, equivariance_action="warn", output=tmp_path / "run",
        quiet=True, threads=1,
    )  # fmt: skip
    run_nvt(nvt)
    how: dict[str, Any] = {"window": 7.0, "way_frames": 100, "healthy_frames": 2}
    frames = take_frames(tmp_path / "run", equivariance_limit=1e-9, **how)
    assert set(frames.reasons) == {FLAGGED}
    assert frames.times == pytest.approx([0.022, 0.023, 0.024, 0.025, 0.026, 0.027, 0.028, 0.047, 0.048, 0.049, 0.050])
    calm = take_frames(tmp_path / "run", equivariance_limit=1e9, **how)
    assert calm.reasons == (HEALTHY, HEALTHY) and calm.times == pytest.approx([0.013, 0.038], abs=0.002)
    with pytest.raises(RunStopped, match="equivariance"):
        run_nvt(replace(nvt, equivariance_action="stop", output=tmp_path / "stopped"))
    stopped = take_frames(tmp_path / "stopped", equivariance_limit=1e-9, **{**how, "way_frames": 2})
    assert stopped.reasons == (WAY, WAY, *6 * [BEFORE])
    assert stopped.times[2:] == pytest.approx([0.019, 0.020, 0.021, 0.022, 0.023, 0.024])


def test_which_frames_are_chosen() -> None:
    times = 0.004 * np.arange(1.0, 101.0)
    how: dict[str, Any] = {"window": 0.050, "way_frames": 5, "healthy_frames": 3}
    chosen = choose(times, failed_at=0.401, flagged=np.zeros(0), **how)
    before = [i for i, reason in chosen.items() if reason == BEFORE]
    way = [i for i, reason in chosen.items() if reason == WAY]
    assert before == list(range(87, 100)) and times[86] <= 0.351 < times[87]
    assert len(way) == 5 and max(way) < 87 and list(chosen) == sorted(chosen)
    assert np.ptp(np.diff(way)) <= 1
    # a flag in the last frames before a failure is part of them, one on the way adds to it
    flagged = choose(times, failed_at=0.401, flagged=np.array([0.2, 0.396]), **how)
    assert sum(reason == FLAGGED for reason in flagged.values()) == 5
    assert [i for i, reason in flagged.items() if reason == BEFORE] == before
    assert len(choose(times, failed_at=None, flagged=np.zeros(0), **how)) == 3
    # a run that failed before its first frame
    assert choose(times[:0], failed_at=0.001, flagged=np.zeros(0), **how) == {}
