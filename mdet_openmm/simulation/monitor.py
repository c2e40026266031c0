"""Notices a run that went wrong: a number that is none, a broken bond, a runaway temperature.

NaN passes silently through OpenMM's Reference platform, and a force field that was learnt may take a molecule apart,
so every few steps positions and velocities are looked at. That costs no force call.
"""

from dataclasses import dataclass, replace

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from mdet_openmm.molecules.bonds import find_bonds
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.simulation.settings import RunSettings
from mdet_openmm.simulation.thermostat import Thermometer, make_internal_thermometer, make_thermometer
from mdet_openmm.units import ANGSTROM_PER_NM, NM_PER_ANGSTROM

BROKEN_BOND_A = 0.5
"""A bond counts as broken when its length differs by more than this (Å) from the start; Fu et al., "Forces are not
enough", 2023."""
RUNAWAY_FACTOR = 5.0
RUNAWAY_PROBABILITY = 1e-15


@dataclass(frozen=True)
class Problem:
    """Why a run has to stop: the exit reason, a sentence (atoms counted from 1) and the atom (index from 0)."""

    exit_reason: str
    message: str
    atom: int


@dataclass(frozen=True)
class Monitor:
    """Checks one state of a run.

    Attributes
    ----------
    bonds
        (m, 2) indices.
    lengths
        (m,) bond lengths at the start of the dynamics, nm.
    thermometer
        Reads the temperature.
    highest_temperature
        K; see :func:`runaway_temperature`.
    watch
        Whether a broken bond and a runaway temperature are problems; they are none where a reaction is looked for.
    """

    bonds: NDArray[np.int64]
    lengths: NDArray[np.float64]
    thermometer: Thermometer
    highest_temperature: float
    watch: bool = True

    def largest_stretch(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Largest difference of a bond's length from its start in Å, (...,) from (..., n, 3) in nm; 0 without bonds."""
        stretch: NDArray[np.float64] = np.abs(self._stretch(positions)).max(axis=-1, initial=0.0)
        return ANGSTROM_PER_NM * stretch

    def suspects(self, positions: NDArray[np.float64], velocities: NDArray[np.float64]) -> list[int]:
        """Which of R molecules have a `problem`, from (R, n, 3) in nm and nm/ps: all of them at one look."""
        finite, whole, cool = self._signs(positions, velocities)
        return [int(k) for k in np.flatnonzero(~(finite.all(axis=1) & whole & cool))]

    def problem(self, positions: NDArray[np.float64], velocities: NDArray[np.float64]) -> Problem | None:
        """What is wrong with (n, 3) positions in nm and velocities in nm/ps, or None."""
        finite, whole, cool = self._signs(positions, velocities)
        if not finite.all():
            atom = int(np.argmin(finite))
            return Problem("nan", f"positions or velocities of {self.name_of(atom)} are not finite", atom)
        if not whole:
            stretch = self._stretch(positions)
            bond = int(np.argmax(np.abs(stretch)))
            i, j = (int(k) for k in self.bonds[bond])
            before, now = ANGSTROM_PER_NM * self.lengths[bond], ANGSTROM_PER_NM * (self.lengths + stretch)[bond]
            text = f"the bond between {self.name_of(i)} and {self.name_of(j)} broke: {before:.3f} Å at the start, "
            text += f"{now:.3f} Å now"
            return Problem("broken_bond", text, i)
        if not cool:
            temperature, _ = self.thermometer.read(velocities)
            kinetic = self.thermometer.masses * np.sum(velocities**2, axis=1)
            atom = int(np.argmax(kinetic))
            text = f"the temperature ran away to {temperature:.0f} K (limit {self.highest_temperature:.0f} K); "
            return Problem("runaway_temperature", text + f"{self.name_of(atom)} is fastest", atom)
        return None

    def _signs(
        self, positions: NDArray[np.float64], velocities: NDArray[np.float64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        """Of (..., n, 3): which atoms are finite, (..., n); whether bonds are whole, and it is not too hot, (...,)."""
        finite = np.asarray(np.isfinite(positions).all(axis=-1) & np.isfinite(velocities).all(axis=-1))
        if not self.watch:
            whole = cool = np.full(finite.shape[:-1], True)
        else:
            with np.errstate(all="ignore"):
                whole = np.asarray(self.largest_stretch(positions) <= BROKEN_BOND_A)
                cool = np.asarray(self.thermometer.read(velocities)[0] <= self.highest_temperature)
        return finite, whole, cool

    def _stretch(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        return bond_lengths(self.bonds, positions) - self.lengths

    def name_of(self, atom: int) -> str:
        """Such as "atom 3 (O)", counted from 1, for the index of an atom."""
        return f"atom {atom + 1} ({chemical_symbols[self.thermometer.atomic_numbers[atom]]})"


def bond_lengths(bonds: NDArray[np.int64], positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., m) lengths of (m, 2) bonds in the unit of the (..., n, 3) positions."""
    bonds = np.asarray(bonds, dtype=np.int64).reshape(-1, 2)
    return np.linalg.norm(positions[..., bonds[:, 1], :] - positions[..., bonds[:, 0], :], axis=-1)


def runaway_temperature(temperature: float, degrees_of_freedom: int) -> float:
    """Temperature in K that a sound run never shows.

    The instantaneous temperature of f degrees of freedom is T·χ²_f/f. The limit is where the upper tail of χ²_f has
    a probability of 1e-15, and at least five times the target: 5 T from about 27 degrees of freedom on, 10.6 T for
    three atoms.

    Parameters
    ----------
    temperature
        Target in K.
    degrees_of_freedom
        f.
    """
    from scipy.special import chdtri

    return temperature * max(
        RUNAWAY_FACTOR, float(chdtri(degrees_of_freedom, RUNAWAY_PROBABILITY)) / degrees_of_freedom
    )


def make_monitor(settings: RunSettings, molecule: Molecule, masses: NDArray[np.float64]) -> Monitor:
    """The monitor of a run that starts from the structure as it was given; (n,) masses in dalton."""
    zero_momentum = getattr(settings, "thermostat", "") == "nose-hoover"
    thermometer = make_thermometer(molecule.atomic_numbers, masses, zero_momentum)
    positions = NM_PER_ANGSTROM * molecule.positions
    bonds = find_bonds(molecule.atomic_numbers, molecule.positions)
    monitor = Monitor(bonds, bond_lengths(bonds, positions), thermometer, 0.0, settings.watch)
    return started_from(monitor, positions, settings)


def started_from(monitor: Monitor, positions: NDArray[np.float64], settings: RunSettings) -> Monitor:
    """The monitor of a run that starts from (n, 3) positions in nm: its bond lengths, and in NVE its thermometer."""
    thermometer = monitor.thermometer
    if settings.ensemble == "nve":
        thermometer = make_internal_thermometer(thermometer.atomic_numbers, thermometer.masses, positions)
    limit = runaway_temperature(settings.temperature, thermometer.degrees_of_freedom)
    lengths = bond_lengths(monitor.bonds, positions)
    return replace(monitor, lengths=lengths, thermometer=thermometer, highest_temperature=limit)
