"""Networks with the weights of the authors' own code."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mdet_openmm.errors import InputError
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer

# Theirs -> ours, one pattern per group of tensors.
RENAMED: tuple[tuple[str, str], ...] = (
    (r"embedding\.nuclear_embedding\.embedding\.weight", "nodes.element.weight"),
    (r"embedding\.nuclear_embedding\.config_linear\.(weight|bias)", r"nodes.configuration.\1"),
    (r"embedding\.nuclear_embedding\.electron_config", "nodes.configurations"),
    (r"embedding\.multiplicity_embed\.weight", "nodes.multiplicity.weight"),
    (r"embedding\.charge_embed\.weight", "nodes.charge.weight"),
    (r"embedding\.m3d_embed\.gbf\.(means|stds)\.weight", r"basis.\1"),
    (r"embedding\.m3d_embed\.gbf\.mul\.weight", "basis.scale"),
    (r"embedding\.m3d_embed\.gbf\.bias\.weight", "basis.shift"),
    (r"embedding\.m3d_embed\.gbf_proj\.layer1\.(weight|bias)", r"radial.0.\1"),
    (r"embedding\.m3d_embed\.gbf_proj\.layer2\.(weight|bias)", r"radial.2.\1"),
    (r"embedding\.directional_embed\.angular_freqs_(azimuthal|polar)", r"directions.\1"),
    (r"embedding\.directional_embed\.proj\.(weight|bias)", r"directions.project.\1"),
    (r"composer\.node_proj\.0\.(weight|bias)", r"composer.\1"),
    (r"decomposer\.out_proj\.0\.(weight|bias)", r"decomposer.pair_mlp.0.\1"),
    (r"decomposer\.out_proj\.1\.(weight|bias)", r"decomposer.pair_mlp.1.\1"),
    (r"decomposer\.out_proj\.4\.(weight|bias)", r"decomposer.pair_mlp.3.\1"),
    (r"decomposer\.node_mlp\.0\.(weight|bias)", r"decomposer.atom_mlp.0.\1"),
    (r"decomposer\.node_mlp\.1\.(weight|bias)", r"decomposer.atom_mlp.1.\1"),
    (r"decomposer\.node_mlp\.4\.(weight|bias)", r"decomposer.atom_mlp.3.\1"),
    (r"layers\.(\d+)\.attention\.olin\.weight", r"layers.\1.attention.out.weight"),
    (r"layers\.(\d+)\.norm\.(weight|bias)", r"layers.\1.norm_attention.\2"),
    (r"layers\.(\d+)\.ffn\.mlp\.0\.(weight|bias)", r"layers.\1.feed_forward.0.\2"),
    (r"layers\.(\d+)\.ffn\.mlp\.3\.(weight|bias)", r"layers.\1.feed_forward.2.\2"),
    (r"layers\.(\d+)\.ffn\.norm\.(weight|bias)", r"layers.\1.norm_out.\2"),
    (r"layers\.(\d+)\.ffn\.norm_aggregate\.(weight|bias)", r"layers.\1.norm_sum.\2"),
    (r"heads\.forces\.final_ln_node\.(weight|bias)", r"force_head.norm.\1"),
    (r"heads\.forces\.mlp\.0\.(weight|bias)", r"force_head.mlp.0.\1"),
    (r"heads\.forces\.mlp\.3\.(weight|bias)", r"force_head.mlp.2.\1"),
    (r"heads\.forces\.mlp\.6\.weight", "force_head.mlp.4.weight"),
)
PROJECTION = re.compile(r"layers\.(\d+)\.attention\.(qlin|klin|v1lin|v2lin)\.weight")


class ReferenceNetwork:
    """A network with the authors' weights, in fp64.

    Parameters
    ----------
    network
        The Edge Transformer, in eval mode.
    """

    def __init__(self, network: EdgeTransformer) -> None:
        self.network = network

    def forces(
        self, atomic_numbers: ArrayLike, positions_bohr: ArrayLike, charge: int = 0, multiplicity: int = 1
    ) -> NDArray[np.float64]:
        """Forces of one molecule as the network gives them, net force and torque included.

        Parameters
        ----------
        atomic_numbers
            (n,).
        positions_bohr
            (n, 3), bohr; centred in fp64 before anything else.
        charge, multiplicity
            Of the molecule.

        Returns
        -------
        (n, 3) float64, Ha/bohr.
        """
        z = torch.as_tensor(np.asarray(atomic_numbers, dtype=np.int64)).reshape(1, -1)
        x = torch.as_tensor(np.asarray(positions_bohr, dtype=np.float64)).reshape(1, -1, 3)
        if x.shape[1] != z.shape[1]:
            raise InputError(f"{z.shape[1]} atomic numbers but {x.shape[1]} positions")
        with torch.no_grad():
            forces = self.network(
                z,
                x - x.mean(dim=1, keepdim=True),
                torch.tensor([int(charge)]),
                torch.tensor([int(multiplicity)]),
            )[1]
        return forces[0].numpy()


def _config_from_shapes(sd: Mapping[str, Tensor], n_heads: int, activation: str) -> NetworkConfig:
    def shape(key: str) -> tuple[int, ...]:
        if key not in sd:
            raise InputError(f"this is not an MD-ET v1 state dict: '{key}' is missing")
        return tuple(sd[key].shape)

    embd_dim = shape("composer.node_proj.0.weight")[0]
    if embd_dim % n_heads:
        raise InputError(f"n_heads={n_heads} does not divide the width {embd_dim} of the state dict")
    layers = {int(m.group(1)) for m in (re.match(r"layers\.(\d+)\.", k) for k in sd) if m}
    return NetworkConfig(
        n_layers=len(layers),
        embd_dim=embd_dim,
        n_heads=n_heads,
        n_radial=shape("embedding.m3d_embed.gbf.means.weight")[1],
        ffn_multiplier=shape("layers.0.ffn.mlp.0.weight")[0] // embd_dim,
        activation=activation,
        norm_first="layers.0.norm.weight" in sd,
        directions="fourier",
        n_frequencies=shape("embedding.directional_embed.angular_freqs_azimuthal")[0],
        decomposer="pooling" if shape("decomposer.out_proj.1.weight")[0] == 2 * embd_dim else "diagonal",
        decomposer_activation="relu",
        head_project_down=shape("heads.forces.mlp.0.weight")[0] != embd_dim,
        first_atom_special=True,
        distances_by_cdist=True,
        truncated_pi=True,
    )


def renamed(sd: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' tensors under our names: projections merged, tables reduced to the rows that act."""
    ours: dict[str, Tensor] = {}
    projections: dict[str, dict[str, Tensor]] = {}
    for key, tensor in sd.items():
        found = PROJECTION.fullmatch(key)
        if found:
            projections.setdefault(found.group(1), {})[found.group(2)] = tensor
            continue
        if key.startswith("heads.") and not key.startswith("heads.forces."):
            continue  # other readouts do not act on the forces
        for pattern, replacement in RENAMED:
            if re.fullmatch(pattern, key):
                name = re.sub(pattern, replacement, key)
                # the basis uses edge type 0 only, and stores rows of embeddings
                ours[name] = tensor[0] if name.startswith("basis.") else tensor
                break
        else:
            raise InputError(f"the state dict holds '{key}', which is not part of an MD-ET v1 network with forces")
    for layer, parts in projections.items():
        missing = [p for p in ("qlin", "klin", "v1lin", "v2lin") if p not in parts]
        if missing:
            raise InputError(f"the state dict lacks 'layers.{layer}.attention.{missing[0]}.weight'")
        ours[f"layers.{layer}.attention.qkvv.weight"] = torch.cat(
            [parts[p] for p in ("qlin", "klin", "v1lin", "v2lin")]
        )
    return ours


def load_v1(state_dict: Mapping[str, Any], n_heads: int, *, activation: str = "gelu") -> ReferenceNetwork:
    """Build the published network from a v1 state dict.

    Shapes and options are read off the tensors; what leaves no trace in them is given. The peculiarities of v1 come
    with the weights: no electron configuration for the first atom, ``torch.cdist`` (whose matrix formula acts above 25
    atoms), pi as 3.14159.

    Parameters
    ----------
    state_dict
        Names and tensors (or arrays) of v1's ``model_state_dict``.
    n_heads
        Attention heads.
    activation
        ``"gelu"`` or ``"relu"``, of feed-forward blocks and heads.

    Returns
    -------
    ReferenceNetwork
        Whose ``forces(atomic_numbers, positions_bohr, charge, multiplicity)`` are in Ha/bohr.

    Raises
    ------
    InputError
        If a tensor is missing, unknown or of the wrong shape; the message names it.
    """
    sd = {
        key: torch.as_tensor(np.asarray(value)) if not isinstance(value, Tensor) else value
        for key, value in state_dict.items()
    }
    network = EdgeTransformer(_config_from_shapes(sd, n_heads, activation)).to_trunk(torch.float64)
    ours = renamed(sd)
    for name in ("nodes.configurations", "directions.azimuthal", "directions.polar"):
        value = ours.pop(name).double()
        owner, _, attribute = name.rpartition(".")
        module = network.get_submodule(owner)
        if getattr(module, attribute).shape != value.shape:
            raise InputError(f"'{name}' has shape {tuple(value.shape)}")
        if owner == "directions":
            module.set_constant(attribute, value)  # type: ignore[operator]
        else:
            setattr(module, attribute, value)
    wanted = network.state_dict()
    for name, tensor in wanted.items():
        if name not in ours:
            raise InputError(f"the state dict lacks the tensor for '{name}'")
        if ours[name].shape != tensor.shape:
            raise InputError(f"the tensor for '{name}' has shape {tuple(ours[name].shape)}, not {tuple(tensor.shape)}")
    network.load_state_dict({k: v.double() for k, v in ours.items()})
    return ReferenceNetwork(network.eval())
