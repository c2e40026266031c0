"""The forces of many copies of one molecule in one call: the network's batch is what they share."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mdet_openmm.export.net_force import remove_net_force_and_torque
from mdet_openmm.export.options import FORCES, OFFSETS
from mdet_openmm.export.rotations import hashed_rotations, random_rotations, rotation_group
from mdet_openmm.network.gradient import minus_gradient
from mdet_openmm.settings import one_of
from mdet_openmm.units import BOHR_PER_NM, KJ_PER_MOL_PER_HARTREE, KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE


class ReplicaForces(nn.Module):
    """What OpenMM calls for R copies: positions of all atoms, copy after copy, to the sum of energies and all forces.

    Each copy has the forces that `mdet_openmm.export.force_module.ForceModule` gives it with the copy's seed, whatever
    the others do: also where those of another copy are not finite.

    Parameters
    ----------
    network, orientations, offset, has_energy, forces, raw
        As for `ForceModule`, but for forces that are a difference.
    seeds
        Of the hashed offset, one for each of the R copies; a single one is that of any number of them.
    """

    rotations: Tensor
    seeds: Tensor

    def __init__(
        self,
        network: nn.Module,
        seeds: Sequence[int],
        orientations: int = 1,
        offset: str = "none",
        has_energy: bool = False,
        forces: str = "direct",
        raw: bool = False,
    ) -> None:
        super().__init__()
        one_of("offset", offset, OFFSETS)
        one_of("forces", forces, FORCES)
        self.network = network
        self.replicas = len(seeds)
        self.per_copy = int(getattr(network, "n_atoms", 0))  # 0: a network of any number of atoms
        self.n_atoms = self.per_copy * self.replicas if self.replicas > 1 else 0
        self.register_buffer("rotations", rotation_group(orientations))
        self.register_buffer("seeds", torch.tensor(list(seeds), dtype=torch.int64))
        self.offset = offset
        self.has_energy = has_energy
        self.gradient = forces == "conservative"
        self.raw = raw
        # TorchScript sees no module constants
        self.bohr_per_nm = BOHR_PER_NM
        self.energy_unit = KJ_PER_MOL_PER_HARTREE
        self.force_unit = KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Energy of all copies in kJ/mol (0 without an energy head) and forces (R n, 3) in kJ/mol/nm.

        Parameters
        ----------
        positions
            (R n, 3) in nm.
        """
        if self.n_atoms > 0 and positions.size(0) != self.n_atoms:
            raise ValueError(f"the force is bound to {self.n_atoms} atoms, not {positions.size(0)}")
        energies, forces = self.each(positions)
        energy = energies.sum() if self.has_energy else torch.zeros([], dtype=torch.float64, device=positions.device)
        with torch.no_grad():
            energy = (energy * self.energy_unit).to(positions.dtype)
            forces = (forces * self.force_unit).to(positions.dtype).reshape(-1, 3).contiguous()
        return energy, forces

    @torch.jit.export
    def each(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Energies (R,) in Ha and forces (R, n, 3) in Ha/bohr of positions (R n, 3) in nm, fp64, without a graph."""
        given = positions.detach().to(torch.float64)
        if self.replicas == 1 and self.per_copy > 0:
            given = given.view(-1, self.per_copy, 3)
        else:
            given = given.view(self.replicas, -1, 3)
        copies = given.size(0)
        with torch.no_grad():
            r = (given - given.mean(dim=1, keepdim=True)) * self.bohr_per_nm
            turns = self.rotations.unsqueeze(0).expand(copies, -1, 3, 3)
            if self.offset == "random":
                turns = turns @ random_rotations(copies, given).unsqueeze(1)
            elif self.offset == "hashed":
                turns = turns @ hashed_rotations(given, self.seeds).unsqueeze(1)
        # TorchScript cannot return from within a no_grad
        if self.gradient:
            # TorchScript has no enable_grad; the caller may have switched gradients off.
            enabled = torch.is_grad_enabled()
            torch.set_grad_enabled(True)
            energies, forces = self._gradient(r.requires_grad_(True), turns)
            torch.set_grad_enabled(enabled)
        else:
            with torch.no_grad():
                energies, forces = self._direct(r, turns)
        return energies, forces

    def _direct(self, r: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
        """From the network's force head, averaged over each copy's orientations."""
        energies, forces = self._turned(r, turns)
        forces = forces.to(torch.float64).view(r.size(0), -1, r.size(1), 3) @ turns.transpose(2, 3)
        mean = forces.mean(dim=1)
        if not self.raw:
            mean = remove_net_force_and_torque(r, mean)
        return energies, mean

    def _gradient(self, r: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
        """Energies averaged over each copy's orientations, and minus their gradients."""
        energies = self._turned(r, turns)[0]
        forces = minus_gradient(energies.sum(), r)
        return energies.detach(), forces - forces.mean(dim=1, keepdim=True)

    def _turned(self, r: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
        """The network's answer for K orientations of each copy: mean energies (R,) and forces (R K, n, 3)."""
        energies, forces = self.network((r.unsqueeze(1) @ turns).flatten(0, 1))
        return energies.to(torch.float64).view(r.size(0), -1).mean(dim=1), forces
