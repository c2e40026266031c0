"""Each verdict from measurements that are set: what is fit, what is not, and what to do."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mdet_openmm.analysis.page import BAD, GOOD, NEUTRAL, WARN
from mdet_openmm.export.model_folder import Model
from mdet_openmm.measure.coverage import Coverage, Distance
from mdet_openmm.measure.curl import LoopWork
from mdet_openmm.measure.heating import Heating
from mdet_openmm.measure.orientation import SymmetryTest
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.simulation.structures import Samples
from mdet_openmm.trust.contents import make_page, numbers_of
from mdet_openmm.trust.diagnosis import Diagnosis, Equivariance, LambdaResult
from mdet_openmm.trust.forces import ForceError
from mdet_openmm.trust.settings import DiagnoseSettings
from mdet_openmm.trust.verdicts import judge, noise_time, pumping_heating, pumping_time

WATER = np.array([[0.0, 0, 0.1173], [0, 0.7572, -0.4692], [0, -0.7572, -0.4692]])


def row(heat: float, e_eq: float = 0.2) -> Equivariance:
    heating = Heating({"O": 500.0, "H": 500.0}, {"O": 0.1 * heat, "H": heat}, 0.7 * heat, 2.0 * 0.7 * heat)
    return Equivariance(64, e_eq, e_eq, 0.01, (e_eq, e_eq), heating)


@pytest.fixture
def diagnosis() -> Diagnosis:
    """A molecule on which all is well."""
    config = NetworkConfig(n_layers=1, embd_dim=16, n_heads=2, n_radial=8, l_max=2)
    test = SymmetryTest(torch.ones(3), torch.ones(3), 0.5)
    return Diagnosis(
        settings=DiagnoseSettings(model="m", system=Path("water.xyz")),
        model=Model("m", Path("m"), EdgeTransformer(config), (1, 8), False, "0" * 64),
        molecule=Molecule(np.array([8, 1, 1]), WATER, name="water"),
        conservative=False,
        structures=Samples(WATER[None], "the relaxed structure", relaxed=True),
        orientations={1: row(1.0), 12: row(0.1), 24: row(0.01), 60: row(0.001)},
        net_force=1.0,
        net_torque=1.0,
        rms_force=100.0,
        symmetry={"fp32": test, "mixed": test, "double": test},
        lambdas={name: LambdaResult(0.01, 0.001, (0.01,), "16 probes") for name in ("raw", "used")},
        loops=[LoopWork(0.001, torch.ones(2), torch.ones(2))],
        pumping_rate=1e-4,
        coverage=Coverage((1, 8), 2, 12, {"O-H": (0.8, 0.9)}, 3.0, ("H2O",), 0.19),
        distances=[],
        training_e_eq=0.19,
        force_error=ForceError("GFN2-xTB", 20.0, 600.0, 1, 0),
    )


def states(diagnosis: Diagnosis, **changes: Any) -> tuple[str, str, list[str]]:
    """States of NVT and NVE, and all texts."""
    found = judge(dataclasses.replace(diagnosis, **changes))
    return found[1].state, found[2].state, [v.text for v in found[1:]]


def test_all_is_well(diagnosis: Diagnosis) -> None:
    found = judge(diagnosis)
    assert {v.state for v in found} == {GOOD}
    assert "--orientations 1:" in found[1].text and "--orientations 60" in found[2].text


def test_orientations_that_are_needed(diagnosis: Diagnosis) -> None:
    nvt, _, texts = states(diagnosis, orientations={1: row(40.0), 12: row(4.0), 24: row(2.0), 60: row(0.001)})
    assert nvt == GOOD and "--orientations 24:" in texts[0] and "with 1 orientation it would be 40 K" in texts[0]
    nvt, _, texts = states(diagnosis, orientations={f: row(30.0) for f in (1, 12, 24, 60)})
    assert (
        nvt == BAD and "10/ps" in texts[0] and "0.05 fs" in texts[0]
    )  # ten times the friction, or a tenth of the step


def test_times_at_constant_energy(diagnosis: Diagnosis) -> None:
    assert noise_time(diagnosis, 1) == pytest.approx(30.0 / 1.4)
    assert pumping_time(diagnosis) == pytest.approx(np.log(1.1) / 1e-4)
    for rate, state in ((1e-2, BAD), (5e-3, WARN), (1e-4, GOOD), (0.0, GOOD), (None, GOOD)):
        assert states(diagnosis, pumping_rate=rate)[1] == state
    noisy = {1: row(1e3), 12: row(2.0), 24: row(2.0), 60: row(2.0)}
    _, nve, texts = states(diagnosis, orientations=noisy)
    assert nve == WARN and "11 ps with --orientations 12" in texts[1]


def test_curl_in_a_bath(diagnosis: Diagnosis) -> None:
    # 300 K p/(1 - p): 3 K at 0.0099/ps; 5 % is reached at a friction of 21 p
    assert pumping_heating(dataclasses.replace(diagnosis, pumping_rate=1 / 101)) == pytest.approx(3.0)
    nvt, _, texts = states(diagnosis, pumping_rate=1 / 101)
    assert nvt == GOOD and "some 3 K" in texts[0]
    nvt, _, texts = states(diagnosis, pumping_rate=0.1)
    assert nvt == WARN and "--friction 2.1 " in texts[0]
    damped = dataclasses.replace(
        diagnosis, pumping_rate=0.1, settings=dataclasses.replace(diagnosis.settings, friction=2.11)
    )
    assert judge(damped)[1].state == GOOD
    nvt, _, texts = states(diagnosis, pumping_rate=1.5)
    assert nvt == WARN and "outruns" in texts[0]


def test_signs_of_trouble(diagnosis: Diagnosis) -> None:
    broken = dataclasses.replace(
        diagnosis.structures, problem="a bond broke (0.9 Å off) within 250 fs of dynamics at 300 K"
    )
    nvt, nve, texts = states(diagnosis, structures=broken)
    assert nvt == nve == BAD and any("Runaway" in t for t in texts)
    relaxed = dataclasses.replace(diagnosis.structures, problem="the relaxation ended with a force of 0.2 eV/Å")
    nvt, nve, texts = states(diagnosis, structures=relaxed)
    assert (nvt, nve) == (WARN, WARN) and texts[0].startswith("Fit") and texts[0].endswith("see the notes below.")
    assert states(diagnosis, training_e_eq=0.04)[:2] == (BAD, BAD)
    nvt, nve, texts = states(diagnosis, training_e_eq=0.1)
    assert (nvt, nve) == (WARN, WARN) and any("2 times" in t for t in texts)
    raised = {"raw": diagnosis.lambdas["raw"], "used": LambdaResult(0.15, 0.0, (0.15,), "exact")}
    nvt, nve, texts = states(diagnosis, lambdas=raised)
    assert (nvt, nve) == (WARN, BAD) and any("raised" in t for t in texts)
    far = [Distance("20 atoms, and the largest molecule of the training has 12", True), Distance("formula", False)]
    assert [v.state for v in judge(dataclasses.replace(diagnosis, distances=far))][-2:] == [WARN, NEUTRAL]


def test_rounding_beside_the_noise(diagnosis: Diagnosis) -> None:
    coarse = {**diagnosis.symmetry, "mixed": dataclasses.replace(diagnosis.symmetry["mixed"], rounding=100.0)}
    for precision, state in (("double", GOOD), ("mixed", WARN)):
        settings = dataclasses.replace(diagnosis.settings, precision=precision)
        found = judge(dataclasses.replace(diagnosis, symmetry=coarse, settings=settings))[3]
        assert found.state == state and "use --precision double" in found.text


def test_what_is_not_known_is_said(diagnosis: Diagnosis) -> None:
    found = judge(
        dataclasses.replace(diagnosis, coverage=None, training_e_eq=None, lambdas={}, loops=[], pumping_rate=None)
    )
    assert [v.state for v in found[-3:]] == [NEUTRAL] * 3
    assert "does not tell" in found[-1].text


def test_forces_with_an_energy(diagnosis: Diagnosis) -> None:
    nvt, nve, texts = states(
        diagnosis, conservative=True, pumping_rate=0.0, orientations={f: row(99.0) for f in (1, 12, 24, 60)}
    )
    assert (nvt, nve) == (GOOD, GOOD) and "random rotations" not in texts[1]


def test_page_and_numbers_of_what_is_not_known(diagnosis: Diagnosis) -> None:
    from mdet_openmm.analysis.page import render

    bare = dataclasses.replace(diagnosis, coverage=None, training_e_eq=None, lambdas={}, loops=[], pumping_rate=None)
    for each in (diagnosis, bare):
        verdicts = judge(each)
        text = render(make_page(each, verdicts))
        assert verdicts[0].text.split(":")[0] in text and "<script" not in text and "http" not in text
        numbers = numbers_of(each, verdicts)
        assert numbers["frames"]["12"]["langevin_heating_K"]["H"] == 0.1
        assert (numbers["coverage"] is None) == (each.coverage is None)


@pytest.mark.parametrize(("relative", "state"), [(0.05, GOOD), (0.15, WARN), (0.44, BAD)])
def test_wrong_forces_cap_the_verdict(diagnosis: Diagnosis, relative: float, state: str) -> None:
    found = judge(dataclasses.replace(diagnosis, force_error=ForceError("GFN2-xTB", 600.0 * relative, 600.0, 4, 0)))
    assert [v.state for v in found[:3]] == [state] * 3
    assert f"{100 * relative:.2g} %" in found[0].text and "atom 5" in found[0].text


def test_without_a_teacher_it_says_that_nobody_checked(diagnosis: Diagnosis) -> None:
    found = judge(dataclasses.replace(diagnosis, force_error="tblite is not installed"))
    assert found[0].state == NEUTRAL and found[0].text.startswith("Nobody has checked")
    assert found[1].state == GOOD
