"""The forces themselves: how far they are from those of the teacher that the model learnt from."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.data.labels import TeacherFailure
from mdet_openmm.data.teacher import make_teacher, teacher_of_name
from mdet_openmm.errors import InputError
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import Model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.export.predict import ase_units
from mdet_openmm.molecules.molecule import Molecule


@dataclass(frozen=True)
class ForceError:
    """Errors of the model's forces, one orientation, net force and torque removed, on the structures of a diagnosis.

    Attributes
    ----------
    teacher
        Its name.
    mae
        Component-wise mean absolute error, meV/Å.
    size
        Mean absolute component of the teacher's forces, meV/Å.
    worst_atom
        Index of the atom with the largest mean error.
    failures
        Structures for which the teacher had no answer.
    """

    teacher: str
    mae: float
    size: float
    worst_atom: int
    failures: int

    @property
    def relative(self) -> float:
        """The error over the size of the forces."""
        return self.mae / self.size if self.size > 0.0 else float("inf")


def force_error(
    model: Model,
    molecule: Molecule,
    structures: NDArray[np.float64],
    *,
    precision: str,
    tick: Callable[[], object] = lambda: None,
) -> ForceError | str:
    """Compare with the teacher; or say in a sentence why that cannot be done.

    Parameters
    ----------
    model, molecule
        What is diagnosed.
    structures
        (s, n, 3) in Å.
    precision
        Of the model.
    tick
        Called for every structure.
    """
    name = model.teacher
    config = teacher_of_name(name)
    if config is None:
        return f"the model does not name a teacher that can be asked ({name or 'none'})"
    try:
        teacher = make_teacher(config, molecule)
        module = bind(model, molecule, ForceOptions(precision=precision, offset="none"))
        errors, sizes, failures = [], [], 0
        for x in structures:
            tick()
            try:
                wanted = teacher(x).forces
            except TeacherFailure:
                failures += 1
                continue
            errors.append(np.abs(ase_units(module, x)[1] - wanted))
            sizes.append(np.abs(wanted))
    except InputError as error:
        return str(error)
    if not errors:
        return f"{name} has no answer on any of the structures"
    by_atom = np.mean(errors, axis=(0, 2))
    return ForceError(name, 1e3 * float(np.mean(errors)), 1e3 * float(np.mean(sizes)), int(by_atom.argmax()), failures)
