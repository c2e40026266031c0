"""The judgements at the head of a diagnosis: fit for what, with which settings, for how long, and what is not seen."""

import math
from typing import Final

from mdet_openmm.analysis.page import BAD, GOOD, NEUTRAL, WARN, Verdict
from mdet_openmm.digits import shown, shown_with_error
from mdet_openmm.measure.familiarity import KNOWN, RAISED, familiarity
from mdet_openmm.measure.field import KJ_NM_PER_MEV_A
from mdet_openmm.simulation.orientations import BUDGET_OF_TEMPERATURE, cheapest
from mdet_openmm.trust.diagnosis import Diagnosis

FORCE_ERROR_RAISED: Final = 0.1
"""Of the mean size of the forces: molecules that a model knows lie at 0.02 to 0.05."""
FORCE_ERROR_FAR: Final = 0.2
"""Beyond it vibrations and conformations are those of another molecule."""

LAMBDA_RAISED: Final = 0.1
"""The paper finds 0.1 to 0.2 after fine-tuning on small sets, and its runs at constant energy then fail; the shipped
model has 0.01."""

RISE: Final = 0.1
"""Part of the temperature by which a run at constant energy may heat before it is another experiment."""
NVE_LONG_PS: Final = 100.0
"""Long enough for spectra and correlation functions of a small molecule; less is a WARN."""
NVE_SHORT_PS: Final = 10.0
"""Below some hundred periods of the slow vibrations a run at constant energy is good for nothing."""

CURL_RISE: Final = 0.05
"""Part of the temperature that the curl may add under friction by its estimate, which is good to a factor of two or so:
less than that disappears in the statistical error of 100 ps of a small molecule (15 K of 300)."""

ROUNDING_PART: Final = 0.1
"""Of the noise of random rotations: added in squares, rounding that small changes the noise by half a per cent."""


def heating_budget(diagnosis: Diagnosis) -> float:
    """K that noise may add."""
    return BUDGET_OF_TEMPERATURE * diagnosis.settings.temperature


def noise_time(diagnosis: Diagnosis, orientations: int) -> float:
    """Time in ps until noise has raised the temperature by a tenth at constant energy, if the springs take nothing."""
    rate = diagnosis.orientations[orientations].heating.nve_mean
    return RISE * diagnosis.settings.temperature / rate if rate > 0.0 and not diagnosis.conservative else math.inf


def pumping_time(diagnosis: Diagnosis) -> float:
    """Time in ps until the curl has heated the vibrations by a tenth; second order and harmonic, see `pumping_rate`."""
    return math.log1p(RISE) / diagnosis.pumping_rate if diagnosis.pumping_rate else math.inf


def pumping_heating(diagnosis: Diagnosis) -> float | None:
    """Rise in K that the curl adds under friction; infinite if it outruns the bath, None if it was not estimated.

    The vibrations gain p E and the bath takes g (E - E_0), 2 g of the kinetic half: the rise is T p/(g - p).
    """
    if diagnosis.pumping_rate is None:
        return None
    left = diagnosis.settings.friction - diagnosis.pumping_rate
    return diagnosis.settings.temperature * diagnosis.pumping_rate / left if left > 0.0 else math.inf


def judge(diagnosis: Diagnosis) -> list[Verdict]:
    """The forces beside the teacher's, NVT, NVE, precision, then each sign of trouble, in this order."""
    forces = _forces(diagnosis)
    signs = [forces, _dynamics(diagnosis), _equivariance(diagnosis), _lambda(diagnosis), *_coverage(diagnosis)]
    trouble = any(sign.state == BAD for sign in signs)
    runs = [_nvt(diagnosis, trouble), _nve(diagnosis, trouble)]
    if any(sign.state == WARN for sign in signs):
        runs = [Verdict(WARN, f"{v.text} But see the notes below.") if v.state == GOOD else v for v in runs]
    return [forces, *runs, _precision(diagnosis), *signs[1:]]


def _forces(diagnosis: Diagnosis) -> Verdict:
    error = diagnosis.force_error
    if isinstance(error, str):
        return Verdict(NEUTRAL, f"Nobody has checked whether the forces are right: {error}.")
    number = error.worst_atom + 1
    text = (
        f"Forces: {shown(error.mae)} meV/Å from those of {error.teacher} in the mean, "
        f"{shown(100 * error.relative, 2)} % of their size, most on atom {number}"
    ) + (f"; no answer of the teacher on {error.failures} of the structures" if error.failures else "")
    if error.relative <= FORCE_ERROR_RAISED:
        return Verdict(GOOD, f"{text}.")
    if error.relative <= FORCE_ERROR_FAR:
        return Verdict(WARN, f"{text}: raised; fine-tune on some structures of it for anything but a first look.")
    return Verdict(BAD, f"{text}: wrong; label structures of this molecule and fine-tune, or use another model.")


def _settings(diagnosis: Diagnosis) -> str:
    s = diagnosis.settings
    return f"at {s.temperature:g} K, {s.timestep:g} fs and {s.friction:g}/ps in {s.precision} precision"


def _nvt(diagnosis: Diagnosis, trouble: bool) -> Verdict:
    if trouble:
        return Verdict(
            BAD, f"Not fit for NVT {_settings(diagnosis)}: see the problems below, and what to do about them."
        )
    if diagnosis.conservative:
        return Verdict(
            GOOD, f"Fit for NVT {_settings(diagnosis)}: the forces have an energy, and no rotations make noise."
        )
    budget = heating_budget(diagnosis)
    heating = {orientations: row.heating.worst for orientations, row in diagnosis.orientations.items()}
    orientations, within = cheapest(heating, budget)
    hottest = max(diagnosis.orientations[orientations].heating.langevin.items(), key=lambda item: item[1])
    heat = f"random rotations heat {hottest[0]} by {shown(hottest[1])} K (budget {shown(budget)} K, 1 %)"
    if within:
        others = "" if orientations == 1 else f"; with 1 orientation it would be {shown(heating[1])} K"
        state, curl = _curl_in_a_bath(diagnosis)
        return Verdict(
            state, f"Fit for NVT {_settings(diagnosis)} with --orientations {orientations}: {heat}{others}{curl}."
        )
    factor = heating[orientations] / budget
    return Verdict(
        BAD,
        f"Not fit for NVT {_settings(diagnosis)}: even with --orientations {orientations} {heat}. A friction of "
        f"{shown(diagnosis.settings.friction * factor, 2)}/ps or a time step of "
        f"{shown(diagnosis.settings.timestep / factor, 2)} fs would bring it down; training on such "
        "molecules is the cure.",
    )


def _curl_in_a_bath(diagnosis: Diagnosis) -> tuple[str, str]:
    rise, limit = pumping_heating(diagnosis), CURL_RISE * diagnosis.settings.temperature
    if rise is None:
        return GOOD, ""
    if rise <= limit:
        return GOOD, f"; the curl adds some {shown(rise, 1)} K, whatever the orientations"
    much = f"adds some {shown(rise, 1)} K" if rise < math.inf else "outruns the bath"
    friction = diagnosis.pumping_rate * (1.0 + 1.0 / CURL_RISE) if diagnosis.pumping_rate else 0.0
    advice = f"use --friction {shown(friction, 2)} or more"
    return WARN, f"; but the curl {much} by the estimate, whatever the orientations: {advice}"


def _nve(diagnosis: Diagnosis, trouble: bool) -> Verdict:
    unseen = "Not seen here: anharmonic motion, time step error, what happens far from these structures"
    if trouble:
        return Verdict(BAD, "Not fit for NVE: see the problems below.")
    orientations = max(diagnosis.orientations, key=lambda f: noise_time(diagnosis, f))
    by_noise, by_curl = noise_time(diagnosis, orientations), pumping_time(diagnosis)
    time = min(by_noise, by_curl)
    state = GOOD if time >= NVE_LONG_PS else WARN if time >= NVE_SHORT_PS else BAD
    if diagnosis.lambdas and diagnosis.lambdas["used"].value > LAMBDA_RAISED:
        state = BAD
    parts = []
    if not diagnosis.conservative:
        one = "" if orientations == 1 else f" (with 1 orientation {_time(noise_time(diagnosis, 1))})"
        parts.append(
            f"the noise of random rotations heats by 10 % in {_time(by_noise)} with --orientations {orientations}"
            f"{one}, in up to twice that as springs take half of the heat"
        )
    if diagnosis.pumping_rate is None:
        parts.append("the heat of the curl was not estimated (it takes a relaxed structure and an exact Jacobian)")
    else:
        parts.append(f"the curl heats by 10 % in {_time(by_curl)} (harmonic, the order of magnitude)")
    fit = "Fit" if state == GOOD else "Fit for short runs only" if state == WARN else "Not fit"
    return Verdict(state, f"{fit} for NVE: {'; '.join(parts)}. {unseen}: measure the drift.")


def _time(picoseconds: float) -> str:
    if picoseconds >= 1e6:
        return "more than 1 µs"
    return f"{shown(picoseconds / 1000, 2)} ns" if picoseconds >= 1000 else f"{shown(picoseconds, 2)} ps"


def _precision(diagnosis: Diagnosis) -> Verdict:
    noise = math.sqrt(
        sum(s * s for s in diagnosis.orientations[1].heating.sigma.values())
        / len(diagnosis.orientations[1].heating.sigma)
    )
    parts = {name: test.rounding / noise if noise else math.inf for name, test in diagnosis.symmetry.items()}
    state = GOOD if parts[diagnosis.settings.precision] <= ROUNDING_PART else WARN
    advice = "--precision mixed does" if parts["mixed"] <= ROUNDING_PART else "use --precision double"
    return Verdict(
        state,
        f"Precision: rounding changes forces by {shown(parts['mixed'], 1)} (mixed) and {shown(parts['fp32'], 1)} (all "
        f"in fp32) of the noise of rotations, {shown(noise / KJ_NM_PER_MEV_A)} meV/Å; {advice}.",
    )


def _dynamics(diagnosis: Diagnosis) -> Verdict:
    found = diagnosis.structures
    if not found.problem:
        return Verdict(GOOD, f"Measured on {found.origin}; nothing broke on the way.")
    if found.problem.startswith("the relaxation"):
        return Verdict(WARN, f"{found.problem[0].upper()}{found.problem[1:]}: not a smooth minimum, or a stiff start.")
    return Verdict(BAD, f"Runaway: {found.problem}. Label such structures and train on them.")


def _equivariance(diagnosis: Diagnosis) -> Verdict:
    own, training = diagnosis.orientations[1].raw, diagnosis.training_e_eq
    if training is None:
        return Verdict(NEUTRAL, f"E_eq {shown(own)} kcal/mol/Å; the model does not tell what it was in training.")
    ratio = own / training
    text = f"E_eq {shown(own)} kcal/mol/Å is {shown(ratio)} times the {shown(training)} of the training's molecules"
    state = familiarity(own, training)
    if state == KNOWN:
        return Verdict(GOOD, f"{text}: as on molecules that it knows.")
    if state == RAISED:
        return Verdict(WARN, f"{text}: it may not know this kind of molecule; compare some forces with the teacher.")
    return Verdict(BAD, f"{text}: it does not know this kind of molecule; label some structures and fine-tune.")


def _lambda(diagnosis: Diagnosis) -> Verdict:
    if not diagnosis.lambdas:
        return Verdict(NEUTRAL, "λ was not measured: the derivatives do not fit into memory.")
    used = diagnosis.lambdas["used"]
    text = f"λ {shown_with_error(used.value, used.error)} (0: an energy; 0.71: a random matrix)"
    if used.value <= LAMBDA_RAISED:
        return Verdict(GOOD, f"{text}: nearly conservative.")
    return Verdict(
        WARN,
        f"{text}: raised, as by fine-tuning on little data; use a thermostat, and train with more structures or with "
        "the penalty on λ.",
    )


def _coverage(diagnosis: Diagnosis) -> list[Verdict]:
    if diagnosis.coverage is None:
        text = (
            f"The model {diagnosis.model.name} does not tell what its training covered: only its elements were checked."
        )
        return [Verdict(NEUTRAL, text)]
    if not diagnosis.distances:
        return [Verdict(GOOD, "Elements, size, contacts and forces are within what the training covered.")]
    return [Verdict(WARN if d.far else NEUTRAL, f"Outside the training: {d.text}.") for d in diagnosis.distances]
