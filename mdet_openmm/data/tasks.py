"""The work of labelling, cut into tasks that do not depend on each other."""

import itertools
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.data.config import DISPLACEMENT_KINDS, HeldOutConfig, LabelConfig, SamplingConfig
from mdet_openmm.data.displacements import Displacer
from mdet_openmm.data.dynamics import as_stored, langevin_steps
from mdet_openmm.data.labels import Answer, Label, TeacherFailure
from mdet_openmm.data.layout import FAILURES, KINDS, SPLITS, FrameBlock
from mdet_openmm.data.sources import Source, text_seed
from mdet_openmm.data.teacher import BATCHED, make_batch_teacher
from mdet_openmm.molecules.bonds import find_bonds

Array = NDArray[np.float64]

_ROLES = ("train", "val", "test", "unseen", "trajectory")


@dataclass(frozen=True)
class Task:
    """One trajectory of dynamics with the displaced copies of its frames, or given frames to label.

    Attributes
    ----------
    index
        Position in the plan; frames are stored in this order.
    molecule
        Index into the sources.
    split
        Of all its frames.
    frames
        Frames expected from dynamics, or in ``positions``.
    displaced
        Displaced copies.
    temperature
        K; NaN for given frames.
    positions
        (n, 3) start of the dynamics, or (f, n, 3) frames to label, in Å.
    seed
        Entropy of the random numbers: from the run's seed, the molecule, the role, the temperature and the number
        of the trajectory, so that no task depends on what else is in the plan.
    """

    index: int
    molecule: int
    split: str
    frames: int
    displaced: int
    temperature: float
    positions: Array
    seed: tuple[int, ...]

    @property
    def expected(self) -> int:
        """Frames that the task gives if nothing fails."""
        return self.frames + self.displaced


def molecule_key(source: Source) -> int:
    """A number that stands for the molecule in seeds: the same wherever the molecule stands in the list."""
    text = f"{source.row.name}|{source.row.smiles}|{source.row.source}|{source.row.charge}|{source.row.multiplicity}"
    return text_seed(text)


def plan(config: LabelConfig, sources: list[Source]) -> list[Task]:
    """All tasks of a run, molecule by molecule."""
    tasks: list[Task] = []
    for molecule, source in enumerate(sources):
        key = molecule_key(source)

        def add(role: str, number: int, *, seed_key: int = key, **what: Any) -> None:
            kelvin = what["temperature"]
            millikelvin = 0 if np.isnan(kelvin) else round(kelvin * 1000)
            seed = (config.seed, seed_key, _ROLES.index(role), millikelvin, number)
            tasks.append(Task(index=len(tasks), seed=seed, **what))

        if source.frames is not None:
            parts = {"unseen": source.frames} if source.row.split == "test" else _given(source.frames, config.held_out)
            number = 0
            for split, frames in parts.items():
                for start in range(0, len(frames), config.task_frames):
                    part = frames[start : start + config.task_frames].copy()
                    add("trajectory", number, molecule=molecule, split=split, frames=len(part), displaced=0,
                        temperature=float("nan"), positions=part)  # fmt: skip
                    number += 1
            continue
        if source.row.split == "train":
            for run in config.sampling.runs:
                count = round(run.trajectories * source.weight)
                if run.trajectories and source.weight:
                    count = max(count, 1)
                for number in range(count):
                    add("train", number, molecule=molecule, split="train", frames=config.sampling.frames,
                        displaced=config.sampling.displaced, temperature=run.temperature,
                        positions=source.starts[number % len(source.starts)])  # fmt: skip
            chosen = key / 2**64 < config.held_out.share
            wanted = {"val": config.held_out.val, "test": config.held_out.test} if chosen else {}
        else:
            wanted = {"unseen": config.held_out.unseen}
        for role, total in wanted.items():
            for number, start in enumerate(range(0, total, config.held_out.frames)):
                add(role, number, molecule=molecule, split=role, frames=min(config.held_out.frames, total - start),
                    displaced=0, temperature=config.held_out.temperature,
                    positions=source.starts[number % len(source.starts)])  # fmt: skip
    return tasks


def _given(frames: Array, held_out: HeldOutConfig) -> dict[str, Array]:
    """Frames of a given trajectory by split: for val and test every so many, so that they are spread over all."""
    if not held_out.given:
        return {"train": frames}
    every = round(1.0 / held_out.given)
    place = np.arange(len(frames)) % every
    val, test = place == every // 2, place == every - 1
    return {"train": frames[~val & ~test], "val": frames[val], "test": frames[test]}


def cost(task: Task, config: LabelConfig) -> int:
    """Relative time of a task, for starting the longest first and for the time left."""
    n = task.positions.shape[-2]
    calculations = float(task.expected)
    if task.positions.ndim == 2:
        how = _dynamics_of(task, config)
        calculations += (how.equilibrate + task.frames * how.interval) / how.timestep
    return 1 + round(calculations * (n + n**2 / 30.0))


def _dynamics_of(task: Task, config: LabelConfig) -> SamplingConfig | HeldOutConfig:
    return config.sampling if task.split == "train" else config.held_out


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


Work = Generator[list[Array], list[Answer], FrameBlock]
"""A task under way: it asks for the labels of positions, is sent the teacher's answers, and returns its frames."""


def begin_task(task: Task, config: LabelConfig, source: Source) -> Work:
    """A task under way; the outcome depends on nothing but the arguments and the answers."""
    numbers = source.atomic_numbers
    collected = _Collected(config)
    if task.positions.ndim == 3:
        frames = [as_stored(x, config.compact) for x in task.positions]
        for positions, answer in zip(frames, (yield frames), strict=True):
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
    """Do tasks side by side, with one call of the teacher for what all of them ask for at a time.

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
    teacher = make_batch_teacher(config.teacher)
    species = [source.species for source in sources]
    works = [begin_task(task, config, source) for task, source in zip(tasks, sources, strict=True)]
    blocks: list[FrameBlock | None] = [None] * len(tasks)
    wanted = {k: next(work) for k, work in enumerate(works)}
    while wanted:
        answers = iter(teacher([(species[k], x) for k, frames in wanted.items() for x in frames]))
        told, wanted = wanted, {}
        for k, frames in told.items():
            try:
                wanted[k] = works[k].send([next(answers) for _ in frames])
            except StopIteration as done:
                blocks[k] = done.value
    return [block for block in blocks if block is not None]


MOST_TOGETHER = 640
"""Atoms of the tasks that a teacher of batches does side by side: its rate per structure has levelled off (aspirin:
5.2 ms in batches of 8, 4.8 of 32, 4.7 of 64)."""


def bundles(config: LabelConfig, tasks: Sequence[Task]) -> list[tuple[Task, ...]]:
    """The tasks in the groups that are done together: a function of the plan alone, so that labels are too.

    Trajectories of equal length stand together, so that none waits for another. A teacher of one molecule at a time
    does every task alone.
    """
    if config.teacher.kind not in BATCHED:
        return [(task,) for task in tasks]
    found: list[tuple[Task, ...]] = []
    for _, group in itertools.groupby(sorted(tasks, key=lambda t: (t.split, t.index)), key=lambda t: t.split):
        together: list[Task] = []
        atoms = 0
        for task in group:
            n = task.positions.shape[-2]
            if together and atoms + n > MOST_TOGETHER:
                found.append(tuple(together))
                together, atoms = [], 0
            together.append(task)
            atoms += n
        found.append(tuple(together))
    return found


def _sample(
    task: Task, config: LabelConfig, numbers: NDArray[np.int64], collected: _Collected
) -> Generator[list[Array], list[Answer], None]:
    from ase.data import atomic_masses

    rng = np.random.default_rng(np.random.SeedSequence(task.seed))
    start = task.positions @ _random_rotation(rng)
    bonds = _sorted_bonds(numbers, start)
    lengths = _lengths(start, bonds)
    how = _dynamics_of(task, config)
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
    positions, sampled = next(steps)
    while len(bases) < task.frames:
        (answer,) = yield [positions]
        if isinstance(answer, TeacherFailure):
            collected.failed("teacher", task.frames - len(bases), str(answer))
            break
        if sampled:
            if (_lengths(positions, bonds) > config.max_stretch * lengths).any():
                collected.failed("broken", task.frames - len(bases))
                break
            bases.append(positions)
            collected.keep("dynamics", positions, answer)
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
    for (kind, _), positions, answer in zip(drawn, frames, (yield frames), strict=True):
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
