"""The energy of an NVE run: what summary.json says of its drift, and the series to draw."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.digits import shown, shown_with_error
from mdet_openmm.errors import InputError
from mdet_openmm.measure.temperature import BROKEN, HOLDS, UNDECIDED
from mdet_openmm.simulation.conservation import MEV_PER_KJ_MOL, EnergySource, energy_source
from mdet_openmm.simulation.ended_run import Run
from mdet_openmm.simulation.log_file import KINETIC, POTENTIAL, TEMPERATURE, TIME
from mdet_openmm.simulation.run_folder import LOG
from mdet_openmm.simulation.teacher_energy import total_energy

SIGMAS = 3.0


@dataclass(frozen=True)
class EnergyResult:
    """Energies of an NVE run in meV per atom, times in ps.

    Attributes
    ----------
    times, kinetic
        (rows,) kinetic energy, less its mean.
    total_times, total
        (k,) total energy, less its mean; empty where there is none.
    source
        Whose potential energy it has, or None.
    drift, drift_error
        Of the total energy, per ps; None where there is none.
    ratio
        Drift over the whole run in units of the standard deviation of the kinetic energy.
    kinetic_std
        That standard deviation.
    """

    times: NDArray[np.float64]
    kinetic: NDArray[np.float64]
    total_times: NDArray[np.float64]
    total: NDArray[np.float64]
    source: EnergySource | None
    drift: float | None
    drift_error: float | None
    ratio: float | None
    kinetic_std: float

    @property
    def verdict(self) -> str:
        """Whether the drift is small beside what the kinetic energy fluctuates by, with three errors to spare.

        An energy that was held to be constant is no judge.
        """
        if self.ratio is None or self.drift is None or not self.kinetic_std > 0.0 or self.source is EnergySource.HELD:
            return UNDECIDED
        error = self.ratio * abs((self.drift_error or 0.0) / self.drift) if self.drift else 0.0
        if self.ratio + SIGMAS * error < 1.0:
            return HOLDS
        return BROKEN if self.ratio - SIGMAS * error > 1.0 else UNDECIDED

    @property
    def sentence(self) -> str:
        """The drift in words."""
        if self.drift is None or self.ratio is None:
            return (
                "Nothing gives this run an energy, so its drift cannot be judged: run_nve.py --restart --teacher "
                "so3lr (or gfn2) evaluates one."
            )
        if self.source is EnergySource.HELD:
            return (
                "The total energy of the energy head was held constant, which says nothing about the true one: "
                "run_nve.py --restart --teacher so3lr (or gfn2) evaluates that."
            )
        return (
            f"The total energy ({self.source}) drifts by {shown_with_error(self.drift, self.drift_error, sign=True)} "
            f"meV per atom and ps, over the run {shown(self.ratio)} times what the kinetic energy fluctuates by."
        )


def analyze_energy(run: Run) -> EnergyResult | None:
    """Energies of a run; None for one that is not NVE, or has no rows.

    Raises
    ------
    InputError
        If the log has no kinetic energy, or ``reference.csv`` is damaged.
    """
    summary, log = run.summary, run.log
    if summary.get("ensemble") != "nve" or not len(log[TEMPERATURE]):
        return None
    if KINETIC not in log or TIME not in log:
        raise InputError(f"{run.folder / LOG} has no {KINETIC}; was it written by run_nve.py?")
    per_atom = MEV_PER_KJ_MOL / len(run.atomic_numbers)
    source = energy_source(summary)
    known = (source is not None and source.is_teacher) or POTENTIAL in log
    times, total = (total_energy(run.folder, log, source) if known else None) or (np.zeros(0), np.zeros(0))
    finite = np.isfinite(total)
    times, total = times[finite], total[finite]
    kinetic = log[KINETIC]
    return EnergyResult(
        times=log[TIME],
        kinetic=per_atom * (kinetic - kinetic.mean()),
        total_times=times,
        total=per_atom * (total - total.mean()) if len(total) else total,
        source=source,
        drift=summary.get("energy_drift_meV_per_atom_ps"),
        drift_error=summary.get("energy_drift_error_meV_per_atom_ps"),
        ratio=summary.get("drift_ratio"),
        kinetic_std=float(summary.get("kinetic_energy_std_meV_per_atom") or 0.0),
    )
