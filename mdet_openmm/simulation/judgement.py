"""What a run that has ended says of itself: said at its end, and at the head of its report."""

from collections.abc import Mapping
from typing import Any

from mdet_openmm.digits import shown
from mdet_openmm.measure.familiarity import KNOWN, STRANGE, familiarity
from mdet_openmm.measure.temperature import widest_means


def temperature_problem(summary: Mapping[str, Any]) -> str | None:
    """Why the mean temperature of a run in a bath is wrong, whatever its length; None if it may be right."""
    mean, target, freedom = (summary.get(k) for k in ("temperature_mean_K", "temperature_K", "degrees_of_freedom"))
    if summary.get("ensemble") != "nvt" or mean is None or not target or not freedom:
        return None
    lowest, highest = widest_means(float(target), int(freedom))
    if lowest <= mean <= highest:
        return None
    return (
        f"the mean temperature is {mean:.0f} K at {target:g} K; {int(freedom)} degrees of freedom in a bath never "
        f"show more than {lowest:.0f} to {highest:.0f} K, however short the run: the forces heat or cool the molecule"
    )


def equivariance_problem(summary: Mapping[str, Any]) -> tuple[str, bool] | None:
    """What is wrong with the equivariance error beside the training's, and whether it is far off; None if nothing."""
    own, training = (
        summary.get(k) for k in ("equivariance_error_mean_kcal_mol_A", "training_equivariance_error_kcal_mol_A")
    )
    # with more orientations the error is smaller than the training's, which was measured with one
    if own is None or not training or summary.get("frames") != 1:
        return None
    state = familiarity(float(own), float(training))
    if state == KNOWN:
        return None
    times = f"{shown(own / training)} times that of the training's molecules"
    text = f"the equivariance error is {shown(own)} kcal/mol/Å, {times}"
    return f"{text}: the model does not know this kind of molecule", state == STRANGE


def problems(summary: Mapping[str, Any]) -> list[str]:
    """All that is wrong, for the last lines of a run."""
    equivariance = equivariance_problem(summary)
    found = [temperature_problem(summary), equivariance[0] if equivariance else None]
    return [text for text in found if text]
