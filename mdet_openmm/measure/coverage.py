"""What the training of a model has covered, and how far a molecule lies from it."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from mdet_openmm.configuration import from_mapping
from mdet_openmm.data.store import Store
from mdet_openmm.digits import shown
from mdet_openmm.errors import InputError
from mdet_openmm.export.model_folder import Model
from mdet_openmm.molecules.elements import hill_formula
from mdet_openmm.molecules.environments import SeenEnvironments, geometry_graph, smiles_graph
from mdet_openmm.settings import Checked

AT_ONCE = 4096
"""Structures that are read at once."""


@dataclass(frozen=True)
class Coverage(Checked):
    """What a training set covered; stored as ``training["coverage"]`` in a model's config.yaml.

    Attributes
    ----------
    elements
        Atomic numbers, ascending.
    fewest_atoms, most_atoms
        Of its molecules.
    closest
        By pair of elements such as "C-H", for the shortest distance of that pair in each structure: the least, and
        the value that 1 % of the structures fall below, Å.
    largest_rms_force
        Largest rms force component of a structure, eV/Å.
    e_eq
        On held-out structures of its molecules, kcal/mol/Å; None if it is not known.
    formulas
        Hill formulas of its molecules, sorted.
    environments
        Of the atoms of its molecules, as `mdet_openmm.molecules.environments.SeenEnvironments` writes them; None if
        they are not known.
    """

    elements: tuple[int, ...]
    fewest_atoms: int
    most_atoms: int
    closest: dict[str, tuple[float, ...]]
    largest_rms_force: float
    formulas: tuple[str, ...]
    e_eq: float | None = None
    environments: dict[str, str] | None = None

    def check(self) -> None:
        """Refuse pairs without their two distances."""
        if any(len(lengths) != 2 for lengths in self.closest.values()):
            raise InputError("closest must give two distances for each pair of elements")

    def plain(self) -> dict[str, Any]:
        """In types that JSON and YAML know; `coverage_from` takes it back."""
        values = asdict(self)
        values["closest"] = {pair: list(lengths) for pair, lengths in self.closest.items()}
        return values | {"elements": list(self.elements), "formulas": list(self.formulas)}


def coverage_from(mapping: Any, where: str = "coverage") -> Coverage:
    """Read what `Coverage.plain` wrote.

    Raises
    ------
    InputError
        If it is something else.
    """
    return from_mapping(Coverage, mapping, where)


def stored_coverage(model: Model) -> Coverage | None:
    """The coverage stored with a model; None if it has none, or none that this version can read."""
    training = model.metadata.get("training")
    stored = training.get("coverage") if isinstance(training, Mapping) else None
    try:
        return None if stored is None else coverage_from(stored)
    except InputError:
        return None


def held_out_e_eq(metrics: Any) -> float | None:
    """E_eq on the test split in kcal/mol/Å, from the metrics of a model; None where they lack it."""
    try:
        value = float(metrics["test"]["all"]["e_eq_kcal_mol_A"])
    except (KeyError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) and value > 0.0 else None


def training_e_eq(model: Model) -> float | None:
    """E_eq on held-out structures of the training's molecules, kcal/mol/Å, one orientation; None if unknown."""
    coverage = stored_coverage(model)
    return coverage.e_eq if coverage and coverage.e_eq else held_out_e_eq(model.metadata.get("metrics"))


def shortest_distances(
    atomic_numbers: NDArray[np.int64], positions: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Shortest distance of each pair of elements in each of some structures of one composition.

    Parameters
    ----------
    atomic_numbers
        (n,).
    positions
        (b, n, 3) in Å.

    Returns
    -------
    dict
        Pair such as "C-H" (by atomic number, the larger first) to (b,) in Å.
    """
    i, j = np.triu_indices(len(atomic_numbers), 1)
    distances = np.linalg.norm(positions[:, i] - positions[:, j], axis=-1)
    larger = np.maximum(atomic_numbers[i], atomic_numbers[j])
    smaller = np.minimum(atomic_numbers[i], atomic_numbers[j])
    return {
        f"{chemical_symbols[a]}-{chemical_symbols[b]}": distances[:, (larger == a) & (smaller == b)].min(axis=1)
        for a, b in sorted(set(zip(larger.tolist(), smaller.tolist(), strict=True)))
    }


def coverage_of(store: Store, metrics: Any = None) -> Coverage:
    """What the training split of a data set covers; reads it once, some thousand structures at a time.

    Parameters
    ----------
    store
        Labelled data.
    metrics
        Of the trained model, if there are any, for E_eq on the test split.

    Raises
    ------
    InputError
        If there is no training structure.
    """
    groups = store.by_size("train")
    if not groups:
        raise InputError(f"{store.path} has no frames in its training split")
    distances: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    formulas: set[str] = set()
    seen, known = SeenEnvironments(), set()
    largest = 0.0
    for frames in groups.values():
        for chunk in np.array_split(frames, -(-len(frames) // AT_ONCE)):
            loaded = store.load(chunk)
            largest = max(largest, float(np.square(loaded.forces).mean(axis=(1, 2)).max()) ** 0.5)
            for owner in np.unique(loaded.molecule):
                of_owner = loaded.molecule == owner
                numbers = loaded.atomic_numbers[of_owner][0]
                formulas.add(hill_formula(numbers))
                if owner not in known:
                    known.add(owner)
                    smiles = store.molecules[owner].smiles
                    graph = smiles_graph(smiles) if smiles else geometry_graph(numbers, loaded.positions[of_owner][0])
                    seen.add(*graph)
                for pair, shortest in shortest_distances(numbers, loaded.positions[of_owner]).items():
                    distances[pair].append(shortest)
    closest = {pair: np.concatenate(parts) for pair, parts in sorted(distances.items())}
    return Coverage(
        elements=store.elements,
        fewest_atoms=min(groups),
        most_atoms=max(groups),
        closest={p: (round(float(d.min()), 4), round(float(np.quantile(d, 0.01)), 4)) for p, d in closest.items()},
        largest_rms_force=round(largest, 4),
        formulas=tuple(sorted(formulas)),
        e_eq=held_out_e_eq(metrics),
        environments=seen.plain(),
    )


@dataclass(frozen=True)
class Distance:
    """One way in which a molecule differs from the training set; `far` if the training has seen nothing like it."""

    text: str
    far: bool


def distance_to(
    coverage: Coverage,
    atomic_numbers: NDArray[np.int64],
    structures: NDArray[np.float64],
    largest_rms_force: float,
) -> list[Distance]:
    """Where a molecule leaves what the training covered; empty where it stays within.

    Parameters
    ----------
    coverage
        Of the training.
    atomic_numbers
        (n,).
    structures
        (s, n, 3) in Å.
    largest_rms_force
        Of these structures by the model, eV/Å.
    """
    found = []
    unseen = sorted(set(atomic_numbers.tolist()) - set(coverage.elements))
    if unseen:
        found.append(
            Distance(f"elements that the training lacks: {', '.join(chemical_symbols[z] for z in unseen)}", True)
        )
    n = len(atomic_numbers)
    if n > coverage.most_atoms:
        found.append(Distance(f"{n} atoms, and the largest molecule of the training has {coverage.most_atoms}", True))
    elif n < coverage.fewest_atoms:
        found.append(
            Distance(f"{n} atoms, and the smallest molecule of the training has {coverage.fewest_atoms}", True)
        )
    for pair, shortest in shortest_distances(atomic_numbers, structures).items() if n > 1 else ():
        nearest = float(shortest.min())
        if pair not in coverage.closest:
            found.append(Distance(f"no molecule of the training has both elements of {pair}", True))
        elif nearest < coverage.closest[pair][0]:
            least = coverage.closest[pair][0]
            found.append(
                Distance(f"{pair} come as near as {nearest:.3f} Å; in the training never below {least:.3f} Å", True)
            )
        elif np.mean(shortest < coverage.closest[pair][1]) > 0.5:
            rare = coverage.closest[pair][1]
            found.append(Distance(f"{pair} are mostly nearer than {rare:.3f} Å, as in 1 % of the training", False))
    if largest_rms_force > coverage.largest_rms_force:
        most = shown(coverage.largest_rms_force)
        text = f"rms force {shown(largest_rms_force)} eV/Å; the training has at most {most} eV/Å"
        found.append(Distance(text, True))
    formula = hill_formula(atomic_numbers)
    if formula not in coverage.formulas:
        found.append(Distance(f"no molecule of the training has the formula {formula}", False))
    return found
