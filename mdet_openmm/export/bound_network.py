"""An Edge Transformer bound to one molecule: what does not depend on the positions is computed once."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from mdet_openmm.network.edge_transformer import EdgeTransformer


class BoundNetwork(nn.Module):
    """An Edge Transformer whose elements, charge and multiplicity are fixed: only positions remain.

    Parameters
    ----------
    network
        Taken over as it is, in the dtype that its trunk has.
    atomic_numbers
        (n,) int64.
    charge
        Total charge, e.
    multiplicity
        2S + 1.
    rounded
        Round positions to fp32 before the geometry is computed of them, as codes do that run the whole model in fp32.
    """

    pairs: Tensor
    types: Tensor | None
    reference_energy: Tensor

    def __init__(
        self,
        network: "EdgeTransformer",
        atomic_numbers: Tensor,
        charge: int,
        multiplicity: int,
        rounded: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.rounded = rounded
        numbers = atomic_numbers.reshape(1, -1)
        self.n_atoms = numbers.shape[1]
        with torch.no_grad():
            pairs = network.node_pairs(numbers, torch.tensor([charge]), torch.tensor([multiplicity]))
            # fp64, because it is a large number beside what the network adds
            energy = network.reference_energy(numbers).double()
        self.register_buffer("pairs", pairs.detach().clone())
        self.register_buffer("types", network.pair_types(numbers))
        self.register_buffer("reference_energy", energy.detach().clone())

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Energies (f,) in Ha and direct forces (f, n, 3) in Ha/bohr at positions (f, n, 3) in bohr, fp64.

        Without a force head the forces are zero; `ForceModule` differentiates the energies instead.
        """
        if self.rounded:
            positions = positions.to(torch.float32)
        energies, forces = self.network.from_pairs(self.pairs, positions, self.types)
        return energies + self.reference_energy, forces
