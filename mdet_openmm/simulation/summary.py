"""What ``summary.json`` says about a run."""

import platform as machine
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mdet_openmm.errors import InputError
from mdet_openmm.measure.coverage import training_e_eq
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.dynamics import Outcome, nanoseconds_per_day
from mdet_openmm.simulation.ended_run import read_summary
from mdet_openmm.simulation.equivariance import summarize_equivariance
from mdet_openmm.simulation.log_file import mean_temperatures
from mdet_openmm.simulation.setup import Setup
from mdet_openmm.units import ANGSTROM_PER_NM

PACKAGES = ("mdet-openmm", "openmm", "torch", "openmmtorch", "numpy")


def summarize(setup: Setup, outcome: Outcome) -> dict[str, Any]:
    """Plain values for ``summary.json``; temperatures are means over the rows of the log.

    Parameters
    ----------
    setup
        The run.
    outcome
        How its loop ended.
    """
    settings, schedule, molecule = setup.settings, setup.schedule, setup.molecule
    steps = max(0, outcome.step - schedule.equilibrate)
    mean, by_element = mean_temperatures(settings.folder / run_folder.LOG)
    problem = outcome.problem
    pace = outcome.seconds_per_step or _earlier_pace(setup)
    return {
        "ensemble": settings.ensemble,
        "exit_reason": outcome.exit_reason,
        "message": problem.message if problem else None,
        "atom": problem.atom if problem else None,
        "steps": steps,
        "equilibration_steps": min(outcome.step, schedule.equilibrate),
        "time_ps": steps * settings.timestep * 1e-3,
        "timestep_fs": settings.timestep,
        "temperature_K": settings.temperature,
        "thermostat": getattr(settings, "thermostat", None),
        "friction_per_ps": getattr(settings, "friction", None),
        "equilibrate_ps": schedule.equilibrate * settings.timestep * 1e-3,
        "report_interval_fs": schedule.report * settings.timestep,
        "checkpoint_interval_ps": schedule.checkpoint * settings.timestep * 1e-3,
        "ns_per_day": nanoseconds_per_day(pace, settings.timestep),
        "ms_per_step": 1e3 * pace if pace else None,
        "temperature_mean_K": mean,
        "temperature_by_element_K": by_element,
        "degrees_of_freedom": setup.monitor.thermometer.degrees_of_freedom,
        "highest_temperature_K": setup.monitor.highest_temperature,
        **summarize_equivariance(settings.folder / run_folder.EQUIVARIANCE, settings.largest_equivariance_error),
        "training_equivariance_error_kcal_mol_A": training_e_eq(setup.model),
        "equivariance_interval_steps": schedule.equivariance,
        "equivariance_rotations": settings.equivariance_rotations,
        "backend": settings.backend,
        "platform": settings.platform,
        "precision": settings.precision,
        "frames": settings.orientations,
        "offset": settings.offset,
        "protocol": getattr(settings, "protocol", None),
        "forces": settings.forces,
        "multiple_time_steps": settings.multiple_time_steps,
        "restart_is_exact": settings.offset != "random" and settings.platform == "Reference",
        "seed": settings.seed,
        "minimize": settings.minimize,
        "watch": settings.watch,
        "system": str(settings.system),
        "charge": molecule.charge,
        "multiplicity": molecule.multiplicity,
        "atomic_numbers": molecule.atomic_numbers.tolist(),
        "bonds": setup.monitor.bonds.tolist(),
        "start_bond_lengths_A": (ANGSTROM_PER_NM * setup.monitor.lengths).tolist(),
        "model": setup.identity["model"],
        "threads": settings.threads,
        "versions": _versions(),
    }


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"python": machine.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _earlier_pace(setup: Setup) -> float | None:
    """Seconds per step of an earlier session, for a restart that had nothing left to do."""
    try:
        return float(read_summary(setup.settings.folder, "ms_per_step")["ms_per_step"]) * 1e-3
    except (InputError, ValueError, TypeError):
        return None
