"""Springs whose direct force is the gradient of their energy plus a known curl, for multiple time steps to cure."""

import numpy as np
import torch
from torch import Tensor, nn

from mdet_openmm.export.force_module import ForceModule
from mdet_openmm.units import BOHR_PER_NM, KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE

SPRING_UNIT = KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE * BOHR_PER_NM
"""kJ/mol/nm² in one Ha/bohr²."""


class CurledSprings(nn.Module):
    """A spring k (d - length)²/2 between each pair; the direct forces have whirl z x r on every atom added.

    r is from the centroid, lengths are in nm, k and whirl in kJ/mol/nm². A constructed energy, in Ha, and forces, in
    Ha/bohr, as networks give them.
    """

    lengths: Tensor

    def __init__(self, lengths: Tensor, k: float, whirl: float) -> None:
        super().__init__()
        self.n_atoms = len(lengths)
        self.register_buffer("lengths", lengths * BOHR_PER_NM)
        self.k, self.whirl = k / SPRING_UNIT, whirl / SPRING_UNIT

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        between = positions.unsqueeze(1) - positions.unsqueeze(2)
        own = torch.eye(positions.shape[1], dtype=positions.dtype)
        distance = ((between * between).sum(-1) + own).sqrt()
        stretch = (distance - self.lengths) * (1.0 - own)
        energy = 0.25 * self.k * (stretch * stretch).sum(dim=(1, 2))
        r = positions - positions.mean(dim=1, keepdim=True)
        curl = self.whirl * torch.stack([-r[..., 1], r[..., 0], torch.zeros_like(r[..., 0])], dim=-1)
        return energy, self.k * ((stretch / distance).unsqueeze(-1) * between).sum(dim=2) + curl


def parts(
    positions: np.ndarray | None = None, k: float = 2e5, whirl: float = 5e3, cycle: int = 4
) -> tuple[torch.jit.ScriptModule, torch.jit.ScriptModule]:
    """The two force modules of a cycle, or with 0 direct and difference; without positions two atoms, no length."""
    x = torch.zeros(2, 3).double() if positions is None else torch.tensor(positions)
    lengths = torch.cdist(x, x)
    network = CurledSprings(lengths, k, whirl)
    direct, difference = (
        torch.jit.script(ForceModule(network, has_energy=True, forces=forces, raw=True, cycle=steps).eval())
        for forces, steps in (("direct", 0), ("difference", cycle))
    )
    return direct, difference
