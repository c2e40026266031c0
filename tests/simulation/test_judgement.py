"""What a run says at its end: wrong temperatures at any length, and forces that do not turn with the molecule."""

import pytest

from mdet_openmm.simulation.judgement import equivariance_problem, problems, temperature_problem

GOOD = {
    "ensemble": "nvt",
    "temperature_mean_K": 310.0,
    "temperature_K": 300.0,
    "degrees_of_freedom": 72,
    "equivariance_error_mean_kcal_mol_A": 0.4,
    "training_equivariance_error_kcal_mol_A": 0.3,
    "frames": 1,
}


def test_a_good_run_has_no_problem():
    assert problems(GOOD) == []
    assert problems({}) == []  # a summary of an older version


def test_caffeine_that_heats_in_two_picoseconds_is_told():
    """24 atoms at 605 K for 300 K: sqrt(2/72) is 50 K for one single sample, so that this is six of them off."""
    (text,) = problems({**GOOD, "temperature_mean_K": 605.0})
    assert "605 K at 300 K" in text


@pytest.mark.parametrize(("freedom", "mean", "wrong"), [(9, 520.0, False), (9, 1300.0, True), (900, 345.0, False),
                                                       (900, 370.0, True), (900, 235.0, True)])  # fmt: skip
def test_how_far_a_mean_may_be_off_depends_on_the_degrees_of_freedom(freedom, mean, wrong):
    found = temperature_problem({**GOOD, "degrees_of_freedom": freedom, "temperature_mean_K": mean})
    assert (found is not None) == wrong


def test_constant_energy_has_no_target():
    assert temperature_problem({**GOOD, "ensemble": "nve", "temperature_mean_K": 900.0}) is None


@pytest.mark.parametrize(("error", "far"), [(0.5, None), (0.6, False), (1.8, True)])
def test_equivariance_beside_the_trainings(error, far):
    found = equivariance_problem({**GOOD, "equivariance_error_mean_kcal_mol_A": error})
    assert (found and found[1]) == far
    assert equivariance_problem({**GOOD, "equivariance_error_mean_kcal_mol_A": 1.8, "frames": 12}) is None
