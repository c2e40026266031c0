"""From pairs to atoms, and from atoms to forces, energy and dipole."""

from typing import Final

from torch import Tensor, nn

from mdet_openmm.network.config import DECOMPOSERS
from mdet_openmm.network.layer import activation_module
from mdet_openmm.settings import one_of


def _norm_mlp(width_in: int, width: int, activation: str) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width_in), nn.Linear(width_in, width), activation_module(activation), nn.Linear(width, width)
    )


class Decomposer(nn.Module):
    """Atom features from pair features.

    pooling: [t1; t2]_ij = M(x_ij), h_i = M'(sum_j t1_ij + t2_ji) over the real atoms j; diagonal: h_i = M'(M(x_ii)).
    M' and the sum before it may be of higher precision than M.
    """

    def __init__(self, embd_dim: int, kind: str, activation: str) -> None:
        super().__init__()
        one_of("decomposer", kind, DECOMPOSERS)
        self.pooling = kind == "pooling"
        self.pair_mlp = _norm_mlp(embd_dim, 2 * embd_dim if self.pooling else embd_dim, activation)
        self.atom_mlp = _norm_mlp(embd_dim, embd_dim, activation)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map pair features (b, n, n, e) to atom features (b, n, e)."""
        if self.pooling:
            first, second = self.pair_mlp(x).chunk(2, dim=-1)
            terms = first + second.transpose(1, 2)
            if mask is not None:
                terms = terms * mask[:, None, :, None].to(terms.dtype)
            return self.atom_mlp(terms.sum(dim=2, dtype=self.atom_mlp[1].weight.dtype))
        diagonal = self.pair_mlp(x.diagonal(dim1=1, dim2=2).transpose(1, 2))
        return self.atom_mlp(diagonal.to(self.atom_mlp[1].weight.dtype))


class Head(nn.Module):
    """A three-layer readout, its last layer without a bias; for atoms, or for their mean.

    ``softening`` is added to the number of atoms in that mean (1e-9 in the authors' second code).
    """

    def __init__(self, embd_dim: int, n_out: int, activation: str, project_down: bool, softening: float = 0.0) -> None:
        super().__init__()
        self.softening = softening
        half, quarter = (embd_dim // 2, embd_dim // 4) if project_down else (embd_dim, embd_dim)
        self.norm = nn.LayerNorm(embd_dim)
        self.mlp = nn.Sequential(
            nn.Linear(embd_dim, half),
            activation_module(activation),
            nn.Linear(half, quarter),
            activation_module(activation),
            nn.Linear(quarter, n_out, bias=False),
        )

    def forward(self, h: Tensor) -> Tensor:
        """Map atom features (b, n, e) to (b, n, n_out)."""
        return self.mlp(self.norm(h))

    def molecule(self, h: Tensor, mask: Tensor | None) -> Tensor:
        """Map atom features (b, n, e) to one value per molecule (b, n_out) through the mean over real atoms."""
        h = self.norm(h)
        if mask is not None:
            m = mask.unsqueeze(-1).to(h.dtype)
            return self.mlp((h * m).sum(dim=1) / (m.sum(dim=1) + self.softening))
        return self.mlp(h.sum(dim=1) / (h.shape[1] + self.softening))


class AtomicEnergies(nn.Module):
    """An energy per atom, summed; from features that it pools from the pairs itself, as `DipoleHead` does."""

    HARTREE: Final = 0.01
    """An output of 1 in Ha: about what conformations of a small molecule differ by."""

    def __init__(
        self, embd_dim: int, kind: str, pooling_activation: str, activation: str, project_down: bool, softening: float
    ) -> None:
        super().__init__()
        self.decomposer = Decomposer(embd_dim, kind, pooling_activation)
        self.head = Head(embd_dim, 1, activation, project_down, softening)

    def forward(self, x: Tensor, mask: Tensor | None, token: bool) -> Tensor:
        """Map pair features (b, n, n, e) to energies (b,) in Ha; with ``token``, n counts the class token."""
        energies = self.head(self.decomposer(x, mask)).squeeze(-1)
        if mask is not None:
            energies = energies * mask.to(energies.dtype)
        if token:
            energies = energies[:, 1:]
        return energies.sum(dim=1) * self.HARTREE


class DipoleHead(nn.Module):
    """One vector per atom, q_i (r_i - c) + m_i, summed; q_i and m_i from features that it pools from the pairs itself.

    About the centroid c it makes no difference whether the q_i add up to the molecule's charge: a constant added to all
    of them cancels. The trunk's pooling for the forces leaves too little of the charges: on a frozen trunk a `Head` on
    it was wrong by five times as much (docs/observables.md).
    """

    def __init__(
        self, embd_dim: int, kind: str, pooling_activation: str, activation: str, project_down: bool, softening: float
    ) -> None:
        super().__init__()
        self.decomposer = Decomposer(embd_dim, kind, pooling_activation)
        self.head = Head(embd_dim, 4, activation, project_down, softening)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor | None, token: bool) -> Tensor:
        """Map pair features to dipoles about the centroid.

        Parameters
        ----------
        x
            (b, n, n, e); with ``token``, n counts the class token, which comes first.
        positions
            (b, n, 3) of the atoms alone.
        mask
            (b, n) like ``x``, True for real atoms (and the token); None if all are.
        token
            Whether there is a class token.

        Returns
        -------
        (b, 3) in e times the unit of the positions.
        """
        h = self.head(self.decomposer(x, mask))
        if token:
            h = h[:, 1:]
            mask = mask[:, 1:] if mask is not None else None
        if mask is None:
            r = positions - positions.mean(dim=1, keepdim=True)
        else:
            m = mask.unsqueeze(-1).to(positions.dtype)
            r = positions - (positions * m).sum(dim=1, keepdim=True) / m.sum(dim=1, keepdim=True)
        vectors = h[..., :1] * r.to(h.dtype) + h[..., 1:]
        if mask is not None:
            vectors = vectors * mask.unsqueeze(-1).to(vectors.dtype)
        return vectors.sum(dim=1)
