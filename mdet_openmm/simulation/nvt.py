"""Dynamics at constant temperature."""

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.interrupt import Interrupt
from mdet_openmm.molecules.dcd import read_frame
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.dynamics import Outcome
from mdet_openmm.simulation.log_file import TEMPERATURE, TIME, read_table
from mdet_openmm.simulation.protocol import EXPLOSION_K, FARTHEST_HYDROGEN_A
from mdet_openmm.simulation.run import Say, run
from mdet_openmm.simulation.settings import NvtSettings
from mdet_openmm.simulation.setup import Setup


def run_nvt(settings: NvtSettings, given: Collection[str] | None = None) -> dict[str, Any]:
    """Run NVT dynamics of one molecule, or go on with it; parameters, result and errors are those of `run`."""
    return run(settings, given, _measure)


def _measure(setup: Setup, outcome: Outcome, interrupt: Interrupt, say: Say) -> tuple[Outcome, dict[str, Any]]:
    """Judge by the protocol, where there is one."""
    settings, n_atoms = setup.settings, setup.molecule.n_atoms
    protocol = getattr(settings, "protocol", None)
    if protocol is None:
        return outcome, {}
    log = read_table(settings.folder / run_folder.LOG)
    times, temperatures = (log.get(name, np.zeros(0)) for name in (TIME, TEMPERATURE))
    path = settings.folder / run_folder.TRAJECTORY
    frames = (read_frame(path, n_atoms, row) for row in range(len(times)))
    alone = np.array([hydrogen_is_alone(setup.molecule.atomic_numbers, frame) for frame in frames], dtype=bool)
    left = float(times[np.flatnonzero(~alone).max(initial=-1) + 1]) if alone.any() and alone[-1] else None
    hottest = float(temperatures.max(initial=0.0))
    exploded = outcome.exit_reason == "nan" or hottest > settings.temperature + EXPLOSION_K
    held = not exploded and left is None
    gone = f"a hydrogen left at {left:g} ps" if left is not None else "no hydrogen left"
    say(f"{protocol}: {'held' if held else 'not held'}; hottest row {hottest:.0f} K, {gone}")
    return outcome, {"protocol_held": held, "hottest_K": hottest, "hydrogen_left_ps": left}


def hydrogen_is_alone(atomic_numbers: NDArray[np.int64], positions: NDArray[np.floating[Any]]) -> bool:
    """Whether a hydrogen, at (n, 3) positions in Å, is farther than `FARTHEST_HYDROGEN_A` from every heavier atom."""
    hydrogen = atomic_numbers == 1
    if hydrogen.all() or not hydrogen.any():
        return False
    apart = np.linalg.norm(positions[hydrogen][:, None] - positions[~hydrogen][None], axis=2)
    return bool(apart.min(axis=1).max() > FARTHEST_HYDROGEN_A)
