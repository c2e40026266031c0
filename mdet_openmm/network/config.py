"""What makes one network different from another."""

from dataclasses import dataclass

from mdet_openmm.errors import InputError
from mdet_openmm.settings import Checked, option

DIRECTIONS = ("spherical_harmonics", "fourier", "direct", "spherical_harmonics_mlp")
ACTIVATIONS = ("gelu", "relu")
DECOMPOSERS = ("pooling", "diagonal")
NUMERICS = ("exact", "authors_v1", "authors_v2")


@dataclass(frozen=True)
class NetworkConfig(Checked):
    """Shape and options of an Edge Transformer; the defaults are those of new models.

    The published network (arXiv 2503.01431) is ``directions="fourier"``, ``decomposer_activation="relu"``,
    12 layers, ``embd_dim`` 192, 12 heads, 128 radial functions. ``numerics`` reproduces peculiarities of the authors'
    code; it is for loading their weights and for nothing else.
    """

    n_layers: int = option(4, "Edge Transformer layers", at_least=1)
    embd_dim: int = option(64, "width of the pair features", at_least=1)
    n_heads: int = option(8, "attention heads", at_least=1)
    n_radial: int = option(64, "radial basis functions", at_least=1)
    radial_basis: str = option("gaussian", "of distances", choices=("gaussian", "bessel"))
    edge_types: bool = option(False, "a radial basis of its own for every ordered pair of elements")
    ffn_multiplier: int = option(2, "hidden width of the feed-forward block over embd_dim", at_least=1)
    activation: str = option("gelu", "in the feed-forward blocks and the heads", choices=ACTIVATIONS)
    norm_first: bool = option(True, "layer norm before the attention")
    directions: str = option(
        "spherical_harmonics",
        "embedding of directions; the last two are of the authors' second code",
        choices=DIRECTIONS,
    )
    l_max: int = option(4, "highest degree of the spherical harmonics", at_least=1)
    n_frequencies: int = option(64, "frequencies per angle of the Fourier embedding", at_least=1)
    shortest_wavelength: float = option(2e-4, "of the Fourier embedding, in radians; published: 2e-4", above=0)
    decomposer: str = option("pooling", "how pairs become atoms", choices=DECOMPOSERS)
    decomposer_activation: str = option("gelu", "inside the decomposer; published: relu", choices=ACTIVATIONS)
    head_project_down: bool = option(True, "heads halve their width at each layer")
    electronic_embedding: bool = option(True, "add the electron configuration to the element embedding")
    class_token: bool = option(False, "a token at the centroid that carries charge and multiplicity")
    force_head: bool = option(True, "forces straight from the network; without, they are minus the energy's gradient")
    energy_head: bool = option(False, "also predict the energy")
    energy_pooling: str = option(
        "mean",
        "energy from the mean of the force's atom features, as published, or a sum over atoms pooled anew",
        choices=("mean", "atoms"),
    )
    dipole_head: bool = option(False, "also predict the dipole moment")
    radial_cutoff: float = option(16.0, "initial centres of the radial basis reach this far, bohr", above=0)
    force_scale: float = option(1.0, "forces are the head's output times this, Ha/bohr", above=0)
    numerics: str = option("exact", "as the authors' first or second code computes", choices=NUMERICS)

    def check(self) -> None:
        """Refuse shapes that cannot be built."""
        if self.embd_dim % self.n_heads:
            raise InputError(f"embd_dim {self.embd_dim} is not a multiple of n_heads {self.n_heads}")
        if not (self.force_head or self.energy_head):
            raise InputError("a network needs a force_head or an energy_head")
        if self.head_project_down and self.embd_dim < 4:
            raise InputError("head_project_down needs embd_dim of 4 or more")
