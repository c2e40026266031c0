"""The published MD-ET network written out plainly from its description: a witness for tests, a baseline for timings.

Nothing here is shared with the package's own network. All molecules of a batch have the same number of atoms, so
there is no padding and no mask. The triangular attention is the formula as it is printed, with the n³e product in
memory. A configuration without any of the five options that the authors' later code added is the paper's network
(v1); any other is the later one (v2), with its slightly different numbers.

Notation of shapes: b molecules, n atoms (m = n + 1 with a class token), e width, H heads, d = e/H, K radial kernels.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

DEFAULTS: dict[str, Any] = {
    "n_layers": 12,
    "embd_dim": 192,
    "num_3d_kernels": 128,
    "cls_token": False,
    "num_heads": 12,
    "activation": "gelu",
    "ffn_multiplier": 2,
    "norm_first": True,
    "decomposer_type": "pooling",
    "target_heads": ("forces",),
    "head_project_down": True,
}
V2_DEFAULTS: dict[str, Any] = {
    "use_electronic_embeddings": True,
    "energy_conserving": False,
    "directional_embed_type": "fourier",
    "distance_embed_type": "gaussian",
    "embed_edge_types": False,
}
HEAD_SIZES = {"forces": 3, "formation_energy": 1, "energy": 1, "dipole": 3}
EDGE_TYPES = 128 * 128
CLASS_TOKEN = 101
BUFFERS = ("electron_config", "angular_freqs_azimuthal", "angular_freqs_polar")


def complete(options: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """All options with their defaults, and whether they are those of the first code (v1)."""
    return {**DEFAULTS, **V2_DEFAULTS, **options}, not any(key in options for key in V2_DEFAULTS)


def heads_of(options: Mapping[str, Any]) -> dict[str, str]:
    """Prefix of the tensors of every head, by the name of its output; `inner` is the energy inside conserving forces.

    Parameters
    ----------
    options
        Complete options.
    """
    names = list(options["target_heads"])
    if not options["energy_conserving"]:
        return {name: f"heads.{name}" for name in names}
    if not {"forces", "formation_energy"} <= set(names):
        raise ValueError("energy_conserving needs both forces and formation_energy among target_heads")
    others = {name: f"heads.{name}" for name in names if name not in ("forces", "formation_energy")}
    return {**others, "inner": "heads.forces.energy_head"}


def random_state_dict(options: Mapping[str, Any], seed: int) -> dict[str, Tensor]:
    """Random weights under the authors' names, in their order, nothing at its initial value.

    Parameters
    ----------
    options
        Model options of the authors' configuration; without any of the five newer ones they mean v1.
    seed
        Seed of the numbers.

    Returns
    -------
    dict
        float32 tensors.
    """
    from mdet_openmm.network.electrons import electron_features

    o, v1 = complete(options)
    e, kernels = o["embd_dim"], o["num_3d_kernels"]
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}

    def normal(name: str, *shape: int, mean: float = 0.0, scale: float = 1.0) -> None:
        tensors[name] = mean + scale * torch.randn(*shape, generator=generator)

    def uniform(name: str, *shape: int, low: float, high: float) -> None:
        tensors[name] = low + (high - low) * torch.rand(*shape, generator=generator)

    def linear(name: str, inputs: int, outputs: int, bias: bool = True, gain: float = 1.0) -> None:
        normal(f"{name}.weight", outputs, inputs, scale=gain / math.sqrt(inputs))
        if bias:
            normal(f"{name}.bias", outputs, scale=0.3)

    def layer_norm(name: str) -> None:
        normal(f"{name}.weight", e, mean=1.0, scale=0.2)
        normal(f"{name}.bias", e, scale=0.2)

    node, pair, direction = "embedding.nuclear_embedding", "embedding.m3d_embed", "embedding.directional_embed"
    if o["use_electronic_embeddings"]:
        tensors[f"{node}.electron_config"] = torch.as_tensor(electron_features()).to(torch.float32)
    normal(f"{node}.embedding.weight", 102, e)
    if o["use_electronic_embeddings"]:
        linear(f"{node}.config_linear", 23, e, gain=2.0)
    normal("embedding.multiplicity_embed.weight", 128, e)
    normal("embedding.charge_embed.weight", 128, e)
    if o["distance_embed_type"] == "bessel":
        uniform(f"{pair}.freqs.weight", EDGE_TYPES, kernels, low=0.3, high=3.0)
        linear(f"{pair}.linear", kernels, e, gain=3.0)
    else:
        rows = EDGE_TYPES if o["embed_edge_types"] else 257
        uniform(f"{pair}.gbf.means.weight", 1, kernels, low=0.0, high=8.0)
        normal(f"{pair}.gbf.stds.weight", 1, kernels, scale=1.5)  # both signs: the network takes the modulus
        normal(f"{pair}.gbf.mul.weight", rows, 1, mean=1.0, scale=0.2)
        normal(f"{pair}.gbf.bias.weight", rows, 1, scale=0.3)
        linear(f"{pair}.gbf_proj.layer1", kernels, kernels, gain=2.0)
        linear(f"{pair}.gbf_proj.layer2", kernels, e, gain=2.0)
    if o["directional_embed_type"] == "fourier":
        count = 64 if v1 else kernels // 2
        for name, longest in (("azimuthal", 4 * math.pi), ("polar", 2 * math.pi)):
            wavelengths = torch.exp(torch.linspace(math.log(2e-4), math.log(longest), count, dtype=torch.float32))
            tensors[f"{direction}.angular_freqs_{name}"] = 2 * math.pi / wavelengths
        linear(f"{direction}.proj", 4 * count, e)
    else:
        inputs, gain = (3, 1.5) if o["directional_embed_type"] == "direct" else (49, 5.0)
        linear(f"{direction}.linear", inputs, 2 * e, gain=gain)
        linear(f"{direction}.linear2", 2 * e, e, gain=1.5)
    linear("composer.node_proj.0", 2 * e, e)
    wide = 2 * e if o["decomposer_type"] == "pooling" else e
    for name, size in (("out_proj", wide), ("node_mlp", e)):
        layer_norm(f"decomposer.{name}.0")
        linear(f"decomposer.{name}.1", e, size)
        linear(f"decomposer.{name}.4", size, size)
    for i in range(o["n_layers"]):
        for name in ("qlin", "klin", "v1lin", "v2lin", "olin"):
            linear(f"layers.{i}.attention.{name}", e, e, bias=False, gain=1.5)
        if o["norm_first"]:
            layer_norm(f"layers.{i}.norm")
        linear(f"layers.{i}.ffn.mlp.0", e, o["ffn_multiplier"] * e)
        linear(f"layers.{i}.ffn.mlp.3", o["ffn_multiplier"] * e, e)
        layer_norm(f"layers.{i}.ffn.norm")
        layer_norm(f"layers.{i}.ffn.norm_aggregate")
    half, quarter = (e // 2, e // 4) if o["head_project_down"] else (e, e)
    for name, prefix in heads_of(o).items():
        layer_norm(f"{prefix}.final_ln_node")
        linear(f"{prefix}.mlp.0", e, half)
        linear(f"{prefix}.mlp.3", half, quarter)
        linear(f"{prefix}.mlp.6", quarter, HEAD_SIZES.get(name, 1), bias=False)
    return tensors


def spherical_harmonics(u: Tensor, l_max: int = 6) -> Tensor:
    """Real orthonormal harmonics of unit vectors, polar axis y, azimuth from z towards x.

    Parameters
    ----------
    u
        Unit or zero vectors, (..., 3). Every harmonic is written as a homogeneous polynomial, so a zero vector
        gives zero in all but the first, as in the authors' code.
    l_max
        Highest degree.

    Returns
    -------
    Tensor
        (..., (l_max + 1)²); entry l² + l + m is Y_lm.
    """
    x, y, z = u.unbind(-1)
    squared = x * x + y * y + z * z
    # Real and imaginary part of (z + i x)^a.
    powers = [(torch.ones_like(x), torch.zeros_like(x))]
    for _ in range(l_max):
        real, imaginary = powers[-1]
        powers.append((z * real - x * imaginary, z * imaginary + x * real))
    columns: list[Tensor] = []
    for degree in range(l_max + 1):
        for m in range(-degree, degree + 1):
            a = abs(m)
            # a-th derivative of P_l(t) = 2^-l Σ_k (-1)^k C(l,k) C(2l-2k,l) t^(l-2k), term by term; each term is
            # filled up to degree l - a with powers of the squared length.
            legendre = torch.zeros_like(y)
            for k in range((degree - a) // 2 + 1):
                exponent = degree - 2 * k
                factor = (-1) ** k * math.comb(degree, k) * math.comb(2 * degree - 2 * k, degree) / 2**degree
                factor *= math.factorial(exponent) / math.factorial(exponent - a)
                legendre = legendre + factor * y ** (exponent - a) * squared**k
            norm = (2 * degree + 1) / (4 * math.pi) * math.factorial(degree - a) / math.factorial(degree + a)
            columns.append(math.sqrt(norm * (1 if m == 0 else 2)) * legendre * powers[a][1 if m < 0 else 0])
    return torch.stack(columns, dim=-1)


class TextbookNetwork(nn.Module):
    """The network, computing with the authors' tensors.

    Parameters
    ----------
    tensors
        State dict under the authors' names.
    options
        Model options of the authors' configuration.
    dtype
        In which everything is computed; the tensors are converted.
    """

    def __init__(
        self, tensors: Mapping[str, Tensor], options: Mapping[str, Any], dtype: torch.dtype = torch.float64
    ) -> None:
        super().__init__()
        self.options, self.v1 = complete(options)
        self.heads = heads_of(self.options)
        self.dtype = dtype
        activations: dict[str, Callable[[Tensor], Tensor]] = {"gelu": functional.gelu, "relu": functional.relu}
        self.activation = activations[self.options["activation"]]
        for name, value in tensors.items():
            own = value.detach().to(dtype).clone()
            key = name.replace(".", "/")  # torch forbids dots in the names of parameters
            if name.endswith(BUFFERS):
                self.register_buffer(key, own)
            else:
                self.register_parameter(key, nn.Parameter(own))

    def tensor(self, name: str) -> Tensor:
        """Parameter or buffer by the authors' name."""
        value: Tensor = getattr(self, name.replace(".", "/"))
        return value

    def linear(self, name: str, x: Tensor, bias: bool = True) -> Tensor:
        """Linear layer (..., in) -> (..., out)."""
        return functional.linear(x, self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias") if bias else None)

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        """Layer norm over the last axis, same shape."""
        return functional.layer_norm(
            x, x.shape[-1:], self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias"), eps=1e-5
        )

    def forward(
        self, atomic_numbers: Tensor, positions: Tensor, charge: Tensor, multiplicity: Tensor
    ) -> dict[str, Tensor]:
        """Evaluate all heads.

        Parameters
        ----------
        atomic_numbers
            (b, n) int64.
        positions
            (b, n, 3) in bohr. They are used as given: with a class token, which sits at the origin, it matters
            where the molecule is.
        charge, multiplicity
            (b,) int64.

        Returns
        -------
        dict
            By the names of the heads: `forces` (b, n, 3) in Ha/bohr, `formation_energy` and `energy` (b,) in Ha,
            `dipole` (b, 3) in e bohr. For energy_conserving `inner` (b,) is the energy head's value and `forces`
            is PLUS its gradient: the head has learnt minus the potential energy.
        """
        x = positions.to(self.dtype)
        if not self.options["energy_conserving"]:
            return self.evaluate(atomic_numbers, x, charge, multiplicity)
        training = torch.is_grad_enabled()
        with torch.enable_grad():
            if not x.requires_grad:
                x = x.detach().requires_grad_()
            out = self.evaluate(atomic_numbers, x, charge, multiplicity)
            (out["forces"],) = torch.autograd.grad(out["inner"].sum(), x, create_graph=training)
        return out if training else {name: value.detach() for name, value in out.items()}

    def evaluate(self, atomic_numbers: Tensor, x: Tensor, charge: Tensor, multiplicity: Tensor) -> dict[str, Tensor]:
        """Values of all heads; arguments as for `forward`, positions already in the network's type."""
        if self.options["cls_token"]:
            atomic_numbers = functional.pad(atomic_numbers, (1, 0), value=CLASS_TOKEN)
            x = functional.pad(x, (0, 0, 1, 0))
        nodes = self.nodes(atomic_numbers, charge, multiplicity)
        n = nodes.shape[1]
        both = torch.cat(
            (nodes[:, :, None].expand(-1, n, n, -1), nodes[:, None, :].expand(-1, n, n, -1)), dim=-1
        )  # fmt: skip
        pairs = self.pairs(atomic_numbers, x) + self.linear("composer.node_proj.0", both)
        for i in range(self.options["n_layers"]):
            pairs = self.layer(f"layers.{i}", pairs)
        atoms = self.decompose(pairs)
        return {name: self.head(name, prefix, atoms) for name, prefix in self.heads.items()}

    def nodes(self, atomic_numbers: Tensor, charge: Tensor, multiplicity: Tensor) -> Tensor:
        """What is known of each atom before any geometry, (b, m) -> (b, m, e)."""
        prefix = "embedding.nuclear_embedding"
        h = self.tensor(f"{prefix}.embedding.weight")[atomic_numbers]
        if self.options["use_electronic_embeddings"]:
            shells = self.linear(f"{prefix}.config_linear", self.tensor(f"{prefix}.electron_config")[atomic_numbers])
            # The authors leave this out for whatever stands first, class token or atom.
            h = h + functional.pad(shells[:, 1:], (0, 0, 1, 0))
        state = self.tensor("embedding.multiplicity_embed.weight")[multiplicity]
        state = (state + self.tensor("embedding.charge_embed.weight")[charge + 64])[:, None]
        if self.options["cls_token"]:
            return torch.cat((h[:, :1] + state, h[:, 1:]), dim=1)
        return h + state

    def pairs(self, atomic_numbers: Tensor, x: Tensor) -> Tensor:
        """What is known of each pair from the geometry, (b, m) and (b, m, 3) in bohr -> (b, m, m, e)."""
        diagonal = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
        # The vector from an atom to itself is a constant. Autograd would not know and add +G and -G, with G
        # magnified by one over the small numbers that keep the normalisation finite: nothing but rounding.
        v = (x[:, None, :, :] - x[:, :, None, :]).masked_fill(diagonal[:, :, None], 0.0)  # i to j
        squared = v.square().sum(-1)
        if self.v1:
            distances = torch.cdist(x, x, p=2.0)  # for m > 25 by matrix products, and so not zero on the diagonal
            distances = torch.where(diagonal, distances.detach(), distances)
        else:
            distances = (squared + 1e-8).sqrt()
        return self.distance_part(atomic_numbers, distances) + self.direction_part(v, squared)

    def distance_part(self, atomic_numbers: Tensor, distances: Tensor) -> Tensor:
        """Radial features of (b, m, m) distances in bohr -> (b, m, m, e)."""
        prefix = "embedding.m3d_embed"
        types = torch.zeros_like(distances, dtype=torch.long)
        if self.options["embed_edge_types"]:
            types = atomic_numbers[:, :, None] + 128 * atomic_numbers[:, None, :]
        r = distances[..., None]
        if self.options["distance_embed_type"] == "bessel":
            frequencies = self.tensor(f"{prefix}.freqs.weight")[types]
            return self.linear(f"{prefix}.linear", torch.sin(frequencies * r) / r.clamp(min=1e-5))
        y = self.tensor(f"{prefix}.gbf.mul.weight")[types] * r + self.tensor(f"{prefix}.gbf.bias.weight")[types]
        sigma = self.tensor(f"{prefix}.gbf.stds.weight")[0].abs() + 0.01
        pi = 3.14159 if self.v1 else math.pi
        phi = torch.exp(-0.5 * ((y - self.tensor(f"{prefix}.gbf.means.weight")[0]) / sigma) ** 2)
        phi = phi / (math.sqrt(2 * pi) * sigma)
        return self.linear(f"{prefix}.gbf_proj.layer2", functional.gelu(self.linear(f"{prefix}.gbf_proj.layer1", phi)))

    def direction_part(self, v: Tensor, squared: Tensor) -> Tensor:
        """Features of the directions of (b, m, m, 3) vectors with (b, m, m) squared lengths -> (b, m, m, e)."""
        prefix, kind = "embedding.directional_embed", self.options["directional_embed_type"]
        nothing = squared == 0.0  # the diagonal, and an atom in the same place as the class token
        length = torch.where(nothing, 0.0, torch.where(nothing, 1.0, squared).sqrt())[..., None]
        if kind == "spherical_harmonics":
            features = spherical_harmonics(v / length.clamp(min=1e-12))
        elif kind == "direct":
            features = v / (length + 1e-5)
        else:
            return self.linear(f"{prefix}.proj", self.fourier(prefix, v / (length + 1e-5), nothing))
        hidden = functional.gelu(self.linear(f"{prefix}.linear", features))
        return functional.gelu(self.linear(f"{prefix}.linear2", hidden))

    def fourier(self, prefix: str, u: Tensor, nothing: Tensor) -> Tensor:
        """Waves in the two angles of (b, m, m, 3) directions; where there is `nothing` they are 0 and π/2."""
        u_x, u_y, u_z = u.unbind(-1)
        if not self.v1:
            u_x = torch.where(u_x.abs() < 1e-5, 1e-5, u_x)
        # atan2(0, 0) and atan2(0, 1) are both 0, but only the latter has a derivative.
        azimuth = torch.atan2(u_y, torch.where(nothing, 1.0, u_x))
        polar = torch.acos(u_z)
        if not self.v1:
            polar = polar.clamp(1e-6, math.pi - 1e-6)
        waves = [
            wave(angle[..., None] * self.tensor(f"{prefix}.angular_freqs_{name}"))
            for name, angle in (("azimuthal", azimuth), ("polar", polar))
            for wave in (torch.sin, torch.cos)
        ]
        return torch.cat(waves, dim=-1)

    def layer(self, prefix: str, x: Tensor) -> Tensor:
        """One layer, (b, m, m, e) -> (b, m, m, e)."""
        y = self.layer_norm(f"{prefix}.norm", x) if self.options["norm_first"] else x
        z = self.layer_norm(f"{prefix}.ffn.norm_aggregate", x + self.attention(f"{prefix}.attention", y))
        z = z + self.linear(f"{prefix}.ffn.mlp.3", self.activation(self.linear(f"{prefix}.ffn.mlp.0", z)))
        return self.layer_norm(f"{prefix}.ffn.norm", z)

    def attention(self, prefix: str, y: Tensor) -> Tensor:
        """Triangular attention, (b, m, m, e) -> (b, m, m, e), as printed: it holds (b, m, m, m, e) numbers."""
        shape = (*y.shape[:-1], self.options["num_heads"], -1)
        q, k, v1, v2 = (
            self.linear(f"{prefix}.{name}", y, bias=False).reshape(shape) for name in ("qlin", "klin", "v1lin", "v2lin")
        )
        scores = torch.einsum("bilhd,bljhd->biljh", q / math.sqrt(q.shape[-1]), k)
        weights = torch.softmax(scores, dim=2)
        products = v1[:, :, :, None] * v2[:, None]  # (b, i, l, j, H, d)
        mixed = (weights[..., None] * products).sum(dim=2)
        return self.linear(f"{prefix}.olin", mixed.flatten(-2), bias=False)

    def decompose(self, pairs: Tensor) -> Tensor:
        """From pairs to atoms, (b, m, m, e) -> (b, m, e)."""

        def mlp(name: str, x: Tensor) -> Tensor:
            hidden = self.linear(f"{name}.1", self.layer_norm(f"{name}.0", x))
            return self.linear(f"{name}.4", functional.relu(hidden))  # whatever the option `activation` says

        if self.options["decomposer_type"] == "diagonal":
            own = pairs.diagonal(dim1=1, dim2=2).transpose(1, 2)
            return mlp("decomposer.node_mlp", mlp("decomposer.out_proj", own))
        out, back = mlp("decomposer.out_proj", pairs).chunk(2, dim=-1)
        return mlp("decomposer.node_mlp", (out + back.transpose(1, 2)).sum(dim=2))

    def head(self, name: str, prefix: str, atoms: Tensor) -> Tensor:
        """Output of one head from (b, m, e), shaped as `forward` says."""
        h = self.layer_norm(f"{prefix}.final_ln_node", atoms)
        if name == "forces":
            h = h[:, 1:] if self.options["cls_token"] else h
        elif self.options["cls_token"]:
            h = h[:, 0]
        else:
            # The small number is lost in v1's single precision, but not in v2 in double precision.
            h = h.sum(dim=1) / (h.shape[1] + (0.0 if self.v1 else 1e-9))
        for i in (0, 3):
            h = self.activation(self.linear(f"{prefix}.mlp.{i}", h))
        h = self.linear(f"{prefix}.mlp.6", h, bias=False)
        return h.squeeze(-1) if h.shape[-1] == 1 else h
