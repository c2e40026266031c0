"""What noise in the forces does to the temperature, by element and for the molecule as a whole."""

from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from mdet_openmm.measure.definitions import langevin_heating, nve_heating


@dataclass(frozen=True)
class Heating:
    """Noise and the heat that it makes.

    Attributes
    ----------
    sigma
        By element symbol: rms noise of one Cartesian component, kJ/mol/nm.
    langevin
        By element symbol: rise of its temperature under friction, K, if it shared nothing with the others.
    langevin_mean
        Mean over all atoms, K: the rise of the molecule.
    nve_mean
        Mean over all atoms, K/ps: rate at which the molecule heats at constant energy if no heat went into its
        springs. They take half of it when they are harmonic.
    """

    sigma: dict[str, float]
    langevin: dict[str, float]
    langevin_mean: float
    nve_mean: float

    @property
    def worst(self) -> float:
        """K: the rise of the hottest element, which bounds that of the molecule."""
        return max(self.langevin.values())


def heating_of(
    variance: NDArray[np.float64],
    atomic_numbers: NDArray[np.int64],
    masses: NDArray[np.float64],
    *,
    timestep: float,
    friction: float,
) -> Heating:
    """Heat of noise that is white from step to step, as random rotations make it.

    Parameters
    ----------
    variance
        (n,) of one Cartesian component of each atom's force, (kJ/mol/nm)².
    atomic_numbers
        (n,).
    masses
        (n,) in dalton.
    timestep
        fs.
    friction
        1/ps.
    """
    step = 1e-3 * timestep
    per_atom = [
        (langevin_heating(float(v) ** 0.5, step, float(m), friction), nve_heating(float(v) ** 0.5, step, float(m)))
        for v, m in zip(variance, masses, strict=True)
    ]
    langevin, nve = np.array(per_atom).T
    elements = {chemical_symbols[z]: atomic_numbers == z for z in np.unique(atomic_numbers)}
    return Heating(
        sigma={s: float(np.sqrt(variance[atoms].mean())) for s, atoms in elements.items()},
        langevin={s: float(langevin[atoms].mean()) for s, atoms in elements.items()},
        langevin_mean=float(langevin.mean()),
        nve_mean=float(nve.mean()),
    )
