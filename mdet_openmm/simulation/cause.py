"""Why a relaxation took a molecule apart: the structure or the model, by what is at hand."""

import numpy as np

from mdet_openmm.digits import shown
from mdet_openmm.export.model_folder import Model
from mdet_openmm.export.standing import diagnosis_of, outside, standing
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.strain import strain
from mdet_openmm.simulation.relax import ForceFunction
from mdet_openmm.units import KJ_PER_MOL_PER_NM_PER_EV_PER_ANGSTROM, NM_PER_ANGSTROM

MOST_SHOWN = 2
"""Oddities of a structure in one message."""


def likely_cause(model: Model, molecule: Molecule, force: ForceFunction) -> str:
    """Which of the two is likely at fault, on what evidence, and what to do.

    A structure with a bond or contact that no minimum has is suspected first: the model was never meant to know it. Of
    a sound one the forces should be small, and lead nowhere far; then it is the model, the more so where the molecule
    lies outside of its training.

    Parameters
    ----------
    model, molecule
        Of the run; the geometry is the one that was to be relaxed.
    force
        The model's, that the relaxation followed.
    """
    with np.errstate(all="ignore"):
        forces = force(NM_PER_ANGSTROM * molecule.positions)[1] / KJ_PER_MOL_PER_NM_PER_EV_PER_ANGSTROM
        first = float(np.linalg.norm(forces, axis=1).max(initial=0.0))
    begins = f"the first force is {shown(first)} eV/Å" if np.isfinite(first) else "the first forces are not finite"
    odd, reasons = strain(molecule.atomic_numbers, molecule.positions), outside(model, molecule)
    if odd:
        more = f" and {len(odd) - MOST_SHOWN} more" if len(odd) > MOST_SHOWN else ""
        also = f"; it is outside of the training of {model.name}, too ({'; '.join(reasons)})" if reasons else ""
        return (
            f"likely the structure: {'; '.join(odd[:MOST_SHOWN])}{more}, and {begins}. Correct the file, or optimise "
            f"it elsewhere (with GFN2-xTB, say){also}"
        )
    sound = f"bonds and contacts of the structure are sound, {begins}"
    if not standing(model, molecule).known:
        return (
            f"likely the model: {sound}, and {model.name} does not say what it was trained on. Compare it with its "
            f"teacher ({diagnosis_of(model)}), or use another model"
        )
    if reasons:
        return (
            f"likely the model: {sound}, but the molecule is outside of the training of {model.name} "
            f"({'; '.join(reasons)}). Use a model that was trained on such molecules, or label some structures of this "
            "one and fine-tune"
        )
    return (
        f"likely the model, though {molecule.name} is within the training of {model.name}: {sound}. Label some "
        f"structures of it and fine-tune, or see {diagnosis_of(model)}"
    )
