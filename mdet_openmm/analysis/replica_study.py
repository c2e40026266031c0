"""What is computed of a run of replicas: means over them, and how far they agree."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from mdet_openmm.errors import InputError
from mdet_openmm.measure import geometry
from mdet_openmm.measure.between_replicas import angle_shrink_factor, mean_over_replicas, shrink_factor
from mdet_openmm.measure.block_average import BlockedMean, blocked_mean
from mdet_openmm.measure.temperature import UNDECIDED, judge_mean_temperature
from mdet_openmm.simulation.ended_run import Run, read_run, read_summary
from mdet_openmm.simulation.log_file import TEMPERATURE, temperature_of


@dataclass(frozen=True)
class Quantity:
    """One quantity of all replicas.

    Attributes
    ----------
    label
        What it is.
    mean
        Over the replicas, with the error from their scatter.
    replicas
        Blocked mean of each, with its own error; empty for an angle.
    shrink
        R̂; NaN where it cannot be told.
    """

    label: str
    mean: BlockedMean
    replicas: tuple[BlockedMean, ...]
    shrink: float


@dataclass(frozen=True)
class ReplicaStudy:
    """Results of the replicas that ran to the end.

    Attributes
    ----------
    folder, summary
        Of the run of all.
    names, runs
        Of the replicas that did not fail.
    failures
        Exit reason and message of the others, by name.
    coordinates
        Internal coordinates of the molecule.
    lengths, dihedrals
        Of each replica, (f, m) in Å and (f, l) in degrees.
    temperature, elements
        In K.
    temperature_verdict
        ``holds``, ``broken`` or ``undecided``; undecided for NVE, which has no target.
    bonds, angles
        Mean bond lengths in Å, and the dihedrals, of which only the agreement is told.
    """

    folder: Path
    summary: dict[str, Any]
    names: tuple[str, ...]
    runs: tuple[Run, ...]
    failures: dict[str, dict[str, Any]]
    coordinates: geometry.Coordinates
    lengths: tuple[NDArray[np.float64], ...]
    dihedrals: tuple[NDArray[np.float64], ...]
    temperature: Quantity
    elements: tuple[Quantity, ...]
    temperature_verdict: str
    bonds: tuple[Quantity, ...]
    angles: tuple[Quantity, ...]

    @property
    def canonical(self) -> bool:
        """Whether there is a target temperature."""
        return bool(self.summary.get("ensemble") != "nve")

    @property
    def least_agreed(self) -> Quantity | None:
        """The quantity with the largest shrink factor; None where there is none to tell."""
        known = [q for q in (self.temperature, *self.bonds, *self.angles) if math.isfinite(q.shrink)]
        return max(known, key=lambda q: q.shrink) if known else None


def is_run_of_replicas(folder: Path) -> bool:
    """Whether a folder's summary is that of a run with ``--replicas``."""
    if not (folder / "summary.json").is_file():
        return False
    return isinstance(read_summary(folder).get("folders"), list)


def study_replicas(folder: Path) -> ReplicaStudy:
    """Read and compute everything that the report of a run of replicas shows.

    Raises
    ------
    InputError
        If a folder cannot be read, or if no replica is left.
    """
    summary = read_summary(folder, "temperature_K", "folders", "failures", "degrees_of_freedom")
    failures = summary["failures"]
    names = tuple(name for name in summary["folders"] if name not in failures)
    if not names:
        raise InputError(f"every replica of {folder} went wrong; look at one of them: {folder / summary['folders'][0]}")
    runs = tuple(read_run(folder / name) for name in names)
    coordinates = geometry.find_coordinates(runs[0].atomic_numbers, runs[0].positions[0])
    lengths = tuple(geometry.bond_lengths(run.trajectory, coordinates.bonds) for run in runs)
    dihedrals = tuple(geometry.dihedral_angles(run.trajectory, coordinates.dihedrals) for run in runs)
    temperature = _quantity("temperature", [run.log[TEMPERATURE] for run in runs])
    symbols = [chemical_symbols[z] for z in sorted(set(runs[0].atomic_numbers.tolist()))]
    return ReplicaStudy(
        folder=folder,
        summary=summary,
        names=names,
        runs=runs,
        failures=failures,
        coordinates=coordinates,
        lengths=lengths,
        dihedrals=dihedrals,
        temperature=temperature,
        elements=tuple(
            _quantity(s, [run.log[temperature_of(s)] for run in runs])
            for s in symbols
            if temperature_of(s) in runs[0].log
        ),
        temperature_verdict=_judged(temperature.mean, summary, runs),
        bonds=tuple(
            _quantity(coordinates.label_of(bond), [x[:, i] for x in lengths])
            for i, bond in enumerate(coordinates.bonds)
        ),
        angles=tuple(
            _angle(coordinates.label_of(atoms), [x[:, i] for x in dihedrals])
            for i, atoms in enumerate(coordinates.dihedrals)
        ),
    )


def _quantity(label: str, series: Sequence[NDArray[np.float64]]) -> Quantity:
    each = tuple(blocked_mean(x) for x in series)
    return Quantity(label, mean_over_replicas([one.mean for one in each]), each, shrink_factor(series))


def _angle(label: str, series: Sequence[NDArray[np.float64]]) -> Quantity:
    directions = [geometry.circular_mean(x)[0] for x in series]
    mean, spread = geometry.circular_mean(np.array(directions))
    nan = float("nan")
    count = len(series)
    return Quantity(
        label, BlockedMean(mean, spread, nan, count, float(count), count, False), (), angle_shrink_factor(series)
    )


def _judged(mean: BlockedMean, summary: dict[str, Any], runs: Sequence[Run]) -> str:
    """The mean over replicas against the bath's temperature, by the rules that a single run is judged by."""
    if summary.get("ensemble") == "nve":
        return UNDECIDED
    friction = summary.get("friction_per_ps")
    settled = float(runs[0].times[-1]) + float(summary.get("equilibrate_ps") or 0.0)
    relaxations = float(friction) * settled if friction else math.inf
    return judge_mean_temperature(
        mean, float(summary["temperature_K"]), int(summary["degrees_of_freedom"]), relaxations
    )
