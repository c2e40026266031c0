"""The work of labelling, cut into tasks that do not depend on each other."""

from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.data.config import DISPLACEMENT_KINDS, LabelConfig
from mdet_openmm.data.displacements import Displacer
from mdet_openmm.data.dynamics import as_stored, langevin_steps
from mdet_openmm.data.labels import Answer, Label, TeacherFailure
from mdet_openmm.data.layout import FAILURES, KINDS, SPLITS, FrameBlock
from mdet_openmm.data.plan import Task, dynamics_of
from mdet_openmm.data.sources import Source
from mdet_openmm.data.teacher import make_batch_teacher
from mdet_openmm.molecules.bonds import find_bonds

Array = NDArray[np.float64]


class _Collected:
    """The frames of a task as they come, with those that fail counted."""

    def __init__(self, config: LabelConfig) -> None:
        self._config = config
        self.positions: list[Array] = []
        self.labels: list[Label] = []
        self.kinds: list[str] = []
        self.failures = dict.fromkeys(FAILURES, 0)
        self.message = ""

    def failed(self, reason: str, count: int = 1, message: str = "") -> None:
        self.failures[reason] += count
        self.message = self.message or message

    def keep(self, kind: str, positions: Array, answer: Answer) -> None:
        """Keep a frame unless the teacher failed on it or a force is too large."""
        if isinstance(answer, TeacherFailure):
            self.failed("teacher", message=str(answer))
        elif np.linalg.norm(answer.forces, axis=1).max() > self._config.max_force:
            self.failed("max_force")
        else:
            self.positions.append(positions)
            self.labels.append(answer)
            self.kinds.append(kind)


class Asked(NamedTuple):
    """Positions whose labels a task waits for, and by which of the configuration's methods."""

    positions: list[Array]
    method: str = "teacher"


Work = Generator[Asked, list[Answer], FrameBlock]
"""A task under way: it asks for the labels of positions, is sent the answers, and returns its frames."""


def begin_task(task: Task, config: LabelConfig, source: Source) -> Work:
    """A task under way; the outcome depends on nothing but the arguments and the answers."""
    numbers = source.atomic_numbers
    collected = _Collected(config)
    if task.positions.ndim == 3:
        frames = [as_stored(x, config.compact) for x in task.positions]
        for positions, answer in zip(frames, (yield Asked(frames)), strict=True):
            collected.keep("trajectory", positions, answer)
    else:
        yield from _sample(task, config, numbers, collected)
    count, n = len(collected.labels), len(numbers)
    labels = collected.labels
    return FrameBlock(
        molecule=task.molecule,
        task=task.index,
        split=SPLITS.index(task.split),
        atomic_numbers=numbers,
        positions=np.array(collected.positions, dtype=np.float32).reshape(count, n, 3),
        forces=np.array([label.forces for label in labels], dtype=np.float32).reshape(count, n, 3),
        energy=np.array([label.energy for label in labels], dtype=np.float64),
        dipole=np.array([label.dipole for label in labels], dtype=np.float32).reshape(count, 3),
        temperature=np.full(count, task.temperature, dtype=np.float32),
        kind=np.array([KINDS.index(kind) for kind in collected.kinds], dtype=np.uint8),
        failures=np.array([collected.failures[reason] for reason in FAILURES], dtype=np.int64),
        message=collected.message,
    )


def run_tasks(tasks: Sequence[Task], config: LabelConfig, sources: Sequence[Source]) -> list[FrameBlock]:
    """Do tasks side by side, with one call of each method for what all of them ask for at a time.

    Parameters
    ----------
    tasks
        Those of a `bundles` item.
    config
        What to label.
    sources
        The molecule of each task.

    Returns
    -------
    list of FrameBlock
        In the order of the tasks.
    """
    methods = {name: make_batch_teacher(method) for name, method in config.methods.items()}
    species = [source.species for source in sources]
    works = [begin_task(task, config, source) for task, source in zip(tasks, sources, strict=True)]
    blocks: list[FrameBlock | None] = [None] * len(tasks)
    wanted = {k: next(work) for k, work in enumerate(works)}
    while wanted:
        answers = {}
        for name, label in methods.items():
            asked = [(species[k], x) for k, (frames, method) in wanted.items() if method == name for x in frames]
            answers[name] = iter(label(asked) if asked else ())
        told, wanted = wanted, {}
        for k, (frames, method) in told.items():
            try:
                wanted[k] = works[k].send([next(answers[method]) for _ in frames])
            except StopIteration as done:
                blocks[k] = done.value
    return [block for block in blocks if block is not None]


def _sample(
    task: Task, config: LabelConfig, numbers: NDArray[np.int64], collected: _Collected
) -> Generator[Asked, list[Answer], None]:
    from ase.data import atomic_masses

    rng = np.random.default_rng(np.random.SeedSequence(task.seed))
    start = task.positions @ _random_rotation(rng)
    bonds = _sorted_bonds(numbers, start)
    lengths = _lengths(start, bonds)
    how = dynamics_of(task, config)
    steps = langevin_steps(
        start,
        atomic_masses[numbers],
        temperature=task.temperature,
        timestep=how.timestep,
        friction=how.friction,
        equilibrate=round(how.equilibrate / how.timestep),
        interval=max(round(how.interval / how.timestep), 1),
        rng=rng,
        compact=config.compact,
    )
    bases: list[Array] = []
    mover = "teacher" if config.sampler is None else "sampler"
    positions, sampled = next(steps)
    while len(bases) < task.frames:
        (answer,) = yield Asked([positions], mover)
        if isinstance(answer, TeacherFailure):
            collected.failed("teacher", task.frames - len(bases), str(answer))
            break
        if sampled:
            if (_lengths(positions, bonds) > config.max_stretch * lengths).any():
                collected.failed("broken", task.frames - len(bases))
                break
            bases.append(positions)
            (label,) = (answer,) if mover == "teacher" else (yield Asked([positions]))
            collected.keep("dynamics", positions, label)
        positions, sampled = steps.send(answer)
    if not task.displaced:
        return
    displacer = Displacer(numbers, start, bonds, config.displacements)
    if not displacer.any:
        return
    if not bases:
        collected.failed("broken", task.displaced)
        return
    # Its own stream: how many numbers the dynamics drew must not matter for a trajectory that ended early.
    rng = np.random.default_rng(np.random.SeedSequence((*task.seed, 1)))
    drawn = [displacer.draw(bases[int(rng.integers(len(bases)))], rng) for _ in range(task.displaced)]
    frames = [as_stored(positions, config.compact) for _, positions in drawn]
    for (kind, _), positions, answer in zip(drawn, frames, (yield Asked(frames)), strict=True):
        assert kind in DISPLACEMENT_KINDS
        collected.keep(kind, positions, answer)


def _sorted_bonds(numbers: NDArray[np.int64], positions: Array) -> NDArray[np.int64]:
    """Bonds in an order of their own: which one a random number means must not depend on how they were found."""
    bonds = find_bonds(numbers, positions)
    return bonds[np.lexsort((bonds[:, 1], bonds[:, 0]))]


def _lengths(positions: Array, bonds: NDArray[np.int64]) -> Array:
    lengths: Array = np.linalg.norm(positions[bonds[:, 0]] - positions[bonds[:, 1]], axis=1)
    return lengths


def _random_rotation(rng: np.random.Generator) -> Array:
    """A uniform rotation matrix, so that no trajectory starts in RDKit's orientation."""
    q = rng.standard_normal(4)
    w, x, y, z = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
