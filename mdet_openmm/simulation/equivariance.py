"""How far the forces of a run are from turning with the molecule, measured while it runs.

E_eq (arXiv 2503.01431): turn the present structure by K uniform rotations, turn the forces back, and average their
distance from their mean over rotations and atoms. The module is that of the run, orientations included, without its
offset: an offset is itself a rotation, and would be drawn by other positions than the run's.

A measurement draws its rotations from the run's seed and the step, and calls a module of its own. It so takes nothing
from the run, whose bytes are the same with it and without it, and a restarted run measures the same.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from mdet_openmm.digits import shown
from mdet_openmm.export.rotations import quaternion_to_matrix
from mdet_openmm.measure.definitions import equivariance_error
from mdet_openmm.simulation.log_file import STEP, TIME, CsvFile, read_table
from mdet_openmm.simulation.monitor import Problem
from mdet_openmm.simulation.relax import ForceFunction
from mdet_openmm.simulation.settings import RunSettings
from mdet_openmm.units import KCAL_PER_MOL_PER_EV, KJ_PER_MOL_PER_NM_PER_EV_PER_ANGSTROM

ERROR, NOISE = "equivariance_error_kcal_mol_A", "noise_meV_A"
COLUMNS = (STEP, TIME, ERROR, NOISE)


@dataclass(frozen=True)
class Inequivariance:
    """Of one structure.

    Attributes
    ----------
    error
        E_eq in kcal/mol/Å.
    noise
        Root mean square deviation of one Cartesian force component in meV/Å: what a random offset adds to each force
        call.
    atom
        Index of the atom with the largest deviation.
    """

    error: float
    noise: float
    atom: int


def measure_inequivariance(
    force: ForceFunction, positions: NDArray[np.float64], rotations: NDArray[np.float64], replicas: int = 1
) -> list[Inequivariance]:
    """Measure structures, at one force call per rotation.

    Both numbers are taken times √(K/(K − 1)): K forces scatter less about their own mean than about that of all
    rotations, so that few rotations would give less than the 512 of the paper do.

    Parameters
    ----------
    force
        Positions (R n, 3) in nm to energy and forces in kJ/mol/nm; without a random or hashed offset.
    positions
        (R n, 3) in nm.
    rotations
        (K, 3, 3), two or more.
    replicas
        R, how many structures these are.
    """
    each = positions.reshape(replicas, -1, 3)
    centred = (each - each.mean(axis=1, keepdims=True)).reshape(-1, 3)
    forces = np.stack([force(centred @ turn)[1] @ turn.T for turn in rotations])
    forces = forces.reshape(len(rotations), replicas, -1, 3) / KJ_PER_MOL_PER_NM_PER_EV_PER_ANGSTROM
    return [_inequivariance(forces[:, k]) for k in range(replicas)]


def _inequivariance(forces: NDArray[np.float64]) -> Inequivariance:
    """Of one structure, from its forces (K, n, 3) in eV/Å turned back."""
    few = len(forces) / (len(forces) - 1.0)
    error = float(equivariance_error(torch.from_numpy(forces).unsqueeze(1))[0])
    deviation = forces - forces.mean(axis=0)
    return Inequivariance(
        error=KCAL_PER_MOL_PER_EV * np.sqrt(few) * error,
        noise=1e3 * float(np.sqrt(few * np.mean(deviation**2))),
        atom=int(np.argmax(np.square(deviation).sum(axis=(0, 2)))),
    )


class EquivarianceWatch:
    """Measures now and then, keeps ``equivariance.csv`` of each replica, and says when the error is too large.

    Parameters
    ----------
    settings
        Resolved: number of replicas and of rotations, seed, limit, and what a larger error does.
    force
        See `measure_inequivariance`.
    name_of
        Names an atom by its index, for messages.
    """

    def __init__(self, settings: RunSettings, force: ForceFunction, name_of: Callable[[int], str]) -> None:
        self._settings, self._force, self._name_of = settings, force, name_of
        self._warned = False
        self._tables: dict[int, CsvFile] = {}

    def open(self, paths: Mapping[int, Path], last_step: int) -> None:
        """Begin the tables of these replicas, or go on with them after this step."""
        self._tables = {k: CsvFile(path, COLUMNS, last_step) for k, path in paths.items()}

    def measure(self, positions: NDArray[np.float64], step: int, time: float) -> dict[int, Problem]:
        """Append a row for each open replica; the problems of those whose error ends them.

        Parameters
        ----------
        positions
            (R n, 3) in nm.
        step, time
            Since the end of the equilibration; time in ps.
        """
        rng = np.random.default_rng([self._settings.seed or 0, step])
        quaternions = torch.from_numpy(rng.standard_normal((self._settings.equivariance_rotations, 4)))
        rotations = quaternion_to_matrix(quaternions / quaternions.norm(dim=1, keepdim=True)).numpy()
        measured = measure_inequivariance(self._force, positions, rotations, self._settings.replicas)
        problems = {k: self._record(table, measured[k], step, time) for k, table in self._tables.items()}
        return {k: problem for k, problem in problems.items() if problem is not None}

    def _record(self, table: CsvFile, found: Inequivariance, step: int, time: float) -> Problem | None:
        table.write([str(step), f"{time:.10g}", f"{found.error:.6g}", f"{found.noise:.6g}"])
        limit = self._settings.largest_equivariance_error
        if limit is None or found.error <= limit:
            return None
        text = (
            f"the equivariance error is {shown(found.error)} kcal/mol/Å (limit {limit:g}); "
            f"{self._name_of(found.atom)} deviates most"
        )
        if self._settings.equivariance_action == "stop":
            return Problem("equivariance", text, found.atom)
        if not self._warned and not self._settings.quiet:
            tqdm.write(f"warning: at {time:.4g} ps {text}; further warnings are left out", file=sys.stderr)
        self._warned = True
        return None

    def drop(self, replica: int) -> None:
        """Measure a replica no more."""
        table = self._tables.pop(replica, None)
        if table is not None:
            table.close()

    def sync(self) -> None:
        """Bring the tables onto the disk."""
        for table in self._tables.values():
            table.sync()

    def close(self) -> None:
        """Close the tables."""
        for table in self._tables.values():
            table.close()


def summarize_equivariance(path: Path, limit: float | None) -> dict[str, Any]:
    """What the summary says of ``equivariance.csv``: number of measurements, mean and largest, None without any."""
    table = read_table(path)
    errors = table.get(ERROR, np.zeros(0))
    some = len(errors) > 0
    return {
        "equivariance_measurements": len(errors),
        "equivariance_error_mean_kcal_mol_A": float(errors.mean()) if some else None,
        "equivariance_error_largest_kcal_mol_A": float(errors.max()) if some else None,
        "equivariance_noise_meV_A": float(np.sqrt(np.mean(table[NOISE] ** 2))) if some else None,
        "equivariance_limit_kcal_mol_A": limit,
        "equivariance_exceeded": int((errors > limit).sum()) if limit is not None else None,
    }
