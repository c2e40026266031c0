"""What makes one network different from another."""

from dataclasses import dataclass

from mdet_openmm.errors import InputError
from mdet_openmm.settings import option


@dataclass(frozen=True)
class NetworkConfig:
    """Shape and options of an Edge Transformer; the defaults are those of new models.

    The published network (arXiv 2503.01431) is ``directions="fourier"``, ``decomposer_activation="relu"``,
    12 layers, ``embd_dim`` 192, 12 heads, 128 radial functions. The last three fields reproduce peculiarities of
    the authors' code; they are for loading their weights and for nothing else.
    """

    n_layers: int = option(4, "Edge Transformer layers")
    embd_dim: int = option(64, "width of the pair features")
    n_heads: int = option(8, "attention heads")
    n_radial: int = option(64, "Gaussian radial basis functions")
    ffn_multiplier: int = option(2, "hidden width of the feed-forward block over embd_dim")
    activation: str = option("gelu", "in the feed-forward blocks and the heads", choices=("gelu", "relu"))
    norm_first: bool = option(True, "layer norm before the attention")
    directions: str = option(
        "spherical_harmonics", "embedding of directions", choices=("spherical_harmonics", "fourier")
    )
    l_max: int = option(4, "highest degree of the spherical harmonics")
    n_frequencies: int = option(64, "frequencies per angle of the Fourier embedding")
    shortest_wavelength: float = option(2e-4, "of the Fourier embedding, in radians; published: 2e-4")
    decomposer: str = option("pooling", "how pairs become atoms", choices=("pooling", "diagonal"))
    decomposer_activation: str = option("gelu", "inside the decomposer; published: relu", choices=("gelu", "relu"))
    head_project_down: bool = option(True, "heads halve their width at each layer")
    electronic_embedding: bool = option(True, "add the electron configuration to the element embedding")
    energy_head: bool = option(False, "also predict the energy")
    radial_cutoff: float = option(16.0, "initial centres of the radial basis reach this far, bohr")
    force_scale: float = option(1.0, "forces are the head's output times this, Ha/bohr")
    first_atom_special: bool = option(False, "no electron configuration for the first atom (authors' code)")
    distances_by_cdist: bool = option(False, "torch.cdist, its matrix formula above 25 atoms included (v1)")
    truncated_pi: bool = option(False, "3.14159 in the radial prefactor (v1)")

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be built."""
        for name in ("n_layers", "embd_dim", "n_heads", "n_radial", "ffn_multiplier", "l_max", "n_frequencies"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.embd_dim % self.n_heads:
            raise InputError(f"embd_dim {self.embd_dim} is not a multiple of n_heads {self.n_heads}")
        if self.head_project_down and self.embd_dim < 4:
            raise InputError("head_project_down needs embd_dim of 4 or more")
        if not (self.force_scale > 0 and self.radial_cutoff > 0 and self.shortest_wavelength > 0):
            raise InputError("force_scale, radial_cutoff and shortest_wavelength must be positive")
