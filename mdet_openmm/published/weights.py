"""The authors' tensors in a network of ours."""

import re
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from mdet_openmm.errors import InputError
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.published.options import DIRECTIONAL, EMBEDDING, RADIAL, Reading

PROJECTIONS: Final = ("qlin", "klin", "v1lin", "v2lin")
"""Ours are one matrix, in this order."""
NUCLEAR: Final = f"{EMBEDDING}nuclear_embedding."
MODULES: Final = {
    "nodes.element": f"{NUCLEAR}embedding",
    "nodes.configuration": f"{NUCLEAR}config_linear",
    "nodes.multiplicity": f"{EMBEDDING}multiplicity_embed",
    "nodes.charge": f"{EMBEDDING}charge_embed",
    "directions.project": f"{DIRECTIONAL}proj",
    "directions.mlp.0": f"{DIRECTIONAL}linear",
    "directions.mlp.2": f"{DIRECTIONAL}linear2",
    "composer": "composer.node_proj.0",
    "decomposer.pair_mlp.0": "decomposer.out_proj.0",
    "decomposer.pair_mlp.1": "decomposer.out_proj.1",
    "decomposer.pair_mlp.3": "decomposer.out_proj.4",
    "decomposer.atom_mlp.0": "decomposer.node_mlp.0",
    "decomposer.atom_mlp.1": "decomposer.node_mlp.1",
    "decomposer.atom_mlp.3": "decomposer.node_mlp.4",
    "layers.*.attention.out": "layers.*.attention.olin",
    "layers.*.norm_attention": "layers.*.norm",
    "layers.*.feed_forward.0": "layers.*.ffn.mlp.0",
    "layers.*.feed_forward.2": "layers.*.ffn.mlp.3",
    "layers.*.norm_out": "layers.*.ffn.norm",
    "layers.*.norm_sum": "layers.*.ffn.norm_aggregate",
}
"""Ours -> theirs, by the names of the modules; ``*`` is the number of a layer."""
TENSORS: Final = {
    "nodes.configurations": f"{NUCLEAR}electron_config",
    "basis.means": f"{RADIAL}gbf.means.weight",
    "basis.stds": f"{RADIAL}gbf.stds.weight",
    "basis.scale": f"{RADIAL}gbf.mul.weight",
    "basis.shift": f"{RADIAL}gbf.bias.weight",
    "basis.frequencies": f"{RADIAL}freqs.weight",
    "directions.azimuthal": f"{DIRECTIONAL}angular_freqs_azimuthal",
    "directions.polar": f"{DIRECTIONAL}angular_freqs_polar",
}
HEAD: Final = {"norm": "final_ln_node", "mlp.0": "mlp.0", "mlp.2": "mlp.3", "mlp.4": "mlp.6"}


def _their_names(ours: str, reading: Reading) -> list[str]:
    """Names of the tensors that one of ours is made of; none for the reference energies, which they do not have."""
    if ours == "atom_energies":
        return []
    if ours in TENSORS:
        return [TENSORS[ours]]
    module, _, kind = ours.rpartition(".")
    number = re.search(r"\d+", module)
    layer = number.group() if number and module.startswith("layers.") else ""
    pattern = module.replace(f"layers.{layer}.", "layers.*.", 1) if layer else module
    if pattern == "layers.*.attention.qkvv":
        return [f"layers.{layer}.attention.{p}.{kind}" for p in PROJECTIONS]
    if pattern in ("radial.0", "radial.2"):
        bessel = reading.config.radial_basis == "bessel"
        place = "linear" if bessel else {"radial.0": "gbf_proj.layer1", "radial.2": "gbf_proj.layer2"}[pattern]
        return [f"{RADIAL}{place}.{kind}"]
    for head, prefix in (("force_head.", reading.force_head), ("energy_head.", reading.energy_head)):
        if pattern.startswith(head):
            return [f"{prefix}{HEAD[pattern.removeprefix(head)]}.{kind}"]
    return [MODULES[pattern].replace("*", layer) + f".{kind}"]


def _expected_shape(ours: str, shape: tuple[int, ...], given: tuple[int, ...]) -> tuple[int, ...]:
    """Shape that their tensor has to have for one of ours of this shape."""
    if ours in ("basis.means", "basis.stds"):
        return (1, *shape)
    if ours in ("basis.scale", "basis.shift"):  # one row of theirs is used without edge types
        return (given[0] if shape[0] == 1 and given else shape[0], 1)
    if ours == "basis.frequencies":
        return (given[0] if shape[0] == 1 and given else shape[0], shape[1])
    if ours.endswith("qkvv.weight"):
        return (shape[0] // len(PROJECTIONS), shape[1])
    return shape


def _as_ours(ours: str, tensors: list[Tensor], shape: torch.Size) -> Tensor:
    if ours.endswith("qkvv.weight"):
        return torch.cat(tensors)
    if ours in ("basis.scale", "basis.shift"):
        return tensors[0][: shape[0], 0]
    if ours == "basis.frequencies":
        return tensors[0][: shape[0]]
    return tensors[0].reshape(shape)


def build_network(tensors: Mapping[str, Tensor], reading: Reading) -> EdgeTransformer:
    """The network with the authors' weights, in fp32 (they are), with the frequencies and tables of the checkpoint.

    The inner head of an energy-conserving network has learnt minus the potential energy, so that its last layer
    changes sign here.

    Raises
    ------
    InputError
        If a tensor is missing, unknown, not finite or of the wrong shape; the message gives its name.
    """
    network = EdgeTransformer(reading.config)
    wanted = network.state_dict()
    made: dict[str, Tensor] = {}
    used: set[str] = set()
    for ours, value in wanted.items():
        names = _their_names(ours, reading)
        parts = []
        for name in names:
            if name not in tensors:
                raise InputError(f"the checkpoint lacks '{name}'")
            part = tensors[name]
            expected = _expected_shape(ours, tuple(value.shape), tuple(part.shape))
            if tuple(part.shape) != expected:
                raise InputError(f"'{name}' has shape {tuple(part.shape)}, but {expected} is needed")
            if not bool(torch.isfinite(part).all()):
                raise InputError(f"'{name}' has values that are not finite")
            parts.append(part.to(value.dtype))
            used.add(name)
        made[ours] = _as_ours(ours, parts, value.shape) if parts else torch.zeros_like(value)
    for name in tensors:
        unused_head = name.startswith("heads.") and not name.startswith(_used_heads(reading))
        unused_row = name == TENSORS["nodes.configurations"]
        if name not in used and not unused_head and not unused_row:
            raise InputError(f"'{name}' has no place in an MD-ET network with these options")
    if not reading.force_head and reading.energy_head.startswith("heads.forces."):
        made["energy_head.mlp.4.weight"] = -made["energy_head.mlp.4.weight"]
    network.load_state_dict(made)
    return network.requires_grad_(False).eval()


def _used_heads(reading: Reading) -> tuple[str, ...]:
    return tuple(prefix for prefix in (reading.force_head, reading.energy_head) if prefix)
