"""What a run of replicas says of each, and of all of them together.

Replicas are independent, so that the error of a mean over them is the standard deviation of their means over √R, with
no assumption about how long a run remembers. Those that went wrong are named and left out of it with all that they
have: what a molecule does on its way to breaking is not a part of the ensemble. How many there were is a result of its
own, and it is the first thing said.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.digits import shown
from mdet_openmm.errors import RunStopped
from mdet_openmm.files import write_json
from mdet_openmm.interrupt import Interrupt
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.dynamics import Outcome
from mdet_openmm.simulation.judgement import problems
from mdet_openmm.simulation.setup import Say, Setup
from mdet_openmm.simulation.summary import summarize
from mdet_openmm.simulation.thermostat import replica_seeds
from mdet_openmm.units import KJ_PER_MOL_PER_HARTREE

Measure = Callable[[Setup, Outcome, Interrupt, Say], tuple[Outcome, dict[str, Any]]]
"""What an ensemble makes of the files of a run that has ended: how it ended now, and more entries of the summary."""

AVERAGED = (
    "temperature_mean_K",
    "equivariance_error_mean_kcal_mol_A",
    "temperature_start_K",
    "temperature_drift_K_per_ps",
    "energy_drift_meV_per_atom_ps",
    "energy_fluctuation_meV_per_atom",
    "drift_ratio",
)
"""Entries of the replicas' summaries that have a mean and an error in that of the run."""
MOST_NAMED = 3
"""Failed replicas in one message; all are in the summary."""


def potential_energies(module: Any, device: str) -> Callable[[NDArray[np.float64]], Sequence[float]]:
    """Potential energies (R,) in kJ/mol from (R n, 3) positions in nm, by a module of replicas."""
    import torch

    module = module.to(device)

    def energies(positions: NDArray[np.float64]) -> Sequence[float]:
        with torch.no_grad():
            found = module.each(torch.tensor(positions, dtype=torch.float64, device=device))[0]
        return [KJ_PER_MOL_PER_HARTREE * float(energy) for energy in found.cpu()]

    return energies


def finish_replicas(setup: Setup, outcome: Outcome, interrupt: Interrupt, measure: Measure, say: Say) -> dict[str, Any]:
    """Write the summaries of the replicas and that of the run, and end as they ask for.

    Parameters
    ----------
    setup, outcome, interrupt
        Of the run.
    measure
        What the ensemble measures, done for each replica.
    say
        Takes lines for the user.

    Returns
    -------
    dict
        The run's summary.

    Raises
    ------
    RunStopped
        If replicas went wrong, naming them; the others are complete.
    KeyboardInterrupt
        If the run was interrupted.
    """
    settings = setup.settings
    seeds, summaries = replica_seeds(settings.seed or 0, settings.replicas), []
    for k, folder in enumerate(settings.folders):
        own = replace(setup, settings=replace(settings, output=folder, seed=seeds[k]))
        failure = outcome.failures.get(k)
        alone = replace(outcome, exit_reason=_reason(setup, outcome), problem=None, failures={})
        if failure is not None:
            alone = replace(alone, exit_reason=failure.problem.exit_reason, problem=failure.problem, step=failure.step)
        alone, measured = measure(own, alone, interrupt, lambda text: None)
        summaries.append({**summarize(own, alone), **measured, "replica": k})
        write_json(folder / run_folder.SUMMARY, summaries[-1])
    summary = summary_of_replicas(summaries, [folder.name for folder in settings.folders])
    summary["seed"], summary["seeds"] = settings.seed, list(seeds)
    write_json(settings.folder / run_folder.SUMMARY, summary)
    if summary["exit_reason"] == "interrupted":
        raise KeyboardInterrupt
    say(_sentence(summary) + f"; files in {settings.folder}")
    for text in problems(summary):
        say(f"problem: {text}")
    if summary["failures"]:
        raise RunStopped(_failed(summary))
    return summary


def _reason(setup: Setup, outcome: Outcome) -> str:
    return "completed" if outcome.step == setup.schedule.total else "interrupted"


def summary_of_replicas(summaries: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """What ``summary.json`` says of all replicas.

    What those that did not fail agree on stands as in their summaries. ``over_replicas`` has, of each entry of
    `AVERAGED`, the mean over them, its standard error, and the lowest and the highest; ``temperature_mean_K`` and the
    like are these means.

    Parameters
    ----------
    summaries
        Of the replicas, in their order.
    names
        Of their folders.
    """
    ended = ("completed", "interrupted")
    sound = [s for s in summaries if s["exit_reason"] in ended]
    of = sound or list(summaries)
    common = {key: value for key, value in of[0].items() if all(other.get(key) == value for other in of)}
    over = {key: _spread([s[key] for s in of]) for key in AVERAGED if all(s.get(key) is not None for s in of)}
    elements = of[0]["temperature_by_element_K"]
    by_element = {
        e: _spread([s["temperature_by_element_K"][e] for s in of if s["temperature_by_element_K"]]) for e in elements
    }
    failures = {
        name: {key: s[key] for key in ("exit_reason", "message", "atom", "steps", "equilibration_steps", "time_ps")}
        for name, s in zip(names, summaries, strict=True)
        if s not in sound
    }
    interrupted = any(s["exit_reason"] == "interrupted" for s in sound)
    pace = of[0]["ns_per_day"]
    return {
        **common,
        **{key: value["mean"] for key, value in over.items()},
        "temperature_by_element_K": {e: value["mean"] for e, value in by_element.items()},
        "exit_reason": "interrupted" if interrupted else "completed" if not failures else "failures",
        "replicas": len(summaries),
        "folders": list(names),
        "failures": failures,
        "total_time_ps": float(sum(s["time_ps"] for s in sound)),
        "ns_per_day": None if pace is None else pace * len(sound),
        "over_replicas": {**over, "temperature_by_element_K": by_element},
    }


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    x = np.array(values, dtype=float)
    error = float(x.std(ddof=1) / np.sqrt(len(x))) if len(x) > 1 else None
    return {"mean": float(x.mean()), "error": error, "lowest": float(x.min()), "highest": float(x.max())}


def _sentence(summary: dict[str, Any]) -> str:
    sound = summary["replicas"] - len(summary["failures"])
    text = f"done: {sound} of {summary['replicas']} replicas, {shown(summary['total_time_ps'], 4)} ps in all"
    temperature = summary["over_replicas"].get("temperature_mean_K")
    if sound and temperature is not None:
        error = f" ± {shown(temperature['error'], 2)}" if temperature["error"] is not None else ""
        text += f", mean temperature {temperature['mean']:.1f}{error} K"
    drift = summary["over_replicas"].get("energy_drift_meV_per_atom_ps")
    if sound and drift is not None:
        error = f" ± {shown(drift['error'], 2)}" if drift["error"] is not None else ""
        text += f", energy drift {shown(drift['mean'], sign=True)}{error} meV/atom/ps ({summary.get('energy_source')})"
    pace = summary["ns_per_day"]
    return text + (f", {shown(pace)} ns/day in all" if sound and pace is not None else "")


def _failed(summary: dict[str, Any]) -> str:
    failures, replicas = summary["failures"], summary["replicas"]
    named = [
        f"{name}: {failure['message']}, at {shown(failure['time_ps'], 4)} ps"
        + ("" if failure["steps"] else " (in the equilibration)")
        for name, failure in list(failures.items())[:MOST_NAMED]
    ]
    more = f"; and {len(failures) - MOST_NAMED} more in summary.json" if len(failures) > MOST_NAMED else ""
    left = replicas - len(failures)
    rest = f"the other {left} ran to the end, and every mean is over these alone" if left else "none is left"
    return f"{len(failures)} of {replicas} replicas went wrong ({'; '.join(named)}{more}); {rest}"
