"""The Edge Transformer: atoms and positions in, forces (and energy) out, in atomic units."""

import math
from typing import Final

import torch
from torch import Tensor, nn

from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.constants import GeometryConstants
from mdet_openmm.network.directions import FourierDirections, HarmonicDirections
from mdet_openmm.network.electrons import N_ROWS, electron_features
from mdet_openmm.network.heads import Decomposer, Head
from mdet_openmm.network.layer import EdgeLayer
from mdet_openmm.network.radial import GaussianBasis

MAX_CHARGE: Final = 64
MAX_MULTIPLICITY: Final = 127


class NodeEmbedding(nn.Module):
    """Element, electron configuration, charge and multiplicity of each atom as one vector."""

    configurations: Tensor

    def __init__(self, embd_dim: int, electronic: bool, first_atom_special: bool) -> None:
        super().__init__()
        self.electronic = electronic
        self.charge_offset = MAX_CHARGE
        self.first_atom_special = first_atom_special
        self.element = nn.Embedding(N_ROWS, embd_dim)
        self.charge = nn.Embedding(2 * MAX_CHARGE, embd_dim)
        self.multiplicity = nn.Embedding(MAX_MULTIPLICITY + 1, embd_dim)
        for table in (self.element, self.charge, self.multiplicity):
            nn.init.normal_(table.weight, std=0.1)  # so that the geometry is heard beside them
        # fp32-rounded, as it stands in the authors' checkpoints
        self.register_buffer("configurations", torch.tensor(electron_features()).float(), persistent=False)
        self.configuration = nn.Linear(23, embd_dim) if electronic else nn.Identity()

    def forward(self, atomic_numbers: Tensor, charge: Tensor, multiplicity: Tensor) -> Tensor:
        """Embed (b, n) elements, (b,) charges and (b,) multiplicities as (b, n, e)."""
        h = self.element(atomic_numbers)
        if self.electronic:
            c = self.configuration(self.configurations[atomic_numbers])
            if self.first_atom_special:
                c = torch.cat((torch.zeros_like(c[:, :1]), c[:, 1:]), dim=1)
            h = h + c
        g = self.multiplicity(multiplicity) + self.charge(charge + self.charge_offset)
        return h + g.unsqueeze(1)


class EdgeTransformer(nn.Module):
    """MD-ET (arXiv 2503.01431): a transformer over pairs of atoms, without built-in rotational symmetry.

    The geometry (displacements, distances, directions and their features) is computed in the dtype of the positions,
    everything else in the dtype of the weights. Positions in fp64 with fp32 weights is "mixed" precision.

    Parameters
    ----------
    config
        Shape and options.
    """

    atom_energies: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        e = config.embd_dim
        self.config = config
        self.n_heads = config.n_heads
        self.has_energy = config.energy_head
        self.force_scale = config.force_scale
        self.by_cdist = config.distances_by_cdist
        self.harmonic = config.directions == "spherical_harmonics"
        self.nodes = NodeEmbedding(e, config.electronic_embedding, config.first_atom_special)
        self.basis = GaussianBasis(config.n_radial, config.radial_cutoff, 3.14159 if config.truncated_pi else math.pi)
        self.radial = nn.Sequential(
            nn.Linear(config.n_radial, config.n_radial), nn.GELU(), nn.Linear(config.n_radial, e)
        )
        self.directions: nn.Module
        if self.harmonic:
            self.directions = HarmonicDirections(e, config.l_max, config.n_radial)
        else:
            self.directions = FourierDirections(e, config.n_frequencies, config.shortest_wavelength)
        self.composer = nn.Linear(2 * e, e)
        self.layers = nn.ModuleList(
            EdgeLayer(e, config.n_heads, config.ffn_multiplier, config.activation, config.norm_first)
            for _ in range(config.n_layers)
        )
        self.decomposer = Decomposer(e, config.decomposer, config.decomposer_activation)
        self.force_head = Head(e, 3, config.activation, config.head_project_down)
        self.energy_head = Head(e, 1, config.activation, config.head_project_down) if config.energy_head else None
        # What an atom of each element adds to the energy before anything is learnt; zero unless training sets it.
        self.register_buffer("atom_energies", torch.zeros(N_ROWS), persistent=config.energy_head)

    def to_trunk(self, dtype: torch.dtype) -> "EdgeTransformer":
        """Cast the weights to a dtype, in place, and keep the constants of the geometry in fp64."""
        self.to(dtype)
        for module in self.modules():
            if isinstance(module, GeometryConstants):
                module.restore_constants()
        return self

    @torch.jit.export
    def node_pairs(self, atomic_numbers: Tensor, charge: Tensor, multiplicity: Tensor) -> Tensor:
        """What a pair (i, j) knows before any position: Linear([h_i; h_j]), (b, n, n, e)."""
        h = self.nodes(atomic_numbers, charge, multiplicity)
        e = h.shape[-1]
        left = h @ self.composer.weight[:, :e].t() + self.composer.bias
        right = h @ self.composer.weight[:, e:].t()
        return left.unsqueeze(2) + right.unsqueeze(1)

    @torch.jit.export
    def reference_energy(self, atomic_numbers: Tensor) -> Tensor:
        """Sum of the elements' reference energies, (b,) Ha: a constant of the molecule."""
        return self.atom_energies[atomic_numbers].sum(dim=1)

    @torch.jit.export
    def position_pairs(self, positions: Tensor) -> Tensor:
        """What a pair (i, j) knows from the geometry: distance and direction from i to j, (f, n, n, e)."""
        trunk = self.composer.weight.dtype
        v = positions.unsqueeze(1) - positions.unsqueeze(2)  # v_ij = x_j - x_i
        squared = (v * v).sum(dim=-1)
        # Pairs of an atom with itself, and of padding with padding: length 1 keeps values and derivatives finite.
        same = squared == 0.0
        length = squared.masked_fill(same, 1.0).sqrt()
        true_length = length.masked_fill(same, 0.0)
        distances = torch.cdist(positions, positions) if self.by_cdist else true_length
        radial = self.basis(distances).to(trunk)
        if self.harmonic:
            unit = v / length.unsqueeze(-1)
        else:
            unit = v / (true_length.unsqueeze(-1) + 1e-5)
        return self.radial(radial) + self.directions(unit, radial, trunk)

    @torch.jit.export
    def from_pairs(self, pairs: Tensor, positions: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Energy and forces from position-free pair features and positions.

        Parameters
        ----------
        pairs
            (b, n, n, e) of `node_pairs`, broadcast over the f structures.
        positions
            (f, n, 3) in bohr, fp64 or fp32; their origin does not matter.
        mask
            (f, n) bool, True for real atoms; None if all are.

        Returns
        -------
        (f,) Ha, without `reference_energy` (zeros without an energy head), and (f, n, 3) Ha/bohr (zero for padding),
        in the trunk's dtype.
        """
        x = pairs + self.position_pairs(positions)
        for layer in self.layers:
            x = layer(x, mask)
        return self.readout(self.decomposer(x, mask), mask)

    @torch.jit.export
    def readout(self, h: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Energy (f,) in Ha and forces (f, n, 3) in Ha/bohr from the decomposer's atom features (f, n, e)."""
        forces = self.force_head(h) * self.force_scale
        if mask is not None:
            forces = forces * mask.unsqueeze(-1).to(forces.dtype)
        if self.energy_head is not None:
            energy = self.energy_head.molecule(h, mask).squeeze(-1)
        else:
            energy = torch.zeros(h.shape[0], dtype=forces.dtype, device=forces.device)
        return energy, forces

    def forward(
        self,
        atomic_numbers: Tensor,
        positions: Tensor,
        charge: Tensor,
        multiplicity: Tensor,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Energy (b,) in Ha and forces (b, n, 3) in Ha/bohr of a batch.

        Parameters
        ----------
        atomic_numbers
            (b, n) int64, 0 for padding.
        positions
            (b, n, 3) in bohr.
        charge, multiplicity
            (b,) int64; the charge may be negative.
        mask
            (b, n) bool, True for real atoms; None if there is no padding.
        """
        pairs = self.node_pairs(atomic_numbers, charge, multiplicity)
        energy, forces = self.from_pairs(pairs, positions, mask)
        return energy + self.reference_energy(atomic_numbers), forces
