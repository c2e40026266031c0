"""The dipoles along a run, from the model that it was run with."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.errors import InputError
from mdet_openmm.measure.vibrations import superpose
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.simulation.ended_run import Run
from mdet_openmm.simulation.run_folder import read_settings

MOST_FRAMES = 10_000
"""Frames from the start on whose dipoles are computed: for ethanol and a small network a minute on one core."""


@dataclass(frozen=True)
class RunDipoles:
    """Dipoles (f, 3) in e Å along the first frames of a run, and those frames, (f, n, 3) in Å.

    The frames are superposed, and centred on the centre of mass: the network is asked in the axes of the molecule,
    where the error that depends on the orientation does not change with its rotation.
    """

    positions: NDArray[np.float64]
    dipoles: NDArray[np.float64]


def dipoles_of_run(run: Run, positions: NDArray[np.float64], masses: NDArray[np.float64]) -> RunDipoles | None:
    """Dipoles by the run's model, averaged over 12 rotations.

    Parameters
    ----------
    run
        Its folder has the settings that name the model.
    positions
        (f, n, 3) in Å, the frames that count.
    masses
        (n,) in g/mol.

    Returns
    -------
    RunDipoles or None
        None if the model is not there any more, is not the one that the run was made with, or has no dipole head.
    """
    from mdet_openmm.export.dipoles import dipoles
    from mdet_openmm.export.model_folder import load_model

    try:
        model = load_model(read_settings(run.folder)["settings"]["model"])
    except (InputError, KeyError):
        return None
    used = run.summary.get("model")
    if not model.network.has_dipole or not isinstance(used, dict) or used.get("sha256") != model.sha256:
        return None
    _, superposed = superpose(positions[:MOST_FRAMES], masses)
    charge, multiplicity = int(run.summary.get("charge") or 0), int(run.summary.get("multiplicity") or 1)
    found = dipoles(model, Species(run.atomic_numbers, charge, multiplicity), superposed)
    return RunDipoles(superposed, found)
