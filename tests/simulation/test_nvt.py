"""Whole runs with a small model: files, summary, restarts after kill -9 and Ctrl-C."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import pytest

from mdet_openmm.errors import InputError, RunStopped
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.files import locked
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.log_file import read_table
from mdet_openmm.simulation.nvt import run_nvt
from mdet_openmm.simulation.settings import NvtSettings

COMPARED = (
    run_folder.TRAJECTORY, run_folder.LOG, run_folder.EQUIVARIANCE, run_folder.STATE, run_folder.CHECKPOINT,
    run_folder.START,
)  # fmt: skip


def cold(water: Path, model: Path, folder: Path, **options: Any) -> NvtSettings:
    """Cold and viscous, so that atoms hardly move while nothing holds them together."""
    options = {
        "temperature": 10.0, "friction": 50.0, "equilibrate": 0.02, "steps": 100, "seed": 3, "quiet": True,
        "minimize": False, "checkpoint_interval": 0.01, "watch_equivariance": 16, **options,
    }  # fmt: skip
    return NvtSettings(system=water, model=str(model), output=folder, **options)


def same_files(one: Path, other: Path) -> None:
    for name in COMPARED:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.fixture(scope="module")
def once(water_once: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("once") / "out"
    run_nvt(cold(water_once, model, folder))
    return folder


@pytest.fixture
def finished(once: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt or gone on with."""
    return Path(shutil.copytree(once, tmp_path / "out"))


def test_a_run_writes_what_it_promises(tmp_path: Path, water: Path, model: Path, backend: str, thermostat: str) -> None:
    folder = tmp_path / "out"
    summary = run_nvt(cold(water, model, folder, backend=backend, thermostat=thermostat, minimize=True, friction=None))
    assert json.loads((folder / "summary.json").read_text()) == summary
    loaded = load_model(model)
    expected = {
        "exit_reason": "completed", "steps": 100, "time_ps": 0.05, "timestep_fs": 0.5, "temperature_K": 10.0,
        "friction_per_ps": 1.0 if thermostat == "langevin" else 10.0, "report_interval_fs": 4.0, "backend": backend,
        "degrees_of_freedom": 9 if thermostat == "langevin" else 6, "precision": "double", "frames": 1,
        "offset": "hashed", "seed": 3, "charge": 0, "multiplicity": 1, "atomic_numbers": [8, 1, 1],
        "equilibrate_ps": 0.02, "thermostat": thermostat, "model": {"name": "tiny", "sha256": loaded.sha256},
    }  # fmt: skip
    assert {key: summary[key] for key in expected} == expected
    assert set(summary["temperature_by_element_K"]) == {"H", "O"}
    assert summary["ns_per_day"] == pytest.approx(86400.0 / (summary["ms_per_step"] * 1e-3) * 0.5e-6)
    assert summary["versions"]["openmm"].startswith("8.")
    trajectory = mdtraj.load(str(folder / "trajectory.dcd"), top=str(folder / "topology.pdb"))
    assert trajectory.n_frames == 12 and trajectory.n_atoms == 3 and trajectory.topology.n_bonds == 2
    table = np.loadtxt(folder / "log.csv", delimiter=",", skiprows=1)
    assert len(table) == 12 and table[:, 2].mean() == pytest.approx(summary["temperature_mean_K"])
    measured = read_table(folder / "equivariance.csv")
    assert len(measured["step"]) == summary["equivariance_measurements"] == 6
    errors = measured["equivariance_error_kcal_mol_A"]
    assert errors.mean() == pytest.approx(summary["equivariance_error_mean_kcal_mol_A"])
    assert errors.max() == pytest.approx(summary["equivariance_error_largest_kcal_mol_A"])
    assert errors.min() > 1e-6  # a network with random weights is far from equivariant
    assert {p.name for p in folder.iterdir()} == {
        "trajectory.dcd", "topology.pdb", "log.csv", "checkpoint.chk", "state.xml", "summary.json", "settings.json",
        "start.xyz", ".lock", "equivariance.csv",
    }  # fmt: skip


def test_orientations_chosen_by_their_noise(tmp_path: Path, water: Path, model: Path) -> None:
    # the noise of random weights is within 1 % of 1,000 K at 50/ps, and not of 0.1 K at 1e-4/ps
    few = run_nvt(cold(water, model, tmp_path / "few", orientations="auto", temperature=1000.0, watch=False, steps=20))
    assert few["frames"] == 1
    many = run_nvt(
        cold(water, model, tmp_path / "many", orientations="auto", temperature=0.1, friction=1e-4, watch=False, steps=4)
    )
    assert many["frames"] in (12, 24, 60)
    again = cold(
        water, model, tmp_path / "many", orientations="auto", temperature=0.1, friction=1e-4, watch=False, steps=8
    )
    assert run_nvt(dataclasses.replace(again, restart=True))["frames"] == many["frames"]
    with pytest.raises(InputError, match="--offset none makes none"):
        run_nvt(cold(water, model, tmp_path / "none", orientations="auto", offset="none"))


def test_the_logged_force_is_the_models(tmp_path: Path, water: Path, model: Path) -> None:
    import torch

    run_nvt(cold(water, model, tmp_path / "out", report_interval=0.5, steps=10, offset="none"))
    positions = mdtraj.load(str(tmp_path / "out" / "trajectory.dcd"), top=str(tmp_path / "out" / "topology.pdb")).xyz
    module = bind(load_model(model), Species([8, 1, 1]), ForceOptions(offset="none"))
    logged = np.loadtxt(tmp_path / "out" / "log.csv", delimiter=",", skiprows=1)[:, 5]
    for before, force in zip(positions[:-1], logged[1:], strict=True):
        expected = module(torch.tensor(before, dtype=torch.float64))[1].norm(dim=1).max()
        assert force == pytest.approx(float(expected), rel=1e-3)


def test_quantities_are_converted(water: Path) -> None:
    from openmm import unit

    settings = NvtSettings(
        system=water, time=0.002 * unit.nanosecond, timestep=0.001 * unit.picosecond, friction=2.0 / unit.picosecond
    )
    assert (settings.time, settings.timestep, settings.friction) == pytest.approx((2.0, 1.0, 2.0))
    with pytest.raises(InputError, match=r"^timestep must be a quantity in femtosecond, not 300 K$"):
        NvtSettings(system=water, timestep=300 * unit.kelvin)
    with pytest.raises(InputError, match=r"^temperature must be positive, not -1.0$"):
        NvtSettings(system=water, temperature=-1 * unit.kelvin)


@pytest.fixture(scope="module")
def unbroken(water_once: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken") / "out"
    run_nvt(cold(water_once, model, folder, steps=600, equilibrate=0.05, minimize=True, temperature=2.0))
    return folder


@pytest.mark.parametrize("wanted", [0.0, 0.05], ids=["equilibrating", "running"])
def test_killed_and_restarted_it_is_the_unbroken_run(
    tmp_path: Path, water: Path, model: Path, unbroken: Path, wanted: float
) -> None:
    killed = tmp_path / "killed"
    script = Path(__file__).resolve().parents[2] / "simulations" / "run_nvt.py"
    flags = [
        "--model", model, "--output", killed, "--temperature", 2, "--equilibrate", 0.05, "--steps", 600, "--seed", 3,
        "--checkpoint-interval", 0.01, "--friction", 50, "--watch-equivariance", 16, "--quiet",
    ]  # fmt: skip
    process = subprocess.Popen([sys.executable, str(script), str(water), *map(str, flags)])
    trajectory, checkpoint = killed / run_folder.TRAJECTORY, killed / run_folder.CHECKPOINT
    deadline = time.monotonic() + 100
    while process.poll() is None and time.monotonic() < deadline:
        if checkpoint.exists() and (wanted == 0.0 or (trajectory.exists() and trajectory.stat().st_size > 2000)):
            break
        time.sleep(0.001)
    assert process.poll() is None, "it ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / run_folder.SUMMARY).exists()
    # As after a crash in the middle of a frame and of a row.
    for name in (run_folder.TRAJECTORY, run_folder.LOG, run_folder.EQUIVARIANCE):
        if (killed / name).exists():
            with (killed / name).open("ab") as file:
                file.write(b"12")
    summary = run_nvt(NvtSettings(system=water, model=str(model), output=killed, restart=True, quiet=True))
    assert summary["steps"] == 600 and summary["exit_reason"] == "completed"
    same_files(unbroken, killed)


def test_killed_before_the_first_checkpoint_it_starts_over(tmp_path: Path, water: Path, model: Path) -> None:
    run_nvt(cold(water, model, tmp_path / "whole", minimize=True))
    for path in shutil.copytree(tmp_path / "whole", tmp_path / "killed").iterdir():
        if path.name != run_folder.SETTINGS:
            path.unlink()
    run_nvt(cold(water, model, tmp_path / "killed", minimize=True, restart=True))
    same_files(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_writes_everything_and_goes_on(
    tmp_path: Path, water: Path, model: Path, once: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mdet_openmm.simulation.monitor import Monitor

    broken = tmp_path / "broken"
    check, calls = Monitor.suspects, [0]

    def interrupting(self: Monitor, positions: np.ndarray, velocities: np.ndarray) -> object:
        calls[0] += 1
        if calls[0] == 11:
            os.kill(os.getpid(), number)
        return check(self, positions, velocities)

    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "suspects", interrupting)
        with pytest.raises(KeyboardInterrupt):
            run_nvt(cold(water, model, broken))
    summary = json.loads((broken / "summary.json").read_text())
    assert summary["exit_reason"] == "interrupted" and 0 < summary["steps"] < 100
    run_nvt(cold(water, model, broken, restart=True))
    same_files(once, broken)


def test_a_finished_run_can_be_made_longer(tmp_path: Path, water: Path, model: Path) -> None:
    run_nvt(cold(water, model, tmp_path / "whole", steps=150, minimize=True))
    run_nvt(cold(water, model, tmp_path / "longer", steps=77, minimize=True))
    short = NvtSettings(system=water, model=str(model), output=tmp_path / "longer", quiet=True, restart=True)
    again = run_nvt(short)
    assert again["steps"] == 77 and again["ns_per_day"] is not None
    assert run_nvt(dataclasses.replace(short, time=0.075))["steps"] == 150
    same_files(tmp_path / "whole", tmp_path / "longer")


def test_a_run_of_a_version_without_the_watch_goes_on_without_it(tmp_path: Path, water: Path, model: Path) -> None:
    folder = tmp_path / "out"
    run_nvt(cold(water, model, folder, watch_equivariance=0))
    path = folder / run_folder.SETTINGS
    stored = json.loads(path.read_text())
    for name in [n for n in stored["settings"] if "equivariance" in n]:
        del stored["settings"][name]
    del stored["ensemble"]
    path.write_text(json.dumps(stored))
    again = NvtSettings(system=water, model=str(model), output=folder, quiet=True, restart=True, steps=200)
    summary = run_nvt(again)
    assert summary["steps"] == 200 and summary["equivariance_interval_steps"] == 0
    assert not (folder / run_folder.EQUIVARIANCE).exists()


def test_a_restart_refuses_what_differs(finished: Path, water: Path, model: Path) -> None:
    folder = finished
    again = NvtSettings(system=water, model=str(model), output=folder, quiet=True, restart=True)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    for change, word in (
        ({"temperature": 11.0}, "--temperature"),
        ({"friction": 2.0}, "--friction"),
        ({"timestep": 0.25}, "--timestep"),
        ({"seed": 4}, "--seed"),
        ({"orientations": 12}, "--orientations"),
        ({"offset": "none"}, "--offset"),
        ({"backend": "python"}, "--backend"),
        ({"thermostat": "nose-hoover"}, "--thermostat"),
        ({"precision": "mixed"}, "--precision"),
        ({"report_interval": 8.0}, "--report-interval"),
        ({"steps": 50}, "shorter"),
        ({"multiplicity": 3}, "--multiplicity"),
        ({"watch_equivariance": 24}, "--watch-equivariance"),
    ):
        with pytest.raises(InputError, match=word):
            run_nvt(dataclasses.replace(again, **change))
    with pytest.raises(InputError, match="--temperature 300"):
        run_nvt(again, given={"temperature"})
    water.write_text(water.read_text().replace("0.7572", "0.7573"))
    with pytest.raises(InputError, match="not the structure"):
        run_nvt(again)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_restart_refuses_another_model(tmp_path: Path, finished: Path, water: Path, model: Path) -> None:
    import torch

    from mdet_openmm.export.model_folder import save_model

    network = load_model(model).network
    with torch.no_grad():
        next(network.parameters()).add_(0.1)
    save_model(tmp_path / "tiny", network, elements=[1, 8], training={}, metrics={}, card="")
    with pytest.raises(InputError, match="not the model"):
        run_nvt(cold(water, tmp_path / "tiny", finished, restart=True))


def test_a_broken_bond_ends_the_run(tmp_path: Path, water: Path, model: Path) -> None:
    with pytest.raises(RunStopped, match="bond between"):
        run_nvt(cold(water, model, tmp_path / "out", temperature=2000.0, friction=1.0, steps=5000, equilibrate=0.0))
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["exit_reason"] == "broken_bond" and 0 < summary["steps"] < 5000
    good = mdtraj.load(str(tmp_path / "out" / "last_good.pdb"))
    assert np.linalg.norm(good.xyz[0, 1:] - good.xyz[0, 0], axis=-1).max() < 0.147


def test_two_runs_cannot_share_a_folder(finished: Path, water: Path, model: Path) -> None:
    with locked(finished), pytest.raises(InputError, match="another process"):
        run_nvt(cold(water, model, finished, steps=200, restart=True))


def test_a_relaxation_that_breaks_a_bond_ends_the_run(
    tmp_path: Path, water: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mdet_openmm.simulation import run
    from mdet_openmm.simulation.relax import Relaxed

    torn = np.array([[0.0, 0.0, 0.1173], [0.0, 1.5, -0.4692], [0.0, -0.7572, -0.4692]])
    monkeypatch.setattr(run, "relax", lambda molecule, force: Relaxed(torn, 7, 0.01))
    with pytest.raises(RunStopped, match="in the relaxation the bond between"):
        run_nvt(cold(water, model, tmp_path / "out", minimize=True))
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["exit_reason"] == "broken_bond"


def test_a_small_molecule_gets_one_thread_unless_asked_otherwise(
    tmp_path: Path, water: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    try:
        assert run_nvt(cold(water, model, tmp_path / "one", steps=2))["threads"] == 1
        assert torch.get_num_threads() == 1
        assert run_nvt(cold(water, model, tmp_path / "two", steps=2, threads=2))["threads"] == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_one_atom_runs_with_langevin_only(tmp_path: Path, model: Path) -> None:
    atom = tmp_path / "carbon.xyz"
    atom.write_text("1\n\nC 0 0 0\n")
    options = {"thermostat": "nose-hoover", "multiplicity": 3}
    with pytest.raises(InputError, match="single atom"):
        run_nvt(cold(atom, model, tmp_path / "out", **options))
    assert not (tmp_path / "out").exists()
    summary = run_nvt(cold(atom, model, tmp_path / "out", multiplicity=3))
    assert summary["exit_reason"] == "completed" and summary["degrees_of_freedom"] == 3


@pytest.mark.parametrize("size", [0, 40, 200, -1])
def test_a_checkpoint_that_is_cut_off_is_refused(size: int, finished: Path, water: Path, model: Path) -> None:
    checkpoint = finished / run_folder.CHECKPOINT
    checkpoint.write_bytes(checkpoint.read_bytes()[:size])
    with pytest.raises(InputError, match="damaged"):
        run_nvt(cold(water, model, finished, restart=True, steps=200))


@pytest.mark.parametrize("name", [run_folder.LOG, run_folder.EQUIVARIANCE, run_folder.TRAJECTORY])
def test_files_shorter_than_the_checkpoint_knows_of_are_refused(
    name: str, finished: Path, water: Path, model: Path
) -> None:
    folder = finished
    content = (folder / name).read_bytes()
    cut = content[:-1] if name == run_folder.TRAJECTORY else content[: content[:-1].rindex(b"\n") + 1]
    for damaged in (cut, content[:-1], None):
        (folder / name).unlink() if damaged is None else (folder / name).write_bytes(damaged)
        before = {p.name: p.read_bytes() for p in folder.iterdir()}
        with pytest.raises(InputError, match=f"{name} holds fewer|cannot go on with .*{name}"):
            run_nvt(cold(water, model, folder, restart=True, steps=200))
        assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    (folder / name).write_bytes(content)
    assert run_nvt(cold(water, model, folder, restart=True, steps=200))["steps"] == 200
