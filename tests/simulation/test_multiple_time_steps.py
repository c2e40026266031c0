"""Direct forces corrected every few steps: springs with a known curl, OpenMM's own integrators, restarts, and flags."""

import dataclasses
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import openmm
import pytest
import torch
from curled_springs import parts
from spring_mock import WATER_NM, make_run

from mdet_openmm.errors import InputError
from mdet_openmm.interrupt import Interrupt
from mdet_openmm.measure.drift import Drift
from mdet_openmm.simulation import cycles, run_folder
from mdet_openmm.simulation.checkpoint import load_checkpoint
from mdet_openmm.simulation.command import main
from mdet_openmm.simulation.dynamics import run_dynamics
from mdet_openmm.simulation.log_file import CHECK, KINETIC, POTENTIAL, WORK, read_table
from mdet_openmm.simulation.monitor import Monitor
from mdet_openmm.simulation.nve import run_nve
from mdet_openmm.simulation.nvt import run_nvt
from mdet_openmm.simulation.schedule import make_schedule
from mdet_openmm.simulation.settings import NveSettings, NvtSettings, RunSettings, resolved
from mdet_openmm.simulation.thermostat import make_langevin
from mdet_openmm.simulation.verlet import FAST, SLOW, VERLET, begin, kinetic_energy, make_verlet, work_and_check
from mdet_openmm.system.compute import PythonCompute
from mdet_openmm.system.force import add_force, choose_backend, make_system

REFERENCE = openmm.Platform.getPlatform("Reference")
MASSES = np.array([15.999, 1.008, 1.008])
Modules = tuple[torch.jit.ScriptModule, ...]


def system_of(modules: Modules, masses: np.ndarray, backend: str = "python") -> openmm.System:
    system = make_system(masses)
    for group, module in zip((FAST, SLOW), modules, strict=False):
        add_force(system, module, backend).setForceGroup(group)
    return system


def started(
    modules: Modules,
    masses: np.ndarray,
    x: np.ndarray,
    v: np.ndarray,
    timestep: float,
    backend: str = "python",
    cycle: int = 4,
) -> Any:
    """A context of the run's own NVE integrator with these modules: one, or two with a cycle of so many steps."""
    integrator = openmm.CompoundIntegrator()
    integrator.addIntegrator(openmm.VerletIntegrator(timestep))
    integrator.addIntegrator(make_verlet(timestep, cycle=cycle if len(modules) == 2 else None))
    integrator.setCurrentIntegrator(VERLET)
    context = openmm.Context(system_of(modules, masses, backend), integrator, REFERENCE)
    context.setPositions(x)
    context.setVelocities(v)
    begin(context, masses)
    return context


def energy(context: Any, masses: np.ndarray) -> float:
    state = context.getState(energy=True, velocities=True, groups=1 << FAST)
    return state.getPotentialEnergy()._value + kinetic_energy(masses, state.getVelocities(asNumpy=True)._value)


K, WHIRL, MASS = 1e5, 2e3, 10.0
OMEGA = math.sqrt(2.0 * K / MASS)


def circling(modules: Modules, backend: str, cycle: int = 4) -> Any:
    """Two atoms on a spring of no length, each on the circle on which the curl pushes it ahead."""
    x = np.array([[0.01, 0.0, 0.0], [-0.01, 0.0, 0.0]])
    v = OMEGA * np.array([[0.0, 0.01, 0.0], [0.0, -0.01, 0.0]])
    return started(modules, np.full(2, MASS), x, v, 2e-4, backend, cycle)


def test_without_correction_the_energy_grows_at_the_rate_of_the_curl(backend: str) -> None:
    """z'' = (-w² + i c) z, c = whirl/m, grows as exp(t Re sqrt(...)), the energy as its square: c/w to first order."""
    rate = 2.0 * (np.sqrt(complex(-(OMEGA**2), WHIRL / MASS))).real
    assert rate == pytest.approx(WHIRL / MASS / OMEGA, rel=1e-4)
    context = circling(parts(k=K, whirl=WHIRL)[:1], backend)
    before = energy(context, np.full(2, MASS))
    context.getIntegrator().step(2500)
    after = energy(context, np.full(2, MASS))
    assert math.log(after / before) / 0.5 == pytest.approx(rate, rel=2e-3)


@pytest.mark.parametrize("cycle", [1, 2, 4, 8])
def test_with_correction_it_is_kept(backend: str, cycle: int) -> None:
    context = circling(parts(k=K, whirl=WHIRL, cycle=cycle), backend, cycle)
    before, found = energy(context, np.full(2, MASS)), []
    for _ in range(50):
        context.getIntegrator().step(48)
        found.append(energy(context, np.full(2, MASS)) / before - 1.0)
    # the curl alone would have added 70 %; what is left comes and goes with the steps
    assert np.abs(found).max() < 2e-3
    assert abs(np.polyfit(np.arange(50), found, 1)[0]) * 50 < 2e-4


def vibrating(modules: Modules, timestep: float, backend: str = "python", cycle: int = 4) -> Any:
    v = np.random.default_rng(1).normal(size=(3, 3)) * np.sqrt(2.5 / MASSES)[:, None]
    return started(modules, MASSES, WATER_NM, v - MASSES @ v / MASSES.sum(), timestep, backend, cycle)


def test_it_is_the_trajectory_of_openmms_integrator() -> None:
    ours = vibrating(parts(WATER_NM, cycle=3), 5e-4, cycle=3)
    theirs = openmm.Context(
        system_of(parts(WATER_NM, cycle=0), MASSES),
        openmm.MTSIntegrator(1.5e-3 * openmm.unit.picosecond, [(FAST, 3), (SLOW, 1)]),
        REFERENCE,
    )
    state = ours.getState(positions=True, velocities=True)
    theirs.setPositions(state.getPositions())
    theirs.setVelocities(state.getVelocities())
    ours.getIntegrator().step(60)
    theirs.getIntegrator().step(20)
    one, other = (c.getState(positions=True).getPositions(asNumpy=True)._value for c in (ours, theirs))
    assert np.abs(one - other).max() < 1e-11
    assert np.abs(one - WATER_NM).max() > 1e-3


def test_the_work_of_both_forces_is_counted() -> None:
    context = vibrating(parts(WATER_NM), 5e-4)
    for _ in range(10):
        context.getIntegrator().step(3)
        kinetic = kinetic_energy(MASSES, context.getState(velocities=True).getVelocities(asNumpy=True)._value)
        work, check = work_and_check(context, kinetic)
        assert abs(check) < 1e-10 * kinetic
    assert abs(work) > 0.1


@pytest.mark.parametrize("alone", [False, True], ids=["both parts at every step", "gradient alone"])
def test_the_error_of_the_energy_goes_with_the_square_of_the_step(alone: bool) -> None:
    spread = []
    for timestep in (4e-4, 2e-4):
        modules: Modules = parts(WATER_NM, whirl=0.0)[:1] if alone else parts(WATER_NM, cycle=1)
        context, found = vibrating(modules, timestep, cycle=1), []
        for _ in range(100):
            context.getIntegrator().step(round(2e-3 / timestep))
            found.append(energy(context, MASSES))
        spread.append(np.std(found))
    assert spread[0] / spread[1] == pytest.approx(4.0, rel=0.05)


def test_a_cycle_costs_one_pass_over_both_heads_and_one_direct_call_for_each_other_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose_backend("python")  # which tries it once
    calls: Counter[int] = Counter()
    compute = PythonCompute.__call__

    def counted(self: PythonCompute, state: Any) -> Any:
        calls[id(self)] += 1
        return compute(self, state)

    monkeypatch.setattr(PythonCompute, "__call__", counted)
    run = make_run(tmp_path, parts(WATER_NM), kind=NveSettings, multiple_time_steps=4, steps=80, equilibrate=0.02)
    run_dynamics(*run.arguments, Interrupt(), has_energy=True)
    # of a cycle the one over both heads comes first; the energies in the log come with it
    assert list(calls.values()) == [10 + 1 + 20, 30 + 60]
    assert len(read_table(tmp_path / run_folder.LOG)[POTENTIAL]) == 10


def test_both_backends_agree() -> None:
    ends = []
    for backend in ("torch", "python"):
        context = vibrating(parts(WATER_NM), 5e-4, backend)
        context.getIntegrator().step(100)
        ends.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    assert np.abs(ends[0] - ends[1]).max() < 1e-10


def test_langevin_with_a_cycle_of_one_is_openmms_middle_scheme() -> None:
    ends = []
    for cycle, integrator in (
        (1, make_langevin(300.0, 0.0, 5e-4, 1)),
        (0, openmm.LangevinMiddleIntegrator(300.0, 0.0, 5e-4)),
    ):
        context = openmm.Context(system_of(parts(WATER_NM, cycle=cycle), MASSES), integrator, REFERENCE)
        context.setPositions(WATER_NM)
        context.setVelocities(np.random.default_rng(1).normal(size=(3, 3)))
        integrator.step(50)
        ends.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    assert np.abs(ends[0] - ends[1]).max() < 1e-12


def test_langevin_keeps_the_temperature_of_each_element(tmp_path: Path) -> None:
    options: dict[str, Any] = {"multiple_time_steps": 4, "friction": 100.0, "watch_equivariance": 0}
    run = make_run(tmp_path, parts(WATER_NM), steps=20000, equilibrate=0.2, **options)
    assert run_dynamics(*run.arguments, Interrupt()).exit_reason == "completed"
    log = read_table(tmp_path / run_folder.LOG)
    for element in ("O", "H"):
        series = log[f"temperature_{element}_K"]
        error = series.reshape(20, -1).mean(axis=1).std() / math.sqrt(19)
        assert abs(series.mean() - 300.0) < 4.0 * error < 60.0


@pytest.mark.parametrize("kind", [NveSettings, NvtSettings])
@pytest.mark.parametrize("stop_after", [30, 61, 100])
def test_restart_is_bit_identical(tmp_path: Path, backend: str, kind: type[RunSettings], stop_after: int) -> None:
    options: dict[str, Any] = {
        "kind": kind, "steps": 152, "equilibrate": 0.02, "backend": backend, "checkpoint_interval": 0.015,
        "multiple_time_steps": 4,
    }  # fmt: skip
    run = make_run(tmp_path / "whole", parts(WATER_NM), **options)
    run_dynamics(*run.arguments, Interrupt())

    class Killed(Exception):
        pass

    run = make_run(tmp_path / "broken", parts(WATER_NM), **options)

    def killing(self: Monitor, positions: np.ndarray, velocities: np.ndarray) -> list[int]:
        if run.context.getStepCount() > stop_after:
            raise Killed
        return []

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Monitor, "suspects", killing)
        run_dynamics(*run.arguments, Interrupt())
    run = make_run(tmp_path / "broken", parts(WATER_NM), start=False, **options)
    assert stop_after - 32 <= load_checkpoint(run.context, tmp_path / "broken") <= stop_after
    run_dynamics(*run.arguments, Interrupt())
    for name in (run_folder.TRAJECTORY, run_folder.LOG, run_folder.STATE, run_folder.CHECKPOINT):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes(), name


def test_all_that_is_due_falls_between_cycles() -> None:
    settings = resolved(
        NveSettings(
            system=Path("a.xyz"), multiple_time_steps=16, time=1.0, equilibrate=0.1, report_interval=4.0,
            checkpoint_interval=0.1,
        )
    )  # fmt: skip
    schedule = make_schedule(settings)
    assert (schedule.equilibrate, schedule.report, schedule.checkpoint, schedule.total) == (208, 16, 208, 208 + 2000)
    step, stops = 0, []
    while step < schedule.total:
        step = schedule.next_stop(step)
        stops.append(step)
    assert all(stop % 16 == 0 for stop in stops) and stops[-1] == schedule.total


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights: forces, and an energy that knows nothing of them."""
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
        last.weight.mul_(1e-3)
    folder = tmp_path_factory.mktemp("models") / "both"
    save_model(folder, network, elements=[1, 6, 8], training={}, metrics={}, card="random weights")
    return folder


def cold(water: Path, model: Path, folder: Path, **options: Any) -> NveSettings:
    """Cold, so that atoms hardly move while nothing holds them together."""
    options = {
        "temperature": 5.0, "equilibrate": 0.02, "steps": 160, "seed": 3, "quiet": True, "minimize": False,
        "checkpoint_interval": 0.01, "watch_equivariance": 16, "multiple_time_steps": 4, **options,
    }  # fmt: skip
    return NveSettings(system=water, model=str(model), output=folder, **options)


def test_a_run_keeps_the_energy_and_goes_on_to_the_bit(tmp_path: Path, water: Path, both: Path, backend: str) -> None:
    summary = run_nve(cold(water, both, tmp_path / "whole", backend=backend))
    assert summary["forces"] == "conservative" and summary["multiple_time_steps"] == 4
    assert summary["energy_source"] == "energy head" and summary["offset"] == "none"
    log = read_table(tmp_path / "whole" / "log.csv")
    total = log[POTENTIAL] + log[KINETIC]
    assert np.ptp(total) < 2e-2 * np.ptp(log[KINETIC])
    direct = run_nve(cold(water, both, tmp_path / "direct", backend=backend, multiple_time_steps=None, offset="none"))
    assert abs(direct["energy_drift_meV_per_atom_ps"]) > 20.0 * abs(summary["energy_drift_meV_per_atom_ps"])
    assert np.abs(log[CHECK]).max() < 1e-10 * log[KINETIC].max() and np.ptp(log[WORK]) > 0.0
    longer = cold(water, both, tmp_path / "longer", backend=backend, steps=80)
    run_nve(longer)
    run_nve(dataclasses.replace(longer, steps=160, restart=True))
    for name in ("trajectory.dcd", "log.csv", "equivariance.csv", "state.xml", "checkpoint.chk"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "longer" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--offset", "hashed"], "multiple time steps need offset none"),
        (["--offset", "random"], "noise that no later step takes away"),
        (["--forces", "direct"], "leave out --forces direct"),
        (["--replicas", "3"], "--multiple-time-steps is for one molecule; use it without --replicas"),
        (["--hold-energy", "0.1"], "--hold-energy is for direct forces"),
        (["--steps", "10"], "--steps 10 is not a whole number of cycles of --multiple-time-steps 4"),
        (["--largest-drift", "0.1"], "--largest-drift belongs to --multiple-time-steps auto"),
    ],
)
def test_what_does_not_go_with_it(
    tmp_path: Path, water: Path, both: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [str(water), "--model", str(both), "--output", str(tmp_path / "out"), "--multiple-time-steps", "4"]
    assert main([*argv, *flags], NveSettings) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_nose_hoover_and_a_model_without_an_energy_are_refused(tmp_path: Path, water: Path, model: Path) -> None:
    with pytest.raises(InputError, match="leave out nose-hoover"):
        run_nvt(
            NvtSettings(system=water, model=str(model), thermostat="nose-hoover", multiple_time_steps=2, quiet=True)
        )
    with pytest.raises(InputError, match="has no energy"):
        run_nvt(NvtSettings(system=water, model=str(model), multiple_time_steps=2, quiet=True, output=tmp_path / "o"))


def test_auto_takes_the_longest_cycle_that_the_drift_allows(
    tmp_path: Path, water: Path, both: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slopes, asked = {16: 2.0, 8: -0.3, 4: 0.06, 2: 0.01, 1: 0.0}, []

    def energies(*args: Any, cycle: int, **options: Any) -> np.ndarray:
        asked.append(cycle)
        return np.array([[t, slopes[cycle] * t] for t in np.linspace(0.0, 1.0, 9)])

    monkeypatch.setattr(cycles, "energies", energies)
    run = cold(water, both, tmp_path / "a", multiple_time_steps="auto", steps=None, time=0.01)
    run_nve(run)
    stored = json.loads((tmp_path / "a" / "settings.json").read_text())["settings"]
    assert asked == [16, 8, 4] and stored["multiple_time_steps"] == 4 and stored["steps"] == 16
    run_nve(dataclasses.replace(run, restart=True, time=0.02, largest_drift=0.5))  # what was chosen stays
    assert asked == [16, 8, 4]
    asked.clear()
    run_nve(dataclasses.replace(run, output=tmp_path / "b", largest_drift=0.5))
    assert asked == [16, 8]
    asked.clear()
    run_nve(dataclasses.replace(run, output=tmp_path / "c", time=None, steps=20))
    assert asked == [4]


def test_the_drift_of_a_trial_is_that_of_the_models_own_energy(both: Path, tmp_path: Path) -> None:
    """Of random weights the direct forces drift, and both parts together do not."""
    from mdet_openmm.export.model_folder import load_model
    from mdet_openmm.export.options import ForceOptions
    from mdet_openmm.measure.drift import linear_drift
    from mdet_openmm.molecules.molecule import Molecule

    molecule = Molecule(np.array([8, 1, 1]), 10.0 * WATER_NM, 0, 1, "water")
    velocities = np.random.default_rng(2).normal(size=(3, 3)) * 0.1
    drifts: list[Drift] = []
    for cycle in (None, 2):
        options = ForceOptions(offset="none", forces="direct" if cycle is None else None)
        table = cycles.energies(
            load_model(both), molecule, options, WATER_NM, velocities, cycle=cycle, timestep=0.5, time=0.1
        )
        assert table[-1, 0] == pytest.approx(0.096) and len(table) == 13
        found = linear_drift(*table.T)
        assert found is not None
        drifts.append(found)
    assert abs(drifts[0].slope) > 20.0 * abs(drifts[1].slope)
