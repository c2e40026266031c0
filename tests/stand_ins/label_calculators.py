"""ASE calculators with known faults, importable by the worker processes."""

import multiprocessing
import os
import time
from typing import Any, ClassVar

import numpy as np
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes


class Spring(Calculator):
    """Springs of 0.74 Å between all atoms. Fails, or answers NaN, when the first is longer than a limit.

    Takes its process down while the file ``dies_with`` exists.
    """

    implemented_properties: ClassVar = ["energy", "forces"]

    def __init__(
        self,
        stiffness: float = 30.0,
        fails_beyond: float | None = None,
        nan_beyond: float | None = None,
        dies_with: str | None = None,
    ) -> None:
        super().__init__()
        self.stiffness, self.fails_beyond, self.nan_beyond, self.dies_with = (
            stiffness,
            fails_beyond,
            nan_beyond,
            dies_with,
        )

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        in_worker = multiprocessing.parent_process() is not None
        if in_worker and self.dies_with is not None and os.path.exists(self.dies_with):
            os._exit(9)
        x = self.atoms.positions
        difference = x[:, None] - x[None, :]
        distance = np.linalg.norm(difference, axis=2)
        if self.fails_beyond is not None and distance[0, 1] > self.fails_beyond:
            raise CalculationFailed("SCF did not converge")
        stretch = distance - 0.74
        np.fill_diagonal(stretch, 0.0)
        unit = difference / np.where(distance > 0, distance, 1.0)[..., None]
        energy = 0.25 * self.stiffness * (stretch**2).sum()
        if self.nan_beyond is not None and distance[0, 1] > self.nan_beyond:
            energy = float("nan")
        self.results = {"energy": energy, "forces": -self.stiffness * (stretch[..., None] * unit).sum(axis=1)}


class SlowSpring(Spring):
    """The same, some milliseconds later."""

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        time.sleep(0.002)
        super().calculate(*args, **kwargs)


class ChargeReader(Calculator):
    """The energy is 100 charge + multiplicity, as they arrived."""

    implemented_properties: ClassVar = ["energy", "forces", "dipole"]

    def __init__(self, charge: int | None = None, multiplicity: int | None = None) -> None:
        super().__init__()
        self.charge, self.multiplicity = charge, multiplicity

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        charge = self.atoms.info["charge"] if self.charge is None else self.charge
        multiplicity = self.atoms.info["spin"] if self.multiplicity is None else self.multiplicity
        self.results = {
            "energy": 100.0 * charge + multiplicity,
            "forces": np.zeros((len(self.atoms), 3)),
            "dipole": np.array([1.0, 2.0, 3.0]),
        }


FAULTY_STIFFNESS = 5.0
FAULT = {1: 0.01, 8: 0.03}
"""eV/Å added to each component of the force on an element."""


class Faulty(Calculator):
    """Springs to the centroid with a fault per element, and an energy that is wrong by 2 eV; far atoms are too much."""

    implemented_properties: ClassVar = ["energy", "forces"]

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        x = self.atoms.positions - self.atoms.positions.mean(axis=0)
        if np.abs(x).max() > 5.0:
            raise CalculationFailed("out of reach")
        fault = np.array([FAULT[z] for z in self.atoms.numbers])[:, None]
        energy = 0.5 * FAULTY_STIFFNESS * (x**2).sum() + 2.0
        self.results = {"energy": energy, "forces": -FAULTY_STIFFNESS * x + fault}
