"""The work, cut into chunks of frames of one size that do not depend on each other."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from mdet_openmm.data.store import LabelledFrames, Store
from mdet_openmm.errors import InputError
from mdet_openmm.evaluation.methods import Method, MethodName
from mdet_openmm.evaluation.settings import HELD_OUT, EvaluateSettings
from mdet_openmm.measure.definitions import antisymmetric_ratio, equivariance_error
from mdet_openmm.measure.field import uniform_rotations

Array = NDArray[np.float64]

ATOMS_AT_ONCE: Final = 1200
"""Atoms of a chunk: some seconds of a network, and a frame each of the largest molecules."""
POINTS: Final = 1500
"""Force components that are drawn, over all chunks."""


@dataclass(frozen=True)
class Chunk:
    """Frames of one size.

    Attributes
    ----------
    index
        Position in the plan.
    rows
        (b,) frames of the data set.
    symmetry, derivatives
        (b,) whether E_eq, and lambda, is measured on each.
    points
        Force components to keep for the plot.
    """

    index: int
    rows: NDArray[np.int64]
    symmetry: NDArray[np.bool_]
    derivatives: NDArray[np.bool_]
    points: int


@dataclass
class Measured:
    """What one method does on a chunk; all arrays (b,), NaN where it has no answer or nothing was measured.

    Attributes
    ----------
    absolute, square
        Sums over the components of a frame of the force error, eV/Å, and its square.
    energy
        Error in eV.
    e_eq
        eV/Å.
    antisymmetry
        lambda.
    elements
        Atomic number to components, and the sums of their errors and squares.
    points
        (p, 2) force components of the data and of the method, eV/Å.
    failure
        The first reason for no answer.
    """

    absolute: Array
    square: Array
    energy: Array
    e_eq: Array
    antisymmetry: Array
    elements: dict[int, tuple[int, float, float]]
    points: Array
    failure: str


def chosen_rows(store: Store, settings: EvaluateSettings) -> NDArray[np.int64]:
    """The frames to evaluate, in the order of the file.

    Raises
    ------
    InputError
        If there are none.
    """
    splits = settings.splits or tuple(name for name in HELD_OUT if len(store.indices(name)))
    rows = np.sort(np.concatenate([store.indices(name) for name in splits])) if splits else np.zeros(0, dtype=np.int64)
    if not len(rows):
        counts = ", ".join(f"{name} {len(store.indices(name))}" for name in store.split_names)
        raise InputError(f"{store.path} has no frames to evaluate in {', '.join(splits or HELD_OUT)} ({counts}); "
                         "choose with --splits")  # fmt: skip
    if settings.most_frames is not None and settings.most_frames < len(rows):
        rows = np.sort(np.random.default_rng(settings.seed).choice(rows, settings.most_frames, replace=False))
    return rows


def plan(store: Store, rows: NDArray[np.int64], settings: EvaluateSettings) -> list[Chunk]:
    """The chunks: a function of data and settings alone, so that the outcome is too."""
    symmetry, derivatives = (_spread(len(rows), n) for n in (settings.symmetry_frames, settings.lambda_frames))
    sizes = store.sizes[rows]
    parts = []
    for n in np.unique(sizes):
        here = np.flatnonzero(sizes == n)
        length = max(1, ATOMS_AT_ONCE // int(n))
        parts += [here[start : start + length] for start in range(0, len(here), length)]
    points = -(-POINTS // max(1, len(parts)))
    return [Chunk(i, rows[part], symmetry[part], derivatives[part], points) for i, part in enumerate(parts)]


def _spread(count: int, most: int) -> NDArray[np.bool_]:
    """Some of ``count``, evenly spread."""
    chosen = np.zeros(count, dtype=bool)
    if most:
        chosen[np.linspace(0, count - 1, min(most, count)).round().astype(int)] = True
    return chosen


def measure_chunk(
    chunk: Chunk, data: Path, methods: Sequence[MethodName], settings: EvaluateSettings
) -> list[Measured]:
    """What each method does on a chunk; in a worker, which keeps methods and data for the next."""
    torch.set_num_threads(1)
    frames = _store(data).load(chunk.rows)
    b = len(chunk.rows)
    found = []
    for name in methods:
        method = _method(name, settings)
        generator = torch.Generator().manual_seed(hash((settings.seed, chunk.index)) & 0x7FFFFFFFFFFFFFFF)
        own = name.kind == "model"
        turns = uniform_rotations(b, generator).numpy() if own else np.broadcast_to(np.eye(3), (b, 3, 3))
        answers = method.answers(frames, turns)
        error = answers.forces - frames.forces
        elements = {}
        for z in np.unique(frames.atomic_numbers):
            of_z = error[(frames.atomic_numbers == z) & np.isfinite(error).all(axis=2)]
            elements[int(z)] = (of_z.size, float(np.abs(of_z).sum()), float(np.square(of_z).sum()))
        e_eq, antisymmetry = np.full((2, b), np.nan)
        if own or settings.measure_calculators:
            for k in np.flatnonzero(chunk.symmetry):
                e_eq[k] = _e_eq(method, frames.taken(k), settings.rotations, generator)
            for k in np.flatnonzero(chunk.derivatives):
                jacobian = torch.from_numpy(method.jacobian(frames.taken(k)).copy())
                antisymmetry[k] = float(antisymmetric_ratio(jacobian))
        found.append(
            Measured(
                absolute=np.abs(error).sum(axis=(1, 2)),
                square=np.square(error).sum(axis=(1, 2)),
                energy=answers.energy - frames.energy,
                e_eq=e_eq,
                antisymmetry=antisymmetry,
                elements=elements,
                points=_points(frames.forces, answers.forces, chunk.points),
                failure=answers.failure,
            )
        )
    return found


def _e_eq(method: Method, one: LabelledFrames, count: int, generator: torch.Generator) -> float:
    turns = uniform_rotations(count, generator).numpy()
    many = one.taken(np.zeros(count))
    turned = torch.from_numpy(method.answers(many, turns).forces)
    # deviations from the mean of so many samples are smaller than from the true one
    return float(equivariance_error(turned[:, None])[0]) * (count / (count - 1)) ** 0.5


def _points(truth: Array, found: Array, count: int) -> Array:
    pairs = np.stack([truth.reshape(-1), found.reshape(-1)], axis=1)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    return pairs[np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(int)]


@functools.lru_cache(maxsize=2)
def _store(data: Path) -> Store:
    return Store(data)


@functools.lru_cache(maxsize=16)
def _method(name: MethodName, settings: EvaluateSettings) -> Method:
    return name.made(settings)
