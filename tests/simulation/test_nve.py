"""NVE runs: on springs for the physics, with small models for files, restarts, stops and the teacher's energy."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spring_mock import WATER_NM, make_run, springs

from mdet_openmm.errors import InputError, RunStopped
from mdet_openmm.interrupt import Interrupt
from mdet_openmm.molecules.dcd import read_frame
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.simulation import run_folder, teacher_energy
from mdet_openmm.simulation.checkpoint import load_checkpoint
from mdet_openmm.simulation.command import main
from mdet_openmm.simulation.conservation import conservation, integrator_check
from mdet_openmm.simulation.dynamics import run_dynamics
from mdet_openmm.simulation.log_file import ADDED, CHECK, KINETIC, POTENTIAL, WORK, read_table
from mdet_openmm.simulation.nve import run_nve
from mdet_openmm.simulation.nvt import run_nvt
from mdet_openmm.simulation.settings import NveSettings, NvtSettings

COMPARED = (
    run_folder.TRAJECTORY, run_folder.LOG, run_folder.EQUIVARIANCE, run_folder.STATE, run_folder.CHECKPOINT,
    run_folder.START,
)  # fmt: skip


def cold(water: Path, model: Path, folder: Path, **options: Any) -> NveSettings:
    """Cold, so that atoms hardly move while nothing holds them together."""
    options = {
        "temperature": 5.0, "equilibrate": 0.02, "steps": 100, "seed": 3, "quiet": True, "minimize": False,
        "checkpoint_interval": 0.01, "watch_equivariance": 16, **options,
    }  # fmt: skip
    return NveSettings(system=water, model=str(model), output=folder, **options)


def same_files(one: Path, other: Path) -> None:
    for name in COMPARED:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.fixture(scope="session")
def conservative_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights and an energy, whose gradient is the force, too weak to do harm in a short, cold run."""
    import torch

    from mdet_openmm.export.model_folder import save_model
    from mdet_openmm.network.config import NetworkConfig
    from mdet_openmm.network.edge_transformer import EdgeTransformer

    torch.manual_seed(0)
    config = NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=8, l_max=2, force_head=False, energy_head=True)
    network = EdgeTransformer(config)
    assert network.energy_head is not None
    last = network.energy_head.mlp[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.weight.mul_(1e-3)
    folder = tmp_path_factory.mktemp("models") / "gradient"
    save_model(folder, network, elements=[1, 6, 8], training={}, metrics={}, card="random weights")
    return folder


def spring_energy(positions: np.ndarray) -> float:
    pairs = [(0, 1), (0, 2), (1, 2)]
    now, rest = (np.array([np.linalg.norm(x[i] - x[j]) for i, j in pairs]) for x in (positions, WATER_NM))
    return 0.5 * 2e5 * float(np.sum((now - rest) ** 2))


def test_one_force_call_per_step_and_one_to_begin(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", springs(), kind=NveSettings, steps=200, equilibrate=0.01)
    calls, compute = [0], run.force.callback.module

    def counted(positions: object) -> object:
        calls[0] += 1
        return compute(positions)

    run.force.callback.module = counted
    run_dynamics(*run.arguments, Interrupt())
    assert calls[0] == 20 + 1 + 200


def test_springs_keep_their_energy_and_momenta(tmp_path: Path, backend: str) -> None:
    run = make_run(
        tmp_path / "a", springs(), kind=NveSettings, steps=4000, equilibrate=0.5, backend=backend, timestep=0.25
    )
    assert run_dynamics(*run.arguments, Interrupt()).exit_reason == "completed"
    log = read_table(tmp_path / "a" / run_folder.LOG)
    frames = [read_frame(tmp_path / "a" / run_folder.TRAJECTORY, 3, i) / 10.0 for i in range(len(log["step"]))]
    potential = np.array([spring_energy(f.astype(float)) for f in frames])
    total = potential + log[KINETIC]
    assert np.ptp(total) < 0.02 * np.ptp(log[KINETIC])
    # The work is minus the change of the potential, up to the error of the time step.
    assert np.ptp(potential + log[WORK]) < 0.02 * np.ptp(log[KINETIC])
    found = conservation(log, (log["time_ps"], total), 3)
    assert found["drift_ratio"] is not None and found["drift_ratio"] < 0.01
    assert np.abs(log[CHECK]).max() < 1e-11 * log[KINETIC].max()
    state = run.context.getState(positions=True, velocities=True)
    positions, velocities = state.getPositions(asNumpy=True)._value, state.getVelocities(asNumpy=True)._value
    masses = run.monitor.thermometer.masses[:, None]
    assert np.abs((masses * velocities).sum(axis=0)).max() < 1e-9
    assert np.abs(np.cross(positions, masses * velocities).sum(axis=0)).max() < 1e-9
    # 3n - 6 degrees of freedom are left, and the log counts those.
    assert run.monitor.thermometer.degrees_of_freedom == 3
    expected = 2.0 * log[KINETIC] / (3.0 * 8.31446e-3)
    np.testing.assert_allclose(log["temperature_K"], expected, rtol=1e-5, atol=2e-3)
    # The force in a row is the one at its frame; fp32 positions change it a little.
    stiff = springs()
    import torch

    force = np.linalg.norm(stiff(torch.from_numpy(frames[9].astype(float)))[1].numpy(), axis=1).max()
    assert log["max_force_kJ_mol_nm"][9] == pytest.approx(force, abs=0.1)


def test_a_curl_heats_and_only_the_temperature_tells(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", springs(whirl=1e3), kind=NveSettings, steps=20000, report_interval=1.0)
    outcome = run_dynamics(*run.arguments, Interrupt())
    assert outcome.exit_reason in ("runaway_temperature", "broken_bond") and 0 < outcome.step < 20000
    log = read_table(tmp_path / "a" / run_folder.LOG)
    found: dict[str, Any] = {**integrator_check(log), **conservation(log, None, 3)}
    assert found["temperature_drift_K_per_ps"] > 100.0
    assert found["integrator_check_relative"] < 1e-10
    assert found["energy_drift_meV_per_atom_ps"] is None and found["drift_ratio"] is None


@pytest.mark.parametrize("stop_after", [30, 61, 100])
def test_restart_is_bit_identical(tmp_path: Path, backend: str, stop_after: int) -> None:
    options: dict[str, Any] = {
        "kind": NveSettings, "steps": 150, "equilibrate": 0.02, "backend": backend, "checkpoint_interval": 0.015,
    }  # fmt: skip
    run = make_run(tmp_path / "whole", springs(whirl=1e3), **options)
    run_dynamics(*run.arguments, Interrupt())

    class Killed(Exception):
        pass

    run = make_run(tmp_path / "broken", springs(whirl=1e3), **options)
    check = run.monitor.suspects

    def killing(positions: np.ndarray, velocities: np.ndarray) -> list[int]:
        if run.context.getStepCount() > stop_after:
            raise Killed
        return check(positions, velocities)

    from mdet_openmm.simulation.monitor import Monitor

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Monitor, "suspects", lambda self, positions, velocities: killing(positions, velocities))
        run_dynamics(*run.arguments, Interrupt())
    run = make_run(tmp_path / "broken", springs(whirl=1e3), start=False, **options)
    assert stop_after - 30 <= load_checkpoint(run.context, tmp_path / "broken") <= stop_after
    run_dynamics(*run.arguments, Interrupt())
    for name in (run_folder.TRAJECTORY, run_folder.LOG, run_folder.STATE, run_folder.CHECKPOINT):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes(), name


def test_a_run_writes_what_it_promises(tmp_path: Path, water: Path, model: Path, backend: str) -> None:
    folder = tmp_path / "out"
    summary = run_nve(cold(water, model, folder, backend=backend, minimize=True))
    assert json.loads((folder / "summary.json").read_text()) == summary
    expected = {
        "ensemble": "nve", "exit_reason": "completed", "steps": 100, "time_ps": 0.05, "temperature_K": 5.0,
        "thermostat": None, "friction_per_ps": None, "degrees_of_freedom": 3, "energy_source": None, "seed": 3,
        "energy_drift_meV_per_atom_ps": None, "energy_drift_error_meV_per_atom_ps": None, "drift_ratio": None,
        "energy_fluctuation_meV_per_atom": None, "equivariance_measurements": 6,
    }  # fmt: skip
    assert {key: summary[key] for key in expected} == expected
    log = read_table(folder / "log.csv")
    slope, start = np.polyfit(log["time_ps"], log["temperature_K"], 1)
    assert summary["temperature_drift_K_per_ps"] == pytest.approx(slope)
    assert summary["temperature_start_K"] == pytest.approx(start)
    assert summary["temperature_drift_error_K_per_ps"] > 0.0
    assert summary["integrator_check_kJ_mol"] == np.abs(log[CHECK]).max() < 1e-12
    assert set(summary["temperature_by_element_K"]) == {"H", "O"}
    assert {p.name for p in folder.iterdir()} == {
        "trajectory.dcd", "topology.pdb", "log.csv", "equivariance.csv", "checkpoint.chk", "state.xml",
        "summary.json", "settings.json", "start.xyz", ".lock",
    }  # fmt: skip


def test_the_same_seed_is_the_same_run(tmp_path: Path, water: Path, model: Path) -> None:
    run_nve(cold(water, model, tmp_path / "a"))
    run_nve(cold(water, model, tmp_path / "b"))
    same_files(tmp_path / "a", tmp_path / "b")
    run_nve(cold(water, model, tmp_path / "c", seed=4))
    assert (tmp_path / "a" / "log.csv").read_bytes() != (tmp_path / "c" / "log.csv").read_bytes()


def test_conservative_forces_keep_the_energy_of_the_head(tmp_path: Path, water: Path, conservative_model: Path) -> None:
    summary = run_nve(cold(water, conservative_model, tmp_path / "a", steps=400, timestep=0.25, report_interval=1.0))
    assert summary["energy_source"] == "energy head"
    log = read_table(tmp_path / "a" / "log.csv")
    total = log[POTENTIAL] + log[KINETIC]
    assert np.ptp(log[KINETIC]) > 1e-3
    assert np.ptp(total) < 1e-2 * np.ptp(log[KINETIC])
    assert summary["drift_ratio"] < 0.02
    slope = np.polyfit(log["time_ps"], total, 1)[0] / 96.4853 * 1e3 / 3.0
    assert summary["energy_drift_meV_per_atom_ps"] == pytest.approx(slope, rel=1e-4)


@pytest.fixture(scope="session")
def two_headed_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights: forces, and an energy that knows nothing of them."""
    import torch

    from mdet_openmm.export.model_folder import save_model
    from mdet_openmm.network.config import NetworkConfig
    from mdet_openmm.network.edge_transformer import EdgeTransformer

    torch.manual_seed(0)
    config = NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=8, l_max=2, force_scale=1e-3, energy_head=True)
    network = EdgeTransformer(config)
    assert network.energy_head is not None
    last = network.energy_head.mlp[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.weight.mul_(1e-4)
    folder = tmp_path_factory.mktemp("models") / "two-heads"
    save_model(folder, network, elements=[1, 6, 8], training={}, metrics={}, card="random weights")
    return folder


def test_a_held_energy(tmp_path: Path, water: Path, two_headed_model: Path, backend: str) -> None:
    options: dict[str, Any] = {"steps": 240, "offset": "none", "watch_equivariance": 0, "backend": backend}
    free = run_nve(cold(water, two_headed_model, tmp_path / "free", **options))
    held = run_nve(cold(water, two_headed_model, tmp_path / "held", hold_energy=0.01, **options))
    assert free["added_energy_meV_per_atom_ps"] is None and held["energy_source"] == "energy head, which was held"
    change = {}
    for name in ("free", "held"):
        log = read_table(tmp_path / name / "log.csv")
        total = log[POTENTIAL] + log[KINETIC]
        change[name] = np.abs(total - total[0])
    # what is left is the power of the forces, here growing, times the time constant
    assert change["held"].max() < 0.25 * change["free"].max()
    # The force without scaling would have changed the energy by about what scaling took back.
    assert log[ADDED][-1] * (free["energy_drift_meV_per_atom_ps"]) < 0.0
    assert np.abs(log[CHECK]).max() < 1e-10 * log[KINETIC].max()


def test_a_held_run_goes_on_to_the_bit(tmp_path: Path, water: Path, two_headed_model: Path) -> None:
    run_nve(cold(water, two_headed_model, tmp_path / "whole", steps=200, hold_energy=0.02))
    longer = cold(water, two_headed_model, tmp_path / "longer", steps=80, hold_energy=0.02)
    run_nve(longer)
    run_nve(dataclasses.replace(longer, steps=200, restart=True))
    same_files(tmp_path / "whole", tmp_path / "longer")


@pytest.mark.parametrize(
    ("which", "options", "message"),
    [
        ("model", {"hold_energy": 0.1}, "needs a model with an energy head"),
        ("conservative_model", {"hold_energy": 0.1}, "conservative ones keep their energy"),
        ("two_headed_model", {"hold_energy": 0.004}, "shorter than ten time steps"),
        ("two_headed_model", {"hold_energy": -1.0}, "hold_energy must be positive"),
    ],
)
def test_an_energy_that_cannot_be_held(
    tmp_path: Path, water: Path, request: pytest.FixtureRequest, which: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run_nve(cold(water, request.getfixturevalue(which), tmp_path / "a", **options))
    assert not (tmp_path / "a").exists()


def test_killed_and_restarted_it_is_the_unbroken_run(tmp_path: Path, water: Path, model: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_nve(cold(water, model, whole, steps=600, equilibrate=0.05, minimize=True, temperature=2.0))
    script = Path(__file__).resolve().parents[2] / "simulations" / "run_nve.py"
    flags = [
        "--model", model, "--output", killed, "--temperature", 2, "--equilibrate", 0.05, "--steps", 600, "--seed", 3,
        "--checkpoint-interval", 0.01, "--watch-equivariance", 16, "--quiet",
    ]  # fmt: skip
    process = subprocess.Popen([sys.executable, str(script), str(water), *map(str, flags)])
    trajectory, checkpoint = killed / run_folder.TRAJECTORY, killed / run_folder.CHECKPOINT
    deadline = time.monotonic() + 100
    while process.poll() is None and time.monotonic() < deadline:
        if checkpoint.exists() and trajectory.exists() and trajectory.stat().st_size > 2000:
            break
        time.sleep(0.001)
    assert process.poll() is None, "it ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / run_folder.SUMMARY).exists()
    for name in (run_folder.TRAJECTORY, run_folder.LOG, run_folder.EQUIVARIANCE):
        if (killed / name).exists():  # as after a crash in the middle of a frame and of a row
            with (killed / name).open("ab") as file:
                file.write(b"12")
    summary = run_nve(NveSettings(system=water, model=str(model), output=killed, restart=True, quiet=True))
    assert summary["steps"] == 600 and summary["exit_reason"] == "completed"
    same_files(whole, killed)


def test_interrupted_it_writes_everything_and_goes_on(
    tmp_path: Path, water: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    from mdet_openmm.simulation.monitor import Monitor

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run_nve(cold(water, model, whole, teacher="gfn2"))
    check, calls = Monitor.suspects, [0]

    def interrupting(self: Monitor, positions: np.ndarray, velocities: np.ndarray) -> object:
        calls[0] += 1
        if calls[0] == 11:
            os.kill(os.getpid(), signal.SIGINT)
        return check(self, positions, velocities)

    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "suspects", interrupting)
        with pytest.raises(KeyboardInterrupt):
            run_nve(cold(water, model, broken, teacher="gfn2"))
    summary = json.loads((broken / "summary.json").read_text())
    assert summary["exit_reason"] == "interrupted" and 0 < summary["steps"] < 100
    assert summary["energy_source"] is None and not (broken / "reference.csv").exists()
    run_nve(cold(water, model, broken, restart=True))
    same_files(whole, broken)
    assert (whole / "reference.csv").read_bytes() == (broken / "reference.csv").read_bytes()


def test_a_finished_run_can_be_made_longer(tmp_path: Path, water: Path, model: Path) -> None:
    run_nve(cold(water, model, tmp_path / "whole", steps=150, minimize=True))
    run_nve(cold(water, model, tmp_path / "longer", steps=77, minimize=True))
    short = NveSettings(system=water, model=str(model), output=tmp_path / "longer", quiet=True, restart=True)
    assert run_nve(dataclasses.replace(short, time=0.075))["steps"] == 150
    same_files(tmp_path / "whole", tmp_path / "longer")
    with pytest.raises(InputError, match="no nvt run; go on with run_nve"):
        run_nvt(NvtSettings(system=water, model=str(model), output=tmp_path / "longer", quiet=True, restart=True))


def test_a_run_that_is_stopped_leaves_its_data_and_its_drift(tmp_path: Path, water: Path, model: Path) -> None:
    folder = tmp_path / "out"
    hot = cold(water, model, folder, temperature=1000.0, steps=5000, equilibrate=0.0, report_interval=0.5)
    with pytest.raises(RunStopped, match="bond between"):
        run_nve(dataclasses.replace(hot, teacher="gfn2"))
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["exit_reason"] == "broken_bond" and (folder / "last_good.pdb").exists()
    assert summary["temperature_drift_K_per_ps"] is not None
    # Random forces hold nothing together: as the bond breaks, GFN2-xTB's energy rises and the atoms do not slow down.
    assert summary["energy_source"] == "GFN2-xTB" and summary["energy_drift_meV_per_atom_ps"] > 0.0
    rows = len(read_table(folder / "log.csv")["step"])
    assert len(read_table(folder / "reference.csv")["step"]) == rows // teacher_energy.stride(rows) > 10


def test_a_large_equivariance_error_is_status_3(
    tmp_path: Path, water: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [str(water), "--model", str(model), "--output", str(tmp_path / "a"), "--temperature", "5", "--steps", "50"]
    flags += ["--no-minimize", "--equilibrate", "0", "--watch-equivariance", "16", "--seed", "1"]
    assert main([*flags, "--largest-equivariance-error", "1e-9"], NveSettings) == 3
    assert "equivariance error" in capsys.readouterr().err
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert summary["exit_reason"] == "equivariance" and summary["steps"] == 16


def test_the_teachers_energy(tmp_path: Path, water: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tblite")
    from mdet_openmm.data.config import TeacherConfig
    from mdet_openmm.data.teacher import make_teacher

    monkeypatch.setattr(teacher_energy, "MOST_FRAMES", 5)
    folder = tmp_path / "a"
    summary = run_nve(cold(water, model, folder, teacher="gfn2"))
    log, table = read_table(folder / "log.csv"), read_table(folder / "reference.csv")
    np.testing.assert_array_equal(table["step"], [32, 64, 96])  # every fourth of twelve frames
    teacher = make_teacher(TeacherConfig(kind="gfn2"), Species(np.array([8, 1, 1])))
    for row, energy in zip((3, 7, 11), table["potential_energy_eV"], strict=True):
        assert energy == pytest.approx(teacher(read_frame(folder / "trajectory.dcd", 3, row).astype(float)).energy)
    total = table["potential_energy_eV"] * 96.4853321 + log[KINETIC][[3, 7, 11]]
    slope = np.polyfit(table["time_ps"], total, 1)[0] / 96.4853321 * 1e3 / 3.0
    assert summary["energy_drift_meV_per_atom_ps"] == pytest.approx(slope, rel=1e-3)
    assert 0.0 < summary["reference_position_error_meV_per_atom"] < 1e-2
    # A longer run uses what there is, and an interrupted evaluation goes on where it stood.
    before = (folder / "reference.csv").read_text().splitlines()
    (folder / "reference.csv").write_text("\n".join(before[:3]) + "\n96,0.04")
    again = NveSettings(system=water, model=str(model), output=folder, quiet=True, restart=True)
    run_nve(again)
    assert (folder / "reference.csv").read_text().splitlines() == before
    run_nve(dataclasses.replace(again, steps=200))
    after = (folder / "reference.csv").read_text().splitlines()
    assert after[:4] == before and [row.split(",")[0] for row in after[4:]] == ["128", "192"]


def test_a_finished_run_gets_the_teachers_energy_when_it_is_asked_for(tmp_path: Path, water: Path, model: Path) -> None:
    pytest.importorskip("tblite")
    folder = tmp_path / "a"
    assert run_nve(cold(water, model, folder))["energy_source"] is None
    before = {name: (folder / name).read_bytes() for name in COMPARED}
    again = NveSettings(system=water, model=str(model), output=folder, quiet=True, restart=True, teacher="gfn2")
    summary = run_nve(again)
    assert summary["energy_source"] == "GFN2-xTB" and summary["energy_drift_error_meV_per_atom_ps"] > 0.0
    assert {name: (folder / name).read_bytes() for name in COMPARED} == before


def taught(model: Path, folder: Path, teacher: str) -> Path:
    """A copy of a model that says whose labels it learnt from."""
    from mdet_openmm.export.model_folder import load_model, save_model

    loaded = load_model(model)
    training = {"teacher": teacher}
    save_model(folder, loaded.network, elements=loaded.elements, training=training, metrics={}, card="taught")
    return folder


def test_the_teacher_is_the_one_that_the_model_learnt_from(
    tmp_path: Path, water: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tblite")
    learnt = taught(model, tmp_path / "model", "GFN2-xTB")
    run = tmp_path / "run"
    assert run_nve(cold(water, learnt, run))["energy_source"] == "GFN2-xTB"
    assert run_nve(cold(water, learnt, tmp_path / "without", teacher="none"))["energy_source"] is None
    assert run_nve(cold(water, model, tmp_path / "unknown"))["energy_source"] is None

    pytest.importorskip("so3krates_torch", reason="needs the extra 'teachers'")
    by_gfn2 = read_table(run / "reference.csv")["potential_energy_eV"]
    again = NveSettings(system=water, model=str(learnt), output=run, quiet=True, restart=True, teacher="so3lr")
    assert run_nve(again)["energy_source"] == "SO3LR (PBE0+MBD)"
    by_so3lr = read_table(run / "reference.csv")["potential_energy_eV"]  # none of them is the other's
    assert len(by_so3lr) == len(by_gfn2) and np.abs(by_so3lr - by_gfn2).min() > 1.0

    monkeypatch.setitem(sys.modules, "tblite.interface", None)
    summary = run_nve(cold(water, learnt, tmp_path / "missing", quiet=False))
    assert summary["energy_source"] is None and "not compared with that of GFN2-xTB" in capsys.readouterr().out


def test_a_missing_teacher_is_said_before_anything_is_written(
    tmp_path: Path, water: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tblite.interface", None)
    with pytest.raises(InputError, match=r"mdet-openmm\[label\]"):
        run_nve(cold(water, model, tmp_path / "out", teacher="gfn2"))
    assert not (tmp_path / "out").exists()


def test_one_atom_is_refused(tmp_path: Path, model: Path) -> None:
    atom = tmp_path / "carbon.xyz"
    atom.write_text("1\n\nC 0 0 0\n")
    with pytest.raises(InputError, match="single atom"):
        run_nve(cold(atom, model, tmp_path / "out", multiplicity=3))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--friction", "1"], "friction"),
        (["--thermostat", "langevin"], "thermostat"),
        (["--teacher", "dft"], "teacher"),
        (["--watch-equivariance", "-1"], "--watch-equivariance"),
        (["--equivariance-rotations", "1"], "--equivariance-rotations"),
        (["--largest-equivariance-error", "0"], "--largest-equivariance-error"),
        (["--largest-equivariance-error", "1", "--watch-equivariance", "0"], "needs measurements"),
        (["--equivariance-action", "ignore"], "equivariance-action"),
        (["--timestep", "10"], "--timestep must be positive and at most 5.0, not 10.0"),
    ],
)
def test_bad_flags(
    flags: list[str], words: str, water: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(water), "--model", str(model), "--output", str(tmp_path / "out"), "--steps", "2", *flags]
    try:
        status: object = main(arguments, NveSettings)
    except SystemExit as error:
        status = error.code
    assert status == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and words in lines[0]
    assert not (tmp_path / "out").exists()
