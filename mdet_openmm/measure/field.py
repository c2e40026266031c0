"""The force of one molecule on many structures at once, as the network gives it and as a run uses it."""

import copy
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from mdet_openmm.export.bound_network import BoundNetwork
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import Model
from mdet_openmm.export.net_force import remove_net_force_and_torque
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.export.rotations import quaternion_to_matrix
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.network.gradient import minus_gradient
from mdet_openmm.units import BOHR_PER_NM, KJ_PER_MOL_PER_EV, KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE

KJ_NM_PER_MEV_A: Final = KJ_PER_MOL_PER_EV * 1e-2
"""kJ/mol/nm in 1 meV/Å."""

PAIRS_AT_ONCE: Final = 4000
"""Structures times atoms squared in one call of the network: more gains no speed on one core and costs memory."""


@dataclass(frozen=True, eq=False)
class Field:
    """Forces of one molecule, each structure in the orientation in which it is given.

    Attributes
    ----------
    network
        (f, n, 3) fp64 positions in bohr -> (f,) energies in Ha, (f, n, 3) forces in Ha/bohr.
    conservative
        The forces are minus the gradient of the energies.
    """

    network: nn.Module
    conservative: bool = False

    def with_graph(self, positions: Tensor, raw: bool = False) -> Tensor:
        """Forces that can be differentiated with respect to the positions; shapes and units as for `forces`."""
        centred = positions - positions.mean(dim=1, keepdim=True)
        r = centred * BOHR_PER_NM
        if self.conservative:
            forces = minus_gradient(self.network(r)[0], r, create_graph=True)
        else:
            forces = self.network(r)[1]
        forces = forces.to(torch.float64) * KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE
        return forces if raw else self.as_used(positions, forces)

    def as_used(self, positions: Tensor, forces: Tensor) -> Tensor:
        """Take out what a run takes out: net force and net torque; of conservative forces the net force only."""
        if self.conservative:
            return forces - forces.mean(dim=1, keepdim=True)
        return remove_net_force_and_torque(positions, forces)

    def forces(self, positions: Tensor, raw: bool = False) -> Tensor:
        """Forces without a graph.

        Parameters
        ----------
        positions
            (f, n, 3) float64 in nm.
        raw
            As the network gives them: net force and torque stay.

        Returns
        -------
        Tensor
            (f, n, 3) float64 in kJ/mol/nm.
        """
        found = []
        for part in positions.split(max(1, PAIRS_AT_ONCE // positions.shape[1] ** 2)):
            if self.conservative:
                found.append(self.with_graph(part.detach().requires_grad_(True), raw).detach())
            else:
                with torch.no_grad():
                    found.append(self.with_graph(part, raw))
        return torch.cat(found)

    def turned_back(self, positions: Tensor, rotations: Tensor) -> Tensor:
        """Raw forces of one structure in other orientations, turned back onto it.

        Parameters
        ----------
        positions
            (n, 3) in nm.
        rotations
            (K, 3, 3); positions and forces are rows and become x R.

        Returns
        -------
        Tensor
            (K, n, 3): F(x R_k) R_k^T in kJ/mol/nm.
        """
        centred = positions - positions.mean(dim=0)
        return self.forces(centred @ rotations, raw=True) @ rotations.transpose(1, 2)


def make_field(model: Model, molecule: Molecule, precision: str, forces: str | None = None) -> Field:
    """The force of a molecule for measuring, by the fastest code there is; it has no derivative.

    Parameters
    ----------
    model, molecule
        What is measured.
    precision
        As for `mdet_openmm.export.force_module.bind`.
    forces
        "direct", "conservative", or None for the model's own kind.

    Raises
    ------
    InputError
        For elements, a charge or a multiplicity that the model does not know.
    """
    options = ForceOptions(precision=precision, offset="none", forces=forces).resolved(model)
    return Field(bind(model, molecule, options).network, options.conservative)


def smooth_field(model: Model, molecule: Molecule, forces: str | None = None) -> Field:
    """The same force in fp64 with derivatives; slower."""
    network = copy.deepcopy(model.network).requires_grad_(False).eval().to(torch.float64)
    numbers = torch.tensor(molecule.atomic_numbers)
    bound = BoundNetwork(network, numbers, molecule.charge, molecule.multiplicity)
    return Field(bound.eval(), ForceOptions(forces=forces).resolved(model).conservative)


def uniform_rotations(count: int, generator: torch.Generator) -> Tensor:
    """Independent uniform rotations, (count, 3, 3) float64: normalised Gaussian quaternions."""
    quaternions = torch.randn(count, 4, dtype=torch.float64, generator=generator)
    return quaternion_to_matrix(quaternions / quaternions.norm(dim=1, keepdim=True))
