"""What an atom is before anything is known of its place."""

from typing import Final

import torch
from torch import Tensor, nn

from mdet_openmm.network.electrons import N_ROWS, electron_features

MAX_CHARGE: Final = 64
MAX_MULTIPLICITY: Final = 127


def with_token(atomic_numbers: Tensor) -> Tensor:
    """The atomic numbers (b, n) behind the class token's, which is 101, (b, n + 1)."""
    return torch.nn.functional.pad(atomic_numbers, [1, 0], value=101.0)


class NodeEmbedding(nn.Module):
    """Element, electron configuration, charge and multiplicity of each atom as one vector.

    Parameters
    ----------
    embd_dim
        e.
    electronic
        Add the electron configuration.
    authors
        As in the authors' code: index 0, be it an atom or the class token, has no electron configuration; and the
        table of configurations is that of the weights.
    class_token
        Put a token first, which alone carries charge and multiplicity; without, every atom does.
    """

    configurations: Tensor

    def __init__(self, embd_dim: int, electronic: bool, authors: bool, class_token: bool) -> None:
        super().__init__()
        self.electronic = electronic
        self.charge_offset = MAX_CHARGE
        self.first_special = authors
        self.token = class_token
        self.element = nn.Embedding(N_ROWS, embd_dim)
        self.charge = nn.Embedding(2 * MAX_CHARGE, embd_dim)
        self.multiplicity = nn.Embedding(MAX_MULTIPLICITY + 1, embd_dim)
        for table in (self.element, self.charge, self.multiplicity):
            nn.init.normal_(table.weight, std=0.1)  # so that the geometry is heard beside them
        # fp32-rounded, as it stands in the authors' checkpoints
        features = torch.tensor(electron_features()).float()
        self.register_buffer("configurations", features, persistent=authors and electronic)
        self.configuration = nn.Linear(23, embd_dim) if electronic else nn.Identity()

    def forward(self, atomic_numbers: Tensor, charge: Tensor, multiplicity: Tensor) -> Tensor:
        """Embed (b, n) elements, (b,) charges and (b,) multiplicities as (b, n, e), or (b, 1 + n, e) with a token."""
        z = with_token(atomic_numbers) if self.token else atomic_numbers
        h = self.element(z)
        if self.electronic:
            c = self.configuration(self.configurations[z])
            if self.first_special:
                c = torch.cat((torch.zeros_like(c[:, :1]), c[:, 1:]), dim=1)
            h = h + c
        g = (self.multiplicity(multiplicity) + self.charge(charge + self.charge_offset)).unsqueeze(1)
        if self.token:
            return torch.cat((h[:, :1] + g, h[:, 1:]), dim=1)
        return h + g
