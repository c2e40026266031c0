"""What is to be labelled, cut into tasks that do not depend on each other."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.data.config import HeldOutConfig, LabelConfig, SamplingConfig
from mdet_openmm.data.sources import Source, text_seed
from mdet_openmm.data.teacher import BATCHED

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
        how = dynamics_of(task, config)
        calculations += (how.equilibrate + task.frames * how.interval) / how.timestep
    return 1 + round(calculations * (n + n**2 / 30.0))


def dynamics_of(task: Task, config: LabelConfig) -> SamplingConfig | HeldOutConfig:
    return config.sampling if task.split == "train" else config.held_out


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
