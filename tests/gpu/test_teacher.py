"""SO3LR labels on a GPU as it does on a CPU."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mdet_openmm.data.config import TeacherConfig
from mdet_openmm.data.labels import Label
from mdet_openmm.data.teacher import make_batch_teacher
from mdet_openmm.molecules.molecule import Molecule, Species
from mdet_openmm.units import ANGSTROM_PER_NM

TOLERANCE = {"fp64": 1e-9, "fp32": 2e-4}
"""Largest error of a force relative to the largest force."""


@pytest.mark.parametrize("precision", list(TOLERANCE))
def test_labels_are_those_of_a_cpu_in_double(
    device: str, precision: str, ethanol: Molecule, structures: list[NDArray[np.float64]]
) -> None:
    pytest.importorskip("so3krates_torch")
    water = Species(np.array([8, 1, 1]))
    requests = [(Species(ethanol.atomic_numbers), ANGSTROM_PER_NM * x) for x in structures]
    requests.insert(1, (water, np.array([[0, 0, 0.12], [0, 0.76, -0.47], [0, -0.76, -0.47]])))
    exact = make_batch_teacher(TeacherConfig(kind="so3lr", precision="fp64"))(requests)
    found = make_batch_teacher(TeacherConfig(kind="so3lr", device=device, precision=precision))(requests)
    for mine, theirs in zip(found, exact, strict=True):
        assert isinstance(mine, Label) and isinstance(theirs, Label)
        assert np.abs(mine.forces - theirs.forces).max() < TOLERANCE[precision] * np.abs(theirs.forces).max()
        assert mine.energy == pytest.approx(theirs.energy, rel=TOLERANCE[precision])
