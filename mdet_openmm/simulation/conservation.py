"""What an NVE run kept and what it did not: drifts of temperature and energy, and the check of the integrator."""

from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.data.teacher import NAMES
from mdet_openmm.digits import shown, shown_with_error
from mdet_openmm.errors import InputError
from mdet_openmm.measure.drift import linear_drift
from mdet_openmm.simulation.log_file import ADDED, CHECK, KINETIC, TEMPERATURE, TIME, Log
from mdet_openmm.units import KJ_PER_MOL_PER_EV

MEV_PER_KJ_MOL = 1e3 / KJ_PER_MOL_PER_EV


class EnergySource(StrEnum):
    """Whose potential energy is in the total energy of a run, as ``energy_source`` in summary.json has it."""

    HEAD = "energy head"
    HELD = "energy head, which was held"
    """Scaling held this total energy constant: that it did not drift says nothing about the forces."""
    GFN2 = NAMES["gfn2"]
    SO3LR = NAMES["so3lr"]

    @property
    def is_teacher(self) -> bool:
        """Whether the energies stand in ``reference.csv``."""
        return self in (EnergySource.GFN2, EnergySource.SO3LR)


def energy_source(summary: dict[str, Any]) -> EnergySource | None:
    """The one that a summary names; None where the run has no total energy.

    Raises
    ------
    InputError
        For a name that is not known.
    """
    value = summary.get("energy_source")
    known = {str(source): source for source in EnergySource}
    if value is not None and value not in known:
        raise InputError(f"summary.json: energy_source {value!r} is none of {', '.join(map(repr, known))}")
    return None if value is None else known[value]


def integrator_check(log: Log) -> dict[str, float | None]:
    """Largest K − W − Δt²/8·Σ F²/m, less its start, over the rows: in kJ/mol, and in units of the kinetic energy.

    It judges the integrator alone; see `mdet_openmm.simulation.verlet`.
    """
    check = np.abs(log.get(CHECK, np.zeros(0)))
    return {
        "integrator_check_kJ_mol": float(check.max()) if len(check) else None,
        "integrator_check_relative": float((check / log[KINETIC]).max()) if len(check) else None,
    }


def conservation(
    log: Log, energy: tuple[NDArray[np.float64], NDArray[np.float64]] | None, n_atoms: int
) -> dict[str, float | bool | None]:
    """Entries of the summary of an NVE run; None where there is nothing, or too little, to fit.

    Slopes are those of linear fits over the rows of the log, errors come from blocks of the residuals.
    ``drift_ratio`` is the drift of the energy over the whole run in units of the standard deviation of the kinetic
    energy (about its own line, so that a heating run does not widen its own yardstick).

    Parameters
    ----------
    log
        Columns of ``log.csv``.
    energy
        (rows,) times in ps and total energies in kJ/mol.
    n_atoms
        For energies per atom.
    """
    times = log.get(TIME, np.zeros(0))
    temperature = linear_drift(times, log.get(TEMPERATURE, np.zeros(0)))
    kinetic = linear_drift(times, log.get(KINETIC, np.zeros(0)))
    total = None if energy is None else linear_drift(*energy)
    per_atom = MEV_PER_KJ_MOL / n_atoms
    added = linear_drift(times, log[ADDED]) if ADDED in log else None
    ratio = None
    if total is not None and kinetic is not None and kinetic.spread > 0.0:
        ratio = abs(total.slope) * float(times[-1]) / kinetic.spread
    return {
        "temperature_start_K": temperature.start if temperature else None,
        "temperature_drift_K_per_ps": temperature.slope if temperature else None,
        "temperature_drift_error_K_per_ps": temperature.error if temperature else None,
        "energy_drift_meV_per_atom_ps": per_atom * total.slope if total else None,
        "energy_drift_error_meV_per_atom_ps": per_atom * total.error if total else None,
        "energy_drift_error_is_lower_bound": not total.converged if total else None,
        "energy_fluctuation_meV_per_atom": per_atom * total.spread if total else None,
        "kinetic_energy_std_meV_per_atom": per_atom * kinetic.spread if kinetic else None,
        "drift_ratio": ratio,
        "added_energy_meV_per_atom_ps": per_atom * added.slope if added else None,
        "added_energy_error_meV_per_atom_ps": per_atom * added.error if added else None,
    }


def sentences(summary: dict[str, Any]) -> list[str]:
    """What of a summary with these entries is said at the end of a run."""
    lines = []
    if summary["temperature_drift_K_per_ps"] is not None:
        lines.append(
            f"temperature {summary['temperature_start_K']:.1f} K at the start, drift "
            f"{_measured(summary, 'temperature_drift', 'K_per_ps')} K/ps"
        )
    if summary["energy_drift_meV_per_atom_ps"] is not None:
        lines.append(
            f"total energy ({summary['energy_source']}): drift {_measured(summary, 'energy_drift', 'meV_per_atom_ps')} "
            f"meV/atom/ps, fluctuation {shown(summary['energy_fluctuation_meV_per_atom'])} meV/atom, drift ratio "
            f"{shown(summary['drift_ratio'])}"
        )
    else:
        lines.append("total energy: not known; the model has none, and no teacher was asked (--teacher)")
    if summary["added_energy_meV_per_atom_ps"] is not None:
        lines.append(
            f"energy added to hold it: {_measured(summary, 'added_energy', 'meV_per_atom_ps')} meV/atom/ps; what the "
            "forces alone do is about the drift less this"
        )
    if summary["integrator_check_kJ_mol"] is not None:
        lines.append(
            f"integrator check {shown(summary['integrator_check_kJ_mol'], 2)} kJ/mol, "
            f"{shown(summary['integrator_check_relative'], 2)} of the kinetic energy (it holds for any force; says "
            "nothing about this one)"
        )
    return lines


def _measured(summary: dict[str, Any], what: str, unit: str) -> str:
    return shown_with_error(summary[f"{what}_{unit}"], summary[f"{what}_error_{unit}"], sign=True)
