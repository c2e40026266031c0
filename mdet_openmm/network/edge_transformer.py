"""The Edge Transformer: atoms and positions in, forces (and energy, and dipole) out, in atomic units."""

import math

import torch
from torch import Tensor, nn

from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.directions import FourierDirections, HarmonicDirections, MlpDirections
from mdet_openmm.network.electrons import N_ROWS
from mdet_openmm.network.gradient import minus_gradient
from mdet_openmm.network.heads import AtomicEnergies, Decomposer, DipoleHead, Head
from mdet_openmm.network.layer import EdgeLayer
from mdet_openmm.network.nodes import NodeEmbedding, with_token
from mdet_openmm.network.radial import N_EDGE_TYPES, BesselBasis, GaussianBasis


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
        self.has_dipole = config.dipole_head
        self.force_scale = config.force_scale
        self.token = config.class_token
        self.typed = config.edge_types
        authors = config.numerics != "exact"
        self.by_cdist = config.numerics == "authors_v1"
        # Of squared distances. It keeps D_ii off zero, as the weights have seen it.
        self.softening = 1e-8 if config.numerics == "authors_v2" else 0.0
        self.harmonic = config.directions.startswith("spherical_harmonics")
        self.nodes = NodeEmbedding(e, config.electronic_embedding, authors, config.class_token)
        k, n_types = config.n_radial, N_EDGE_TYPES if config.edge_types else 1
        self.basis: nn.Module
        if config.radial_basis == "bessel":
            self.basis = BesselBasis(k, n_types)
            self.radial = nn.Sequential(nn.Linear(k, e))
        else:
            self.basis = GaussianBasis(k, config.radial_cutoff, n_types, 3.14159 if self.by_cdist else math.pi)
            self.radial = nn.Sequential(nn.Linear(k, k), nn.GELU(), nn.Linear(k, e))
        self.directions: nn.Module
        if config.directions == "spherical_harmonics":
            self.directions = HarmonicDirections(e, config.l_max, k)
        elif config.directions == "fourier":
            clamped = config.numerics == "authors_v2"
            self.directions = FourierDirections(e, config.n_frequencies, config.shortest_wavelength, clamped)
        else:
            self.directions = MlpDirections(e, config.l_max if self.harmonic else None)
        self.composer = nn.Linear(2 * e, e)
        self.layers = nn.ModuleList(
            EdgeLayer(e, config.n_heads, config.ffn_multiplier, config.activation, config.norm_first)
            for _ in range(config.n_layers)
        )
        pooling = (e, config.decomposer, config.decomposer_activation)
        self.decomposer = Decomposer(*pooling)
        head = (config.activation, config.head_project_down, 1e-9 if config.numerics == "authors_v2" else 0.0)
        self.force_head = Head(e, 3, *head) if config.force_head else None
        by_atom = config.energy_pooling == "atoms"
        self.energy_head = Head(e, 1, *head) if config.energy_head and not by_atom else None
        self.atomic_energies = AtomicEnergies(*pooling, *head) if config.energy_head and by_atom else None
        self.dipole_head = DipoleHead(*pooling, *head) if config.dipole_head else None
        # What an atom of each element adds to the energy before anything is learnt; zero unless training sets it.
        self.register_buffer("atom_energies", torch.zeros(N_ROWS), persistent=config.energy_head)

    def in_precision(self, precision: str) -> "EdgeTransformer":
        """Cast the weights in place, as `mdet_openmm.export.options.ForceOptions` names precisions."""
        if precision == "mixed":
            return self.to_mixed()
        return self.to(torch.float64 if precision == "double" else torch.float32)

    def to_mixed(self) -> "EdgeTransformer":
        """Cast the weights to fp32, in place, but for what comes after the sum over pairs: it costs next to nothing."""
        self.to(torch.float32)
        late: list[nn.Module | None] = [self.decomposer.atom_mlp, self.force_head, self.energy_head]
        if self.atomic_energies is not None:
            late += [self.atomic_energies.decomposer.atom_mlp, self.atomic_energies.head]
        if self.dipole_head is not None:
            late += [self.dipole_head.decomposer.atom_mlp, self.dipole_head.head]
        for module in late:
            if module is not None:
                module.to(torch.float64)
        return self

    @torch.jit.export
    def node_pairs(self, atomic_numbers: Tensor, charge: Tensor, multiplicity: Tensor) -> Tensor:
        """What a pair (i, j) knows before any position: Linear([h_i; h_j]), (b, n, n, e), class token included."""
        h = self.nodes(atomic_numbers, charge, multiplicity)
        e = h.shape[-1]
        left = h @ self.composer.weight[:, :e].t() + self.composer.bias
        right = h @ self.composer.weight[:, e:].t()
        return left.unsqueeze(2) + right.unsqueeze(1)

    @torch.jit.export
    def pair_types(self, atomic_numbers: Tensor) -> Tensor | None:
        """Type of each ordered pair of elements, (b, n, n) int64, class token included; None without edge types."""
        if not self.typed:
            return None
        z = with_token(atomic_numbers) if self.token else atomic_numbers
        return z.unsqueeze(2) + 128 * z.unsqueeze(1)

    @torch.jit.export
    def reference_energy(self, atomic_numbers: Tensor) -> Tensor:
        """Sum of the elements' reference energies, (b,) Ha: a constant of the molecule."""
        return self.atom_energies[atomic_numbers].sum(dim=1)

    @torch.jit.export
    def position_pairs(self, positions: Tensor, types: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """What a pair (i, j) knows from the geometry: distance and direction from i to j, (f, n, n, e).

        Parameters
        ----------
        positions
            (f, n, 3) in bohr.
        types
            Of `pair_types`; None without edge types.
        mask
            (f, n); only a class token, which sits at the centroid of the real atoms, needs it.
        """
        trunk = self.composer.weight.dtype
        if self.token:
            if mask is None:
                centroid = positions.mean(dim=1, keepdim=True)
            else:
                m = mask.unsqueeze(-1).to(positions.dtype)
                centroid = (positions * m).sum(dim=1, keepdim=True) / m.sum(dim=1, keepdim=True)
            positions = torch.cat((centroid, positions), dim=1)
        v = positions.unsqueeze(1) - positions.unsqueeze(2)  # v_ij = x_j - x_i
        squared = (v * v).sum(dim=-1)
        # Pairs of an atom with itself, and of padding with padding, are constants: their values are those of the zero
        # vector, and they pass no derivative back, which would be the difference of two large and equal numbers.
        same = squared == 0.0
        v = v.masked_fill(same.unsqueeze(-1), 0.0)
        length = squared.masked_fill(same, 1.0).sqrt()
        true_length = length.masked_fill(same, 0.0)
        if self.by_cdist:
            distances = torch.cdist(positions, positions)
        elif self.softening > 0.0:
            distances = (squared + self.softening).sqrt()
        else:
            distances = true_length
        radial = self.basis(distances, types).to(trunk)
        if self.harmonic:
            unit = v / length.clamp(min=1e-12).unsqueeze(-1)  # a class token may lie next to an atom
        else:
            unit = v / (true_length.unsqueeze(-1) + 1e-5)
        return self.radial(radial) + self.directions(unit, radial, trunk)

    @torch.jit.export
    def from_pairs(
        self, pairs: Tensor, positions: Tensor, types: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Energy and forces from position-free pair features and positions.

        Parameters
        ----------
        pairs, types
            Of `node_pairs` and `pair_types`, broadcast over the f structures.
        positions
            (f, n, 3) in bohr, fp64 or fp32; their origin does not matter.
        mask
            (f, n) bool, True for real atoms; None if all are.

        Returns
        -------
        (f,) Ha, without `reference_energy` (zeros without an energy head), and (f, n, 3) Ha/bohr (zero for padding,
        and everywhere without a force head), in the trunk's dtype.
        """
        with_token = self.token_mask(mask)
        x = self.trunk(pairs, positions, types, mask)
        return self.readout(x, self.decomposer(x, with_token), with_token)

    @torch.jit.export
    def token_mask(self, mask: Tensor | None) -> Tensor | None:
        """The mask (f, n) with the class token, which is always there, before the atoms."""
        if mask is not None and self.token:
            return torch.cat((torch.ones_like(mask[:, :1]), mask), dim=1)
        return mask

    @torch.jit.export
    def trunk(
        self, pairs: Tensor, positions: Tensor, types: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Pair features (f, n, n, e) after the last layer, class token included; parameters as of `from_pairs`."""
        x = pairs + self.position_pairs(positions, types, mask)
        mask = self.token_mask(mask)
        for layer in self.layers:
            x = layer(x, mask)
        return x

    @torch.jit.export
    def dipole_readout(self, x: Tensor, positions: Tensor, mask: Tensor | None = None) -> Tensor:
        """Dipole (f, 3) in e bohr from the pair features of `trunk`: the sum of one vector per atom.

        Of a charged molecule it is the dipole about the centroid (unweighted mean) of its atoms; a neutral one's does
        not depend on the origin. ``positions`` and ``mask`` are those of `from_pairs`.

        Raises
        ------
        ValueError
            Without a dipole head.
        """
        if self.dipole_head is None:
            raise ValueError("this network has no dipole_head")
        else:  # TorchScript compiles a branch, not what follows a raise
            return self.dipole_head(x, positions, self.token_mask(mask), self.token)

    @torch.jit.export
    def readout(self, x: Tensor, h: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Energy (f,) in Ha and forces (f, n, 3) in Ha/bohr from pair features and the decomposer's atom features.

        ``x`` (f, n, n, e), ``h`` (f, n, e) and ``mask`` (f, n) begin with the class token, if there is one; the forces
        do not.
        """
        energy = torch.zeros(h.shape[0], dtype=h.dtype, device=h.device)
        if self.energy_head is not None:
            if self.token:
                energy = self.energy_head(h[:, 0]).squeeze(-1)
            else:
                energy = self.energy_head.molecule(h, mask).squeeze(-1)
        if self.atomic_energies is not None:
            energy = self.atomic_energies(x, mask, self.token)
        if self.token:
            h = h[:, 1:]
            mask = mask[:, 1:] if mask is not None else None
        if self.force_head is not None:
            forces = self.force_head(h) * self.force_scale
            if mask is not None:
                forces = forces * mask.unsqueeze(-1).to(forces.dtype)
        else:
            forces = torch.zeros((h.shape[0], h.shape[1], 3), dtype=h.dtype, device=h.device)
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
        types = self.pair_types(atomic_numbers)
        reference = self.reference_energy(atomic_numbers)
        if self.force_head is not None:
            energy, forces = self.from_pairs(pairs, positions, types, mask)
            return energy + reference, forces
        # Forces are minus the gradient of the energy, also where the caller has switched gradients off.
        enabled = torch.is_grad_enabled()
        differentiable = enabled and positions.requires_grad
        torch.set_grad_enabled(True)
        x = positions if differentiable else positions.detach().requires_grad_(True)
        energy = self.from_pairs(pairs, x, types, mask)[0]
        forces = minus_gradient(energy, x, differentiable)
        torch.set_grad_enabled(enabled)
        if not differentiable:
            energy = energy.detach()
        return energy + reference, forces

    @torch.jit.export
    def dipole(
        self,
        atomic_numbers: Tensor,
        positions: Tensor,
        charge: Tensor,
        multiplicity: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Dipole (b, 3) in e bohr, of charged molecules about the centroid; parameters are those of `forward`."""
        pairs = self.node_pairs(atomic_numbers, charge, multiplicity)
        return self.dipole_readout(self.trunk(pairs, positions, self.pair_types(atomic_numbers), mask), positions, mask)
