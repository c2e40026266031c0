"""``mdet pick``: of the frames of dynamics, those that teach a model most: unlike each other, and unsure.

The first is the one that the model is least sure of; then always the one with the largest product of its distance to
the nearest picked one and of a weight, the spread of its forces over orientations (E_eq) over the median of all to the
power ``unsure``. A model whose forces depend on the orientation does so most where it was trained least.
"""

from itertools import chain
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from mdet_openmm.data.config import LabelConfig, MoleculeEntry
from mdet_openmm.data.sources import Source, read_source
from mdet_openmm.errors import InputError
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.files import write_file
from mdet_openmm.measure.definitions import equivariance_error
from mdet_openmm.measure.field import PAIRS_AT_ONCE, Field, make_field, uniform_rotations
from mdet_openmm.molecules.bonds import find_bonds, pair_distances
from mdet_openmm.molecules.checks import check_elements
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.simulation.ended_run import read_summary
from mdet_openmm.simulation.run_folder import trajectory_of
from mdet_openmm.simulation.structures import BROKEN_BOND_A
from mdet_openmm.studies.pick_settings import PickSettings
from mdet_openmm.units import KCAL_PER_MOL_PER_EV, KJ_PER_MOL_PER_EV, NM_PER_ANGSTROM

Array = NDArray[np.float64]

LARGEST_WEIGHT: Final = 5.0
"""No frame counts more than so many usual ones: of one gone wrong the spread says nothing but that."""


def pick(settings: PickSettings) -> dict[str, Any]:
    """Pick, and write the structures in the order in which they were picked.

    Returns
    -------
    dict
        output, picked, candidates, broken (frames with a broken bond, which are left out), and the mean E_eq of
        picked ones and of candidates, kcal/mol/Å.

    Raises
    ------
    InputError
        For trajectories that cannot be read or are of several molecules, a model that does not know it, fewer frames
        than asked for, or an output that exists.
    """
    output = settings.output
    if output.exists():
        raise InputError(f"{output} exists; remove it or choose another --output")
    model = load_model(settings.model)
    sources = [_source(settings, k) for k in range(len(settings.trajectories))]
    first = sources[0]
    for path, source in zip(settings.trajectories, sources, strict=True):
        if not np.array_equal(source.atomic_numbers, first.atomic_numbers):
            raise InputError(f"{path} has other atoms than {settings.trajectories[0]}; pick for one molecule at a time")
    row = first.row
    frames = np.concatenate([source.frames for source in sources if source.frames is not None])
    molecule = Molecule(first.atomic_numbers, frames[0], row.charge, row.multiplicity, row.name)
    check_elements(molecule, model.elements, model.name)
    origins = list(chain.from_iterable(((str(p), k) for k in range(len(s.frames)))
                                       for p, s in zip(settings.trajectories, sources, strict=True)
                                       if s.frames is not None))  # fmt: skip
    whole = np.flatnonzero(~broken(molecule, frames))
    if len(whole) < settings.count:
        raise InputError(f"there are {len(whole)} whole frames; ask for fewer than --count {settings.count}")
    most = max(settings.candidates, settings.count)
    chosen = whole[np.unique(np.linspace(0, len(whole) - 1, min(most, len(whole))).round().astype(int))]
    spread = spreads(make_field(model, molecule, settings.precision), frames[chosen], settings)
    weight = np.minimum(spread / max(float(np.median(spread)), 1e-12), LARGEST_WEIGHT) ** settings.unsure
    picked = farthest(descriptors(first.atomic_numbers, frames[chosen]), weight, settings.count)
    _write(settings, molecule, [(frames[chosen[k]], *origins[chosen[k]], spread[k]) for k in picked])
    return {
        "output": str(output),
        "picked": len(picked),
        "candidates": len(chosen),
        "broken": len(frames) - len(whole),
        "e_eq_picked_kcal_mol_A": round(float(spread[picked].mean()), 4),
        "e_eq_candidates_kcal_mol_A": round(float(spread.mean()), 4),
    }


def _source(settings: PickSettings, number: int) -> Source:
    """One trajectory; a run folder says charge and multiplicity."""
    path = settings.trajectories[number]
    told = read_summary(path) if path.is_dir() else {}
    charge = told.get("charge") if settings.charge is None else settings.charge
    multiplicity = told.get("multiplicity") if settings.multiplicity is None else settings.multiplicity
    entry = MoleculeEntry(
        trajectory=trajectory_of(path), topology=settings.topology, charge=charge, multiplicity=multiplicity
    )
    return read_source(("", entry), LabelConfig(molecules=(entry,)))


def broken(molecule: Molecule, frames: Array) -> NDArray[np.bool_]:
    """(f,) whether a bond of the first frame differs by more than 0.5 Å, or a position is not finite."""
    bonds = find_bonds(molecule.atomic_numbers, frames[0])
    lengths = pair_distances(frames[0], bonds)
    found = np.linalg.norm(frames[:, bonds[:, 0]] - frames[:, bonds[:, 1]], axis=2)
    with np.errstate(invalid="ignore"):
        kept: NDArray[np.bool_] = (np.abs(found - lengths) <= BROKEN_BOND_A).all(axis=1)
    return ~(kept & np.isfinite(frames).all(axis=(1, 2)))


def descriptors(atomic_numbers: NDArray[np.int64], frames: Array) -> Array:
    """(f, n (n - 1) / 2) inverse distances in 1/Å, sorted within each pair of elements.

    The same for frames that are turned, mirrored, or have like atoms exchanged.
    """
    i, j = np.triu_indices(len(atomic_numbers), 1)
    inverse = 1.0 / np.linalg.norm(frames[:, i] - frames[:, j], axis=2)
    kinds = np.sort(np.stack([atomic_numbers[i], atomic_numbers[j]]), axis=0)
    parts = [np.sort(inverse[:, (kinds == kind[:, None]).all(axis=0)], axis=1) for kind in np.unique(kinds, axis=1).T]
    return np.concatenate(parts, axis=1)


def farthest(points: Array, weight: Array, count: int) -> NDArray[np.int64]:
    """Indices of the points in the order in which they are picked; see the module.

    Parameters
    ----------
    points
        (f, d).
    weight
        (f,), not negative.
    count
        How many.
    """
    picked = [int(np.argmax(weight))]
    nearest = np.linalg.norm(points - points[picked[0]], axis=1)
    for _ in range(count - 1):
        score = nearest * weight
        score[picked] = -1.0
        picked.append(int(np.argmax(score)))
        nearest = np.minimum(nearest, np.linalg.norm(points - points[picked[-1]], axis=1))
    return np.array(picked, dtype=np.int64)


def spreads(field: Field, frames: Array, settings: PickSettings) -> Array:
    """(f,) E_eq of each frame in kcal/mol/Å, over rotations of its own."""
    generator = torch.Generator().manual_seed(settings.seed)
    count, n = settings.orientations, frames.shape[1]
    found = []
    together = max(1, PAIRS_AT_ONCE // (n * n * count))
    bar = tqdm(total=len(frames), desc="pick", unit="frame", disable=settings.quiet, leave=False, delay=1.0)
    with bar:
        for start in range(0, len(frames), together):
            x = torch.from_numpy(frames[start : start + together]) * NM_PER_ANGSTROM
            x = x - x.mean(dim=1, keepdim=True)
            turns = uniform_rotations(count * len(x), generator).view(count, len(x), 3, 3)
            raw = field.forces((x @ turns).flatten(0, 1), raw=True).view(count, len(x), n, 3) @ turns.transpose(2, 3)
            used = field.as_used(x.expand_as(raw).flatten(0, 1), raw.flatten(0, 1)).view_as(raw)
            found.append(equivariance_error(used).numpy())
            bar.update(len(x))
    per_angstrom = NM_PER_ANGSTROM * KCAL_PER_MOL_PER_EV / KJ_PER_MOL_PER_EV
    unbiased = (count / (count - 1)) ** 0.5  # the mean of so few is nearer to each than the true one
    return np.concatenate(found) * per_angstrom * unbiased


def _write(settings: PickSettings, molecule: Molecule, picked: list[tuple[Array, str, int, float]]) -> None:
    import io

    from ase import Atoms
    from ase.io import write

    images = [
        Atoms(molecule.atomic_numbers, x, info={"charge": molecule.charge, "multiplicity": molecule.multiplicity,
              "trajectory": origin, "frame": frame, "e_eq_kcal_mol_A": round(float(spread), 5)})
        for x, origin, frame, spread in picked
    ]  # fmt: skip
    text = io.StringIO()
    write(text, images, format="extxyz")
    try:
        settings.output.parent.mkdir(parents=True, exist_ok=True)
        write_file(settings.output, text.getvalue())
    except OSError as error:
        raise InputError(f"cannot write {settings.output}: {error.strerror}") from None
