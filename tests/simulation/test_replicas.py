"""Many copies of a molecule in one run: each is a run of its own, and a broken one spoils no other."""

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spring_mock import SpringCopies, make_run

from mdet_openmm.errors import InputError, RunStopped
from mdet_openmm.interrupt import Interrupt
from mdet_openmm.molecules.dcd import read_dcd
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.dynamics import run_dynamics
from mdet_openmm.simulation.ended_run import read_run
from mdet_openmm.simulation.log_file import read_table
from mdet_openmm.simulation.monitor import Monitor, Problem
from mdet_openmm.simulation.nve import run_nve
from mdet_openmm.simulation.nvt import run_nvt
from mdet_openmm.simulation.replica_summary import summary_of_replicas
from mdet_openmm.simulation.replicas import Failure, read_failures, write_failures
from mdet_openmm.simulation.settings import NveSettings, NvtSettings, RunSettings
from mdet_openmm.simulation.state import read_phase
from mdet_openmm.simulation.thermostat import replica_seeds

OF_ALL = (run_folder.CHECKPOINT, run_folder.STATE, run_folder.START)
OF_EACH = (run_folder.TRAJECTORY, run_folder.LOG, run_folder.EQUIVARIANCE)
NAMES = ("replica-00", "replica-01", "replica-02")


def cold(water: Path, model: Path, folder: Path, kind: type[RunSettings] = NvtSettings, **options: Any) -> Any:
    """Cold and viscous, so that atoms hardly move while nothing holds them together."""
    options = {
        "temperature": 10.0, "equilibrate": 0.02, "steps": 100, "seed": 3, "quiet": True, "minimize": False,
        "checkpoint_interval": 0.01, "watch_equivariance": 16, "replicas": 3,
        **({"friction": 50.0} if kind is NvtSettings else {}), **options,
    }  # fmt: skip
    return kind(system=water, model=str(model), output=folder, **options)


def run(settings: RunSettings) -> dict[str, Any]:
    return run_nvt(settings) if isinstance(settings, NvtSettings) else run_nve(settings)  # type: ignore[arg-type]


def same_files(one: Path, other: Path) -> None:
    for name in [*OF_ALL, *(f"{each}/{name}" for each in NAMES for name in OF_EACH)]:
        if (one / name).exists() or (other / name).exists():
            assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_seeds_differ_and_do_not_depend_on_how_many_there_are() -> None:
    seeds = replica_seeds(7, 64)
    assert seeds[0] == 7 and len(set(seeds)) == 64 and all(0 <= s < 2**31 for s in seeds)
    assert replica_seeds(7, 5) == seeds[:5] and not set(replica_seeds(8, 64)) & set(seeds)


def test_each_replica_has_a_folder_that_reads_as_a_run(tmp_path: Path, water: Path, model: Path) -> None:
    folder = tmp_path / "out"
    summary = run_nvt(cold(water, model, folder))
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert {p.name for p in folder.iterdir()} == {
        *NAMES, "checkpoint.chk", "state.xml", "start.xyz", "settings.json", "summary.json", ".lock"
    }  # fmt: skip
    runs = [read_run(folder / name) for name in NAMES]
    assert [r.summary["seed"] for r in runs] == summary["seeds"] == list(replica_seeds(3, 3))
    for r in runs:
        assert len(r.positions) == 12 and not r.notes and r.summary["exit_reason"] == "completed"
        assert r.summary["degrees_of_freedom"] == 9 and r.summary["equivariance_measurements"] == 6
    means = [float(r.log["temperature_K"].mean()) for r in runs]
    assert summary["temperature_mean_K"] == pytest.approx(np.mean(means))
    assert summary["over_replicas"]["temperature_mean_K"]["error"] == pytest.approx(np.std(means, ddof=1) / 3**0.5)
    assert summary["ns_per_day"] == pytest.approx(3 * runs[0].summary["ns_per_day"])
    assert summary["total_time_ps"] == pytest.approx(0.15) and summary["failures"] == {}
    assert len({r.positions[-1].tobytes() for r in runs}) == 3


@pytest.mark.parametrize("kind", [NveSettings, NvtSettings], ids=["nve", "nose-hoover"])
def test_without_noise_a_replica_is_the_run_of_its_seed_alone(
    tmp_path: Path, water: Path, model: Path, kind: type[RunSettings]
) -> None:
    options: dict[str, Any] = {"equilibrate": 0.0, "steps": 64, "watch_equivariance": 16}
    options |= {"thermostat": "nose-hoover"} if kind is NvtSettings else {}
    run(cold(water, model, tmp_path / "all", kind, **options))
    for name, seed in zip(NAMES, replica_seeds(3, 3), strict=True):
        run(cold(water, model, tmp_path / name, kind, **options | {"replicas": 1, "seed": seed}))
        ours, alone = tmp_path / "all" / name, tmp_path / name
        np.testing.assert_allclose(
            read_dcd(ours / run_folder.TRAJECTORY), read_dcd(alone / run_folder.TRAJECTORY), rtol=0, atol=2e-7
        )
        logs = [read_table(path / run_folder.LOG) for path in (ours, alone)]
        assert logs[0].keys() == logs[1].keys()
        for column in logs[0].keys() - {"integrator_check_kJ_mol"}:
            np.testing.assert_allclose(logs[0][column], logs[1][column], rtol=1e-6, atol=2e-6, err_msg=column)
        if kind is NveSettings:
            assert np.abs(logs[0]["integrator_check_kJ_mol"]).max() < 1e-9 * logs[0]["kinetic_energy_kJ_mol"].min()
            assert np.abs(logs[0]["work_kJ_mol"]).max() > 1e-4


@pytest.mark.parametrize("how", ["langevin", "nose-hoover", "nve"])
def test_interrupted_and_restarted_it_is_the_unbroken_run(
    tmp_path: Path, water: Path, model: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind: type[RunSettings] = NveSettings if how == "nve" else NvtSettings
    options: dict[str, Any] = {} if how == "nve" else {"thermostat": how}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(cold(water, model, whole, kind, **options))
    check, calls = Monitor.suspects, [0]

    def interrupting(self: Monitor, positions: np.ndarray, velocities: np.ndarray) -> list[int]:
        calls[0] += 1
        if calls[0] == 14:
            os.kill(os.getpid(), signal.SIGINT)
        return check(self, positions, velocities)

    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "suspects", interrupting)
        with pytest.raises(KeyboardInterrupt):
            run(cold(water, model, broken, kind, **options))
    stopped = json.loads((broken / "summary.json").read_text())
    assert stopped["exit_reason"] == "interrupted" and 0 < stopped["steps"] < 100
    again = kind(system=water, model=str(model), output=broken, restart=True, quiet=True)
    assert run(again)["exit_reason"] == "completed"
    same_files(whole, broken)
    with pytest.raises(InputError, match="--replicas 4 differs from the stored run's 3"):
        run(dataclasses.replace(again, replicas=4))


def test_a_broken_replica_is_named_and_spoils_no_other(tmp_path: Path, water: Path, model: Path) -> None:
    # Nothing holds the atoms together, so that at 200 K some molecules fall apart within 25 fs and others do not.
    warm: dict[str, Any] = {"temperature": 200.0, "friction": 1.0, "equilibrate": 0.0, "steps": 56, "seed": 6}
    run_nvt(cold(water, model, tmp_path / "unwatched", watch=False, **warm))
    with pytest.raises(RunStopped, match=r"of 3 replicas went wrong \(replica-0\d: the bond between atom .* broke"):
        run_nvt(cold(water, model, tmp_path / "watched", **warm))
    summary = json.loads((tmp_path / "watched" / "summary.json").read_text())
    broken = set(summary["failures"])
    assert 0 < len(broken) < 3 and summary["exit_reason"] == "failures"
    sound = [name for name in NAMES if name not in broken]
    for name in sound:  # what is done with the broken ones does not reach these
        for file in OF_EACH:
            assert (tmp_path / "watched" / name / file).read_bytes() == (
                tmp_path / "unwatched" / name / file
            ).read_bytes()
    for name in broken:
        folder = tmp_path / "watched" / name
        own = json.loads((folder / "summary.json").read_text())
        assert own["exit_reason"] == "broken_bond" and (folder / "last_good.pdb").exists()
        frames = read_dcd(folder / run_folder.TRAJECTORY)
        np.testing.assert_array_equal(
            frames, read_dcd(tmp_path / "unwatched" / name / run_folder.TRAJECTORY)[: len(frames)]
        )
        assert len(frames) == (own["steps"] - 1) // 8 < 7
    means = [read_table(tmp_path / "watched" / name / run_folder.LOG)["temperature_K"].mean() for name in sound]
    assert summary["temperature_mean_K"] == pytest.approx(np.mean(means))
    # longer, from the checkpoint: what failed stays failed, and the sound ones are those of the longer run
    longer = {**warm, "steps": 64}
    for name, options in (("whole", longer), ("watched", {**longer, "restart": True})):
        with pytest.raises(RunStopped):
            run_nvt(cold(water, model, tmp_path / name, **options))
    same_files(tmp_path / "whole", tmp_path / "watched")


def test_a_replica_that_is_not_finite_spoils_no_other(tmp_path: Path, thermostat: str) -> None:
    class Burst(SpringCopies):
        calls: torch.Tensor

        def __init__(self) -> None:
            super().__init__(3)
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            self.calls += 1
            energy, forces = super().forward(positions)
            if float(self.calls) == 30.0:
                forces[3:6] = float("nan")
            return energy, forces

    for name, module in (("a", SpringCopies(3)), ("b", Burst())):
        mock = make_run(tmp_path / name, torch.jit.script(SpringCopies(3)), steps=80, thermostat=thermostat, replicas=3)
        mock.force.callback.module = module
        run_folder.write_start(
            tmp_path / name / run_folder.START, np.array([8, 1, 1]), 10.0 * read_phase(mock.context).positions[:3]
        )
        outcome = run_dynamics(*mock.arguments, Interrupt())
        assert outcome.exit_reason == "completed" and outcome.step == 80
    assert set(outcome.failures) == {1} and outcome.failures[1].problem.exit_reason == "nan"
    for name in ("replica-00", "replica-02"):
        for file in (run_folder.TRAJECTORY, run_folder.LOG):
            assert (tmp_path / "a" / name / file).read_bytes() == (tmp_path / "b" / name / file).read_bytes()


def test_every_replica_has_its_own_bath(tmp_path: Path, thermostat: str) -> None:
    # Each mean is that of the bath: a chain that all shared, or a wrong count of freedom, would fix only their mean.
    mock = make_run(
        tmp_path / "a", torch.jit.script(SpringCopies(4)), steps=12000, thermostat=thermostat, friction=20.0,
        report_interval=5.0, replicas=4,
    )  # fmt: skip
    assert run_dynamics(*mock.arguments, Interrupt()).exit_reason == "completed"
    freedom = mock.monitor.thermometer.freedom.sum()
    assert freedom == (9 if thermostat == "langevin" else 6)
    error = 300.0 * np.sqrt(2.0 / freedom * 2.0 / 50.0 / 6.0)
    series = [read_table(folder / run_folder.LOG)["temperature_K"] for folder in mock.settings.folders]
    np.testing.assert_allclose([s.mean() for s in series], 300.0, atol=4.0 * error)
    correlation = np.asarray(np.corrcoef(series))[np.triu_indices(4, 1)]
    assert np.abs(correlation).max() < 4.0 / np.sqrt(6.0 * 50.0 / 2.0)
    if thermostat == "nose-hoover":
        masses = mock.monitor.thermometer.masses
        velocities = read_phase(mock.context).velocities.reshape(4, 3, 3)
        assert np.abs(np.einsum("a,kax->kx", masses, velocities)).max() < 1e-9


def test_the_summary_of_all_is_over_the_sound_ones() -> None:
    def one(reason: str, temperature: float, **more: Any) -> dict[str, Any]:
        by_element = {"H": temperature + 1.0, "O": temperature - 2.0}
        return {
            "exit_reason": reason, "temperature_mean_K": temperature, "temperature_by_element_K": by_element,
            "message": None, "atom": None, "steps": 10, "equilibration_steps": 0, "time_ps": 1.0, "ns_per_day": 2.0,
            "model": "m", **more,
        }  # fmt: skip

    summaries = [one("completed", 300.0), one("nan", 9e9, message="broke"), one("completed", 304.0)]
    found = summary_of_replicas(summaries, NAMES)
    assert found["over_replicas"]["temperature_mean_K"] == pytest.approx(
        {"mean": 302.0, "error": 2.0, "lowest": 300.0, "highest": 304.0}
    )
    assert found["temperature_by_element_K"] == pytest.approx({"H": 303.0, "O": 300.0})
    assert found["failures"].keys() == {"replica-01"} and found["ns_per_day"] == 4.0 and found["model"] == "m"


def test_nothing_is_written_over_where_the_checkpoint_is_gone(tmp_path: Path, water: Path, model: Path) -> None:
    folder = tmp_path / "out"
    run_nvt(cold(water, model, folder))
    (folder / run_folder.CHECKPOINT).unlink()
    before = (folder / NAMES[1] / run_folder.TRAJECTORY).read_bytes()
    with pytest.raises(InputError, match="nothing to restart from"):
        run_nvt(cold(water, model, folder, restart=True))
    assert (folder / NAMES[1] / run_folder.TRAJECTORY).read_bytes() == before


def test_a_failure_that_the_checkpoint_does_not_know_is_forgotten(tmp_path: Path) -> None:
    known, later = (Failure(Problem("nan", "it broke", 2), step) for step in (20, 31))
    write_failures(tmp_path, {4: known, 0: later})
    assert read_failures(tmp_path, 30) == {4: known} and read_failures(tmp_path, 31) == {4: known, 0: later}
    (tmp_path / run_folder.FAILURES).write_text('{"4": 3}')
    with pytest.raises(InputError, match="cannot read"):
        read_failures(tmp_path, 30)


def test_holding_the_energy_of_many_is_refused(tmp_path: Path, water: Path, model: Path) -> None:
    with pytest.raises(InputError, match="--hold-energy holds the energy of one molecule"):
        run_nve(cold(water, model, tmp_path / "out", NveSettings, hold_energy=0.1))
