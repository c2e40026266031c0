"""The forces of many copies of one molecule in one call: the network's batch is what they share."""

import torch
from torch import Tensor, nn

from mdet_openmm.export.net_force import remove_net_force_and_torque
from mdet_openmm.export.options import OFFSETS
from mdet_openmm.export.rotations import hashed_rotations, random_rotations, rotation_group
from mdet_openmm.network.gradient import minus_gradient
from mdet_openmm.settings import one_of
from mdet_openmm.units import BOHR_PER_NM, KJ_PER_MOL_PER_HARTREE, KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE


class ReplicaForces(nn.Module):
    """What OpenMM calls for R copies: positions of all atoms, copy after copy, to the sum of energies and all forces.

    Each copy has the forces that `mdet_openmm.export.force_module.ForceModule` gives it, with a rotation of its own: a
    random one, or one hashed from its own positions.

    Parameters
    ----------
    network, frames, offset, seed, has_energy, conservative, raw
        As for `ForceModule`.
    replicas
        R.
    """

    rotations: Tensor

    def __init__(
        self,
        network: nn.Module,
        replicas: int,
        frames: int = 1,
        offset: str = "none",
        seed: int = 0,
        has_energy: bool = False,
        conservative: bool = False,
        raw: bool = False,
    ) -> None:
        super().__init__()
        one_of("offset", offset, OFFSETS)
        self.network = network
        self.replicas = replicas
        self.n_atoms = int(getattr(network, "n_atoms", 0)) * replicas
        self.register_buffer("rotations", rotation_group(frames))
        self.offset = offset
        self.seed = seed
        self.has_energy = has_energy
        self.conservative = conservative
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
            return (
                (energy * self.energy_unit).to(positions.dtype),
                (forces * self.force_unit).to(positions.dtype).reshape(-1, 3).contiguous(),
            )

    @torch.jit.export
    def each(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Energies (R,) in Ha and forces (R, n, 3) in Ha/bohr of positions (R n, 3) in nm, fp64, without a graph."""
        given = positions.detach().to(torch.float64).view(self.replicas, -1, 3)
        with torch.no_grad():
            r = (given - given.mean(dim=1, keepdim=True)) * self.bohr_per_nm
            turns = self.rotations.unsqueeze(0).expand(self.replicas, -1, 3, 3)
            if self.offset == "random":
                turns = turns @ random_rotations(self.replicas, given).unsqueeze(1)
            elif self.offset == "hashed":
                turns = turns @ hashed_rotations(given, self.seed).unsqueeze(1)
        if self.conservative:
            # TorchScript has no enable_grad; the caller may have switched gradients off.
            enabled = torch.is_grad_enabled()
            torch.set_grad_enabled(True)
            r.requires_grad_(True)
            energies = self._turned(r, turns)[0].view(self.replicas, -1).mean(dim=1)
            forces = minus_gradient(energies.sum(), r)
            torch.set_grad_enabled(enabled)
            return energies.detach(), forces - forces.mean(dim=1, keepdim=True)
        with torch.no_grad():
            energies, turned = self._turned(r, turns)
            back = turned.to(torch.float64).view(self.replicas, -1, r.size(1), 3) @ turns.transpose(2, 3)
            forces = back.mean(dim=1)
            if not self.raw:
                forces = remove_net_force_and_torque(r, forces)
            return energies.to(torch.float64).view(self.replicas, -1).mean(dim=1), forces

    def _turned(self, r: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
        """The network's answer for each copy in each of its K orientations: (R K,) and (R K, n, 3)."""
        energies, forces = self.network((r.unsqueeze(1) @ turns).flatten(0, 1))
        return energies.to(torch.float64), forces
