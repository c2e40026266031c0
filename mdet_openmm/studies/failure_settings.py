"""What a user may choose about learning from failures."""

import math
from dataclasses import dataclass
from pathlib import Path

from mdet_openmm.errors import InputError
from mdet_openmm.settings import option
from mdet_openmm.studies.conditions import read_conditions
from mdet_openmm.studies.settings import StudySettings


@dataclass(frozen=True, kw_only=True)
class FailureSettings(StudySettings):
    """What ``mdet learn-from-failures`` takes, beside the data and the systems."""

    model: str = option(help="model to begin with: a folder, or the name of a shipped one")
    name: str | None = option(None, "new models are NAME-round1, NAME-round2, ... [the model's name]")
    models: str = option("models", "folder that new models are written into")
    rounds: int = option(1, "rounds of learning; the runs of one more tell what came of the last", at_least=1)
    temperatures: str = option("300", "of the runs, in K, with commas between")
    conditions: str = option("mixed+hashed", "of the runs: PRECISION[+OFFSET][+ORIENTATIONS], with commas between")
    time: float = option(5.0, "length of each run in ps", above=0)
    equilibrate: float = option(1.0, "Langevin dynamics before each NVE run, in ps", at_least=0)
    report_interval: float = option(4.0, "between frames and log rows, in fs", above=0)
    equivariance_limit: float | None = option(
        None,
        "equivariance error in kcal/mol/Å above which the frames around it are taken [it is not measured]",
        above=0,
    )
    equivariance_action: str = option("warn", "what a larger error does to the run", choices=("stop", "warn"))
    window: float = option(
        50.0, "fs before a failure, and around an equivariance error, of which every frame is taken", above=0
    )
    way_frames: int = option(
        20, "frames on the way to a failure, evenly spread; also the most flagged ones of a run", at_least=0
    )
    healthy_frames: int = option(5, "frames of a run in which nothing went wrong, evenly spread", at_least=0)
    max_force: float = option(
        30.0, "eV/Å; frames on which the teacher finds a larger force on an atom are left out", above=0
    )
    share: float = option(
        0.3, "of every epoch of the training that new frames are to make up, by repetition", above=0, below=1
    )
    steps: int = option(2000, "optimiser steps of each round", at_least=1)
    learning_rate: float = option(5e-5, "peak learning rate", above=0)
    batch_size: int = option(64, "structures per step", at_least=1)
    antisymmetry_weight: float = option(
        0.0, "weight of lambda squared, the part of the forces that has no energy", at_least=0
    )
    output: Path | None = option(None, "folder to write [runs/failures/NAME]")

    def check(self) -> None:
        """As above; what one run or training would refuse is left to it."""
        super().check()
        self.kelvins()
        read_conditions(self.conditions)
        if self.seed + (self.rounds + 1) * self.replicas >= 2**31:
            raise InputError(f"--seed {self.seed} is too large for so many runs")

    def kelvins(self) -> tuple[float, ...]:
        """The temperatures.

        Raises
        ------
        InputError
            For a word that is no temperature, or one that is there twice.
        """
        found = []
        for word in self.temperatures.split(","):
            try:
                found.append(float(word))
            except ValueError:
                raise InputError(f"--temperatures: '{word}' is no number of K") from None
            if not (math.isfinite(found[-1]) and found[-1] > 0):
                raise InputError(f"--temperatures: {word} K is no temperature")
        if len(set(found)) < len(found):
            raise InputError(f"--temperatures has one twice: {self.temperatures}")
        return tuple(found)
