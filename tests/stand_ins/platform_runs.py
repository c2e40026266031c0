"""Short runs of ethanol on a platform, and what is asked of them there; for tests/gpu."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
from numpy.typing import NDArray

from mdet_openmm.simulation import run_folder
from mdet_openmm.system.platform import PlatformChoice

ETHANOL = Path(__file__).resolve().parents[2] / "simulations" / "systems" / "ethanol.pdb"
MASSES = {1: 1.008, 6: 12.011, 8: 15.999}


def trajectory(folder: Path) -> NDArray[np.float64]:
    positions: NDArray[np.float64] = mdtraj.load(
        str(folder / run_folder.TRAJECTORY), top=str(folder / run_folder.TOPOLOGY)
    ).xyz
    return positions


def settings_of(kind: type, choice: PlatformChoice, backend: str, folder: Path, **options: Any) -> Any:
    options = {
        "seed": 3, "quiet": True, "minimize": False, "equilibrate": 0.01, "checkpoint_interval": 0.01,
        "report_interval": 1.0, "watch_equivariance": 20, "platform": choice.name, "backend": backend, **options,
    }  # fmt: skip
    return kind(system=ETHANOL, output=folder, **options)


def restarted(
    kind: type,
    run: Any,
    choice: PlatformChoice,
    backend: str,
    tmp_path: Path,
    folders: Sequence[str] = (".",),
    **options: Any,
) -> None:
    """Assert that a run of 60 steps and one of 30 that was continued leave the same bytes."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(settings_of(kind, choice, backend, whole, steps=60, **options))
    first = settings_of(kind, choice, backend, parts, steps=30, **options)
    run(first)
    run(dataclasses.replace(first, steps=60, restart=True))
    each = [run_folder.TRAJECTORY, run_folder.LOG, run_folder.EQUIVARIANCE]
    for name in [*(f"{folder}/{file}" for folder in folders for file in each), run_folder.STATE]:
        assert (whole / name).read_bytes() == (parts / name).read_bytes(), name
