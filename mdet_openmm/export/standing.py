"""How a molecule stands to what a model was trained on, in one line before anything is computed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.data.weak_groups import WEAK_GROUPS
from mdet_openmm.export.model_folder import Model
from mdet_openmm.molecules.environments import geometry_graph, near_environments, seen_from
from mdet_openmm.molecules.molecule import Molecule


@dataclass(frozen=True)
class Standing:
    """Where a molecule lies beside the training of a model.

    Attributes
    ----------
    known
        Whether the model says what it was trained on.
    size
        Fewest and most atoms of the training's molecules; None if not known.
    strange
        Atoms (from 0) whose element and bonded neighbours occur nowhere in the training.
    new
        Atoms whose neighbours occur, but never with neighbours of their own like these.
    environments
        Whether the model says which bonded environments it has seen.
    weak
        Functional groups of the molecule that the teacher itself describes badly, with its error in meV/Å.
    """

    known: bool
    size: tuple[int, int] | None
    strange: tuple[int, ...]
    new: tuple[int, ...]
    environments: bool
    weak: dict[str, float]

    def far(self, n_atoms: int) -> bool:
        """Whether the training has seen nothing like it, in size or in the environment of an atom."""
        return self.size is None or not self.size[0] <= n_atoms <= self.size[1] or bool(self.strange)


def standing(model: Model, molecule: Molecule) -> Standing:
    """Compare a molecule with what a model folder says of its training."""
    training: dict[str, Any] = model.metadata.get("training") or {}
    coverage = training.get("coverage")
    if not isinstance(coverage, Mapping):
        return Standing(False, None, (), (), False, {})
    graph = geometry_graph(molecule.atomic_numbers, molecule.positions)
    strange: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
    new = strange
    stored = coverage.get("environments")
    if isinstance(stored, Mapping):
        strange, new = seen_from(dict(stored)).unseen(*graph)
    near = set(near_environments(*graph))
    groups = WEAK_GROUPS.get(model.teacher, {})
    weak = {name: error for name, (environments, error) in groups.items() if near & set(environments)}
    size = (int(coverage["fewest_atoms"]), int(coverage["most_atoms"]))
    return Standing(True, size, tuple(strange.tolist()), tuple(new.tolist()), isinstance(stored, Mapping), weak)


def sentences(model: Model, molecule: Molecule) -> list[str]:
    """What a user should know before the model is used for the molecule: a line on its training, and its notes.

    The line says size, charge and bonded environments, and names the command that tells more.
    """
    at = standing(model, molecule)
    notes = model.notes(molecule.atomic_numbers, molecule.charge, molecule.multiplicity)
    diagnose = diagnosis_of(model)
    if not at.known:
        return [f"{model.name} does not say what it was trained on; before you rely on it: {diagnose}", *notes]
    assert at.size is not None
    n = molecule.n_atoms
    parts = [f"{n} atoms" + ("" if at.size[0] <= n <= at.size[1] else " (outside)") + f", trained on {_span(at.size)}"]
    charges = model.trained_on("charge")
    if charges:
        parts.append(f"charge {molecule.charge:+d}" + ("" if molecule.charge in charges else " (never trained on)"))
    if not at.environments:
        parts.append("which bonded environments it has seen is not stored")
    elif at.strange or at.new:
        if at.strange:
            parts.append(f"never seen: the bonds of {_atoms(at.strange, molecule)}")
        if at.new:
            parts.append(f"new to it: what surrounds {_atoms(at.new, molecule)}")
    else:
        parts.append("every atom's bonded environment seen")
    verdict = "unlike its training" if at.far(n) else "within its training" if not at.new else "near its training"
    lines = [f"{molecule.name} is {verdict} ({model.name}): {'; '.join(parts)}. Next: {diagnose}"]
    if at.weak:
        groups = ", ".join(f"{name} ({error:.0f} meV/Å)" for name, error in sorted(at.weak.items()))
        lines.append(f"the teacher of {model.name} is itself far from DFT for: {groups}")
    return [*lines, *notes]


def diagnosis_of(model: Model) -> str:
    """The command that measures how far the model can be trusted with a molecule."""
    return f"mdet diagnose {model.name} SYSTEM"


def outside(model: Model, molecule: Molecule) -> list[str]:
    """In what a molecule lies outside of a model's training: size, charge, and bonded environments, one phrase each.

    None where it lies within, or where the model does not tell.
    """
    at, charges, n = standing(model, molecule), model.trained_on("charge"), molecule.n_atoms
    found = []
    if at.size is not None and not at.size[0] <= n <= at.size[1]:
        found.append(f"{n} atoms, trained on {_span(at.size)}")
    if charges and molecule.charge not in charges:
        found.append(f"charge {molecule.charge:+d}, never trained on")
    if at.strange:
        found.append(f"never seen: the bonds of {_atoms(at.strange, molecule)}")
    if at.new:
        found.append(f"new to it: what surrounds {_atoms(at.new, molecule)}")
    return found


def _span(size: tuple[int, int]) -> str:
    return f"{size[0]} to {size[1]}" if size[0] != size[1] else str(size[0])


MOST_NAMED = 6


def _atoms(indices: tuple[int, ...], molecule: Molecule) -> str:
    from ase.data import chemical_symbols

    named = [f"{k + 1} ({chemical_symbols[int(molecule.atomic_numbers[k])]})" for k in indices[:MOST_NAMED]]
    more = len(indices) - len(named)
    plural = "atoms" if len(indices) > 1 else "atom"
    return f"{plural} {', '.join(named)}" + (f" and {more} more" if more else "")
