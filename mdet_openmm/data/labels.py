"""What is asked of a teacher, and what it answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.molecules.molecule import Species

Positions = NDArray[np.float64]


class TeacherFailure(RuntimeError):
    """The teacher has no answer for a geometry: its SCF failed or a number is not finite."""


@dataclass(frozen=True)
class Label:
    """The teacher's answer for one geometry.

    Attributes
    ----------
    energy
        Total energy in eV.
    forces
        (n, 3) in eV/Å.
    dipole
        (3,) in e·Å, about the origin; NaN where the teacher gives none.
    """

    energy: float
    forces: NDArray[np.float64]
    dipole: NDArray[np.float64]


Answer = Label | TeacherFailure

Teacher = Callable[[Positions], Label]
"""Maps (n, 3) positions in Å to a label, or raises TeacherFailure. The answer does not depend on earlier calls."""

BatchTeacher = Callable[[Sequence[tuple[Species, Positions]]], list[Answer]]
"""Maps structures of any molecules to an answer each, in their order."""
