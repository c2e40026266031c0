"""The equivariance error of forces that are known, and a watch that takes nothing from the run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spring_mock import WATER_NM, make_run, springs

from mdet_openmm.export.rotations import quaternion_to_matrix
from mdet_openmm.interrupt import Interrupt
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.dynamics import run_dynamics
from mdet_openmm.simulation.equivariance import EquivarianceWatch, measure_inequivariance, summarize_equivariance
from mdet_openmm.simulation.log_file import read_table
from mdet_openmm.simulation.relax import force_function
from mdet_openmm.simulation.settings import NveSettings, NvtSettings, RunSettings

EV_PER_ANGSTROM = 964.853  # kJ/mol/nm
KCAL_PER_MOL = 23.0605  # per eV


def turns(count: int, seed: int = 0) -> np.ndarray:
    quaternions = np.random.default_rng(seed).normal(size=(count, 4))
    return quaternion_to_matrix(torch.from_numpy(quaternions / np.linalg.norm(quaternions, axis=1)[:, None])).numpy()


def wind(positions: np.ndarray) -> tuple[float, np.ndarray]:
    """The same force on every atom however the molecule is turned: 30 meV/Å along z."""
    return 0.0, np.broadcast_to([0.0, 0.0, 0.03 * EV_PER_ANGSTROM], positions.shape).copy()


def test_of_a_force_that_turns_with_the_molecule_it_is_zero() -> None:
    force = force_function(springs())
    moved = WATER_NM + 0.01 * np.random.default_rng(3).normal(size=(3, 3))
    assert np.abs(force(moved)[1]).max() > 100.0
    assert measure_inequivariance(force, moved + 5.0, turns(8))[0].error < 1e-10


def test_of_a_wind_it_is_the_strength_of_the_wind() -> None:
    # Turned back, a wind blows from everywhere: its mean over rotations is zero, so its own length is the deviation.
    many = measure_inequivariance(wind, WATER_NM, turns(4000))[0]
    assert many.error == pytest.approx(0.03 * KCAL_PER_MOL, rel=0.01)
    assert many.noise == pytest.approx(30.0 / np.sqrt(3.0), rel=0.01)
    few = [measure_inequivariance(wind, WATER_NM, turns(8, seed))[0] for seed in range(400)]
    assert np.sqrt(np.mean([f.noise**2 for f in few])) == pytest.approx(30.0 / np.sqrt(3.0), rel=0.01)
    # Without the factor for few rotations it would be 9 % too small (for lengths the factor is not quite exact).
    assert np.mean([f.error for f in few]) == pytest.approx(many.error, rel=0.035)


@pytest.mark.parametrize("kind", [NvtSettings, NveSettings])
def test_it_does_not_change_the_run_by_one_bit(tmp_path: Path, kind: type[RunSettings]) -> None:
    for name, interval in (("with", 16), ("without", 0)):
        run = make_run(tmp_path / name, springs(), kind=kind, steps=200, equilibrate=0.01, watch_equivariance=interval)
        watch = EquivarianceWatch(run.settings, wind, str) if interval else None
        run_dynamics(*run.arguments, Interrupt(), watch=watch)
    for name in (run_folder.TRAJECTORY, run_folder.LOG, run_folder.STATE, run_folder.CHECKPOINT):
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes(), name
    table = read_table(tmp_path / "with" / run_folder.EQUIVARIANCE)
    np.testing.assert_array_equal(table["step"], 16 * np.arange(1, 13))
    np.testing.assert_allclose(table["time_ps"], 0.008 * np.arange(1, 13))
    assert not (tmp_path / "without" / run_folder.EQUIVARIANCE).exists()


def test_it_leaves_torchs_generator_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", springs(), steps=10, watch_equivariance=8)
    watch = EquivarianceWatch(run.settings, force_function(springs()), str)
    watch.open({0: tmp_path / "a" / run_folder.EQUIVARIANCE}, 0)
    torch.manual_seed(1)
    expected = torch.randn(3)
    torch.manual_seed(1)
    watch.measure(WATER_NM, 8, 0.004)
    watch.close()
    assert torch.equal(torch.randn(3), expected)


def test_an_interval_is_made_of_whole_reports(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", springs(), steps=100, watch_equivariance=17)
    assert run.schedule.equivariance == 24
    assert [s for s in range(101) if run.schedule.measures_equivariance(s)] == [24, 48, 72, 96]
    assert make_run(tmp_path / "b", springs(), steps=100).schedule.equivariance == 400


def test_a_larger_error_stops(tmp_path: Path) -> None:
    limit: dict[str, Any] = {"watch_equivariance": 16, "largest_equivariance_error": 0.1}
    run = make_run(tmp_path / "a", springs(), steps=100, **limit)
    outcome = run_dynamics(*run.arguments, Interrupt(), watch=EquivarianceWatch(run.settings, wind, "atom {}".format))
    assert outcome.exit_reason == "equivariance" and outcome.step == 16 and outcome.problem is not None
    assert "limit 0.1" in outcome.problem.message and "atom " in outcome.problem.message
    assert (tmp_path / "a" / run_folder.LAST_GOOD).exists()
    assert len(read_table(tmp_path / "a" / run_folder.EQUIVARIANCE)["step"]) == 1
    calm = make_run(tmp_path / "b", springs(), steps=100, **limit)
    watch = EquivarianceWatch(calm.settings, force_function(springs()), str)
    assert run_dynamics(*calm.arguments, Interrupt(), watch=watch).exit_reason == "completed"


def test_a_larger_error_warns_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options: dict[str, Any] = {
        "watch_equivariance": 16,
        "largest_equivariance_error": 0.1,
        "equivariance_action": "warn",
    }
    run = make_run(tmp_path / "a", springs(), steps=100, quiet=False, **options)
    outcome = run_dynamics(*run.arguments, Interrupt(), watch=EquivarianceWatch(run.settings, wind, str))
    assert outcome.exit_reason == "completed"
    assert capsys.readouterr().err.count("equivariance error is") == 1
    found = summarize_equivariance(tmp_path / "a" / run_folder.EQUIVARIANCE, 0.1)
    assert found["equivariance_exceeded"] == found["equivariance_measurements"] == 6
    assert found["equivariance_error_mean_kcal_mol_A"] <= found["equivariance_error_largest_kcal_mol_A"] < 1.0
