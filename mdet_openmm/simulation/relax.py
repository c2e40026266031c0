"""Relaxation of a structure with ASE's FIRE, which needs forces only.

OpenMM's ``minimizeEnergy`` compares energies, which a direct force field does not have.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.optimize import FIRE
from numpy.typing import NDArray

from mdet_openmm.errors import RunStopped
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.units import KJ_PER_MOL_PER_EV, KJ_PER_MOL_PER_NM_PER_EV_PER_ANGSTROM, NM_PER_ANGSTROM

FMAX_EV_A = 0.05
MAX_STEPS = 500

ForceFunction = Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]
"""(n, 3) positions in nm → energy in kJ/mol and (n, 3) forces in kJ/mol/nm."""


class BoundCalculator(Calculator):
    """ASE calculator around a module bound to one molecule."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012  (ASE's interface)

    def __init__(self, force: ForceFunction) -> None:
        super().__init__()
        self._force = force

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Fill in the energy in eV (0 for a model without) and the forces in eV/Å."""
        super().calculate(atoms, properties, system_changes)
        energy, forces = self._force(NM_PER_ANGSTROM * atoms.positions)
        if not np.isfinite(forces).all():
            raise RunStopped("the model's forces are not finite")
        self.results = {
            "energy": energy / KJ_PER_MOL_PER_EV,
            "forces": forces / KJ_PER_MOL_PER_NM_PER_EV_PER_ANGSTROM,
        }


@dataclass(frozen=True)
class Relaxed:
    """Outcome of a relaxation: (n, 3) positions in Å, steps taken, largest remaining force in eV/Å."""

    positions: NDArray[np.float64]
    steps: int
    largest_force: float

    @property
    def converged(self) -> bool:
        """Whether the largest force is below 0.05 eV/Å."""
        return self.largest_force <= FMAX_EV_A


def force_function(module: Any, device: str = "cpu") -> ForceFunction:
    """Wrap a TorchScript module bound to a molecule as a function of NumPy arrays.

    Parameters
    ----------
    module
        Positions in nm → (energy in kJ/mol, forces in kJ/mol/nm).
    device
        Where to run it.
    """
    import torch

    module = module.to(device)

    def force(positions: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        with torch.no_grad():
            energy, forces = module(torch.tensor(positions, dtype=torch.float64, device=device))
        return float(energy), forces.double().cpu().numpy()

    return force


def relax(molecule: Molecule, force: ForceFunction) -> Relaxed:
    """Relax a molecule until the largest force is below 0.05 eV/Å, in at most 500 steps.

    Use a module without rotation offset: the field is then smooth, and the same structure always relaxes to the same
    one.

    Raises
    ------
    RunStopped
        If the forces are not finite.
    """
    atoms = Atoms(numbers=molecule.atomic_numbers, positions=molecule.positions)
    atoms.calc = BoundCalculator(force)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimizer = FIRE(atoms, logfile=None)
        optimizer.run(fmax=FMAX_EV_A, steps=MAX_STEPS)
    largest = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
    return Relaxed(atoms.get_positions(), optimizer.nsteps, largest)
