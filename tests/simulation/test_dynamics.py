"""The loop on springs: temperatures, forces for nothing, exact restarts, and the stops."""

from pathlib import Path
from typing import Any

import mdtraj.formats
import numpy as np
import pytest
from spring_mock import WATER_NM, make_run, springs

from mdet_openmm.interrupt import Interrupt
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.checkpoint import load_checkpoint
from mdet_openmm.simulation.dynamics import run_dynamics
from mdet_openmm.simulation.schedule import Schedule
from mdet_openmm.simulation.state import last_force, read_phase


def rows(folder: Path) -> np.ndarray:
    return np.loadtxt(folder / run_folder.LOG, delimiter=",", skiprows=1, ndmin=2)


def test_schedule_says_what_is_due_when() -> None:
    schedule = Schedule(equilibrate=25, total=100, report=8, checkpoint=30)
    step, stops = 0, []
    while step < schedule.total:
        step = schedule.next_stop(step)
        stops.append(step)
    assert [s for s in stops if schedule.reports(s)] == [33, 41, 49, 57, 65, 73, 81, 89, 97]
    assert [s for s in stops if schedule.checkpoints(s)] == [25, 30, 60, 90, 100]
    assert max(np.diff([0, *stops])) <= 10
    assert [schedule.frames(s) for s in (0, 25, 32, 33, 97, 100)] == [0, 0, 0, 1, 9, 9]


def test_last_force_is_the_force_and_costs_no_call(tmp_path: Path, thermostat: str) -> None:
    run = make_run(tmp_path / "a", springs(), steps=10, thermostat=thermostat)
    run.context.getIntegrator().step(7)
    before = read_phase(run.context)
    expected = run.context.getState(getForces=True).getForces(asNumpy=True)._value
    run.context.getIntegrator().step(1)
    force = last_force(run.monitor.thermometer.masses, 0.0005, before, read_phase(run.context))
    np.testing.assert_allclose(force, expected, atol=1e-9 * np.abs(expected).max())


def test_one_force_call_per_step(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", springs(), steps=200)
    calls, compute = [0], run.force.callback.module

    def counted(positions: object) -> object:
        calls[0] += 1
        return compute(positions)

    run.force.callback.module = counted
    run_dynamics(*run.arguments, Interrupt())
    assert calls[0] == 200


def test_equipartition(tmp_path: Path, backend: str, thermostat: str) -> None:
    # Springs have no bath of their own: heavy and light atoms only agree if thermostat and thermometer do.
    run = make_run(
        tmp_path / "a",
        springs(),
        steps=16000,
        backend=backend,
        thermostat=thermostat,
        friction=20.0,
        report_interval=5.0,
    )
    outcome = run_dynamics(*run.arguments, Interrupt())
    assert outcome.exit_reason == "completed"
    table = rows(tmp_path / "a")
    assert len(table) == 1600
    freedom = run.monitor.thermometer.freedom
    time, memory = 8.0, 1.0 / 50.0
    for column, f in ((2, freedom.sum()), (3, freedom[1:].sum()), (4, freedom[0])):
        error = 300.0 * np.sqrt(2.0 / f * 2.0 * memory / time)
        assert table[:, column].mean() == pytest.approx(300.0, abs=4.0 * error)


def test_the_trajectory_has_the_logged_frames(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", springs(), steps=100, equilibrate=0.02)
    run_dynamics(*run.arguments, Interrupt())
    with mdtraj.formats.DCDTrajectoryFile(str(tmp_path / "a" / run_folder.TRAJECTORY)) as file:
        positions = file.read()[0]
    table = rows(tmp_path / "a")
    assert len(positions) == len(table) == 12
    np.testing.assert_array_equal(table[:, 0], 8 * np.arange(1, 13))
    np.testing.assert_allclose(table[:, 1], 0.004 * np.arange(1, 13))
    lengths = np.linalg.norm(positions[:, 1:] - positions[:, :1], axis=-1)
    start = 10.0 * np.linalg.norm(WATER_NM[1:] - WATER_NM[0], axis=-1)
    np.testing.assert_allclose(table[:, 6], np.abs(lengths - start).max(axis=1), atol=2e-6)
    header = (tmp_path / "a" / run_folder.LOG).read_text().splitlines()[0]
    assert header == (
        "step,time_ps,temperature_K,temperature_H_K,temperature_O_K,max_force_kJ_mol_nm,max_bond_stretch_A"
    )


@pytest.mark.parametrize("stop_after", [30, 61, 100])
def test_restart_is_bit_identical(tmp_path: Path, backend: str, thermostat: str, stop_after: int) -> None:
    options: dict[str, Any] = {
        "steps": 150, "equilibrate": 0.02, "backend": backend, "thermostat": thermostat, "checkpoint_interval": 0.015
    }  # fmt: skip
    run = make_run(tmp_path / "whole", springs(), **options)
    run_dynamics(*run.arguments, Interrupt())

    class Killed(Exception):
        pass

    class Kill(Interrupt):
        """Breaks off without a checkpoint, as kill -9 would."""

        calls = 0

        @property
        def asked(self) -> bool:
            Kill.calls += 1
            if Kill.calls * 5 > stop_after:
                raise Killed
            return False

    run = make_run(tmp_path / "broken", springs(), **options)
    with pytest.raises(Killed):
        run_dynamics(*run.arguments, Kill())
    run = make_run(tmp_path / "broken", springs(), start=False, **options)
    step = load_checkpoint(run.context, tmp_path / "broken")
    assert 0 <= step < 190
    run_dynamics(*run.arguments, Interrupt())
    for name in (run_folder.TRAJECTORY, run_folder.LOG, run_folder.STATE, run_folder.CHECKPOINT):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes(), name


def test_an_interrupted_run_goes_on_from_any_step(tmp_path: Path) -> None:
    run = make_run(tmp_path / "whole", springs(), steps=150)
    run_dynamics(*run.arguments, Interrupt())
    run = make_run(tmp_path / "broken", springs(), steps=150)
    run.context.getIntegrator().step(0)
    interrupt = Interrupt()
    check = run.monitor.suspects

    def interrupting(positions: np.ndarray, velocities: np.ndarray) -> list[int]:
        if run.context.getStepCount() > 70:
            interrupt.ask()
        return check(positions, velocities)

    object.__setattr__(run.monitor, "suspects", interrupting)
    outcome = run_dynamics(*run.arguments, interrupt)
    assert outcome.exit_reason == "interrupted" and 70 < outcome.step < 100
    run = make_run(tmp_path / "broken", springs(), start=False, steps=150)
    assert load_checkpoint(run.context, tmp_path / "broken") == outcome.step
    run_dynamics(*run.arguments, Interrupt())
    for name in (run_folder.TRAJECTORY, run_folder.LOG, run_folder.STATE):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes(), name


def test_stops_at_nan(tmp_path: Path, backend: str) -> None:
    run = make_run(tmp_path / "a", springs(nan_at=0.001), steps=2000, backend=backend)
    outcome = run_dynamics(*run.arguments, Interrupt())
    assert outcome.exit_reason == "nan" and 0 < outcome.step < 2000
    good = np.loadtxt((tmp_path / "a" / run_folder.LAST_GOOD).read_text().splitlines()[1:4], usecols=(5, 6, 7))
    assert np.isfinite(good).all() and np.abs(good - 10.0 * WATER_NM).max() < 2.0


def test_stops_at_a_broken_bond(tmp_path: Path, backend: str) -> None:
    run = make_run(tmp_path / "a", springs(k=100.0, push=3000.0), steps=4000, backend=backend)
    outcome = run_dynamics(*run.arguments, Interrupt())
    assert outcome.exit_reason == "broken_bond" and outcome.problem is not None
    assert "atom 1 (O)" in outcome.problem.message
    assert (rows(tmp_path / "a")[:, 6] <= 0.5).all()


def test_stops_at_a_runaway_temperature(tmp_path: Path, backend: str) -> None:
    run = make_run(tmp_path / "a", springs(whirl=3e4), steps=20000, backend=backend, friction=0.1)
    outcome = run_dynamics(*run.arguments, Interrupt())
    assert outcome.exit_reason == "runaway_temperature" and outcome.step < 20000
