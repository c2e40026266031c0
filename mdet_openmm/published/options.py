"""Which network a checkpoint of the authors' code needs: read off its tensors, and checked against its configuration.

The tensors are the better witness. The newest of the authors' programs still takes every option, but ignores several
(it always embeds directions directly, without electron configurations, class token or ReLU), so that a configuration
may say what was never built.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

from mdet_openmm.errors import InputError
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.radial import N_EDGE_TYPES
from mdet_openmm.settings import one_of

FIVE_NEW: Final = (
    "use_electronic_embeddings",
    "energy_conserving",
    "directional_embed_type",
    "distance_embed_type",
    "embed_edge_types",
)
"""Options that only the second code (v2) has, so that a configuration with any of them is of v2."""
ENERGY_HEADS: Final = ("formation_energy", "energy")
"""Heads that give the energy; the first is what the authors' calculator takes where there are both."""
IGNORED_BY_NEWEST: Final = ("use_electronic_embeddings", "directional_embed_type", "norm_first", "decomposer_type")
"""Options that leave a trace in the tensors and that the newest code ignores."""
EMBEDDING: Final = "embedding."
RADIAL: Final = "embedding.m3d_embed."
DIRECTIONAL: Final = "embedding.directional_embed."


@dataclass(frozen=True)
class Reading:
    """What a checkpoint turned out to be.

    Attributes
    ----------
    config
        Of the network that computes the same.
    force_head, energy_head
        Prefixes of the heads' tensors, empty where there is none.
    notes
        What the user should know: contradictions, and heads that are left out.
    """

    config: NetworkConfig
    force_head: str
    energy_head: str
    notes: tuple[str, ...]

    @property
    def code(self) -> str:
        """``"v1"`` or ``"v2"``."""
        return self.config.numerics.removeprefix("authors_")


def shape_of(tensors: Mapping[str, Tensor], key: str, dimensions: int) -> tuple[int, ...]:
    """Shape of a tensor that has to be there, with this many dimensions."""
    if key not in tensors:
        raise InputError(f"the checkpoint lacks '{key}', which every MD-ET network of its kind has")
    shape = tuple(tensors[key].shape)
    if len(shape) != dimensions or 0 in shape:
        raise InputError(f"'{key}' has shape {shape}, which no MD-ET network has")
    return shape


def read_options(
    tensors: Mapping[str, Tensor], given: Mapping[str, Any], *, code: str | None = None, fine_tuned: bool = False
) -> Reading:
    """Find the network that a state dict belongs to.

    Parameters
    ----------
    tensors
        The authors' ``model_state_dict``.
    given
        The model's section of the configuration; ``num_heads`` is needed, for it leaves no trace in the tensors.
    code
        ``"v1"`` or ``"v2"``; None: v2 if the configuration or the tensors have anything that only v2 has.
    fine_tuned
        The configuration is that of the pre-training, whose heads may have been other ones.

    Raises
    ------
    InputError
        If a tensor is missing, or contradicts the configuration in a way that no version of the code explains.
    """
    if code is not None:
        one_of("code", code, ("v1", "v2"))
    _refuse_version_3(tensors, given)
    found, notes = _from_tensors(tensors), list[str]()
    bessel = found["distance_embed_type"] == "bessel"
    if bessel:  # its table has all rows whether they are used or not
        found["embed_edge_types"] = bool(given.get("embed_edge_types", False))
    stale = _compare(found, given, notes, fine_tuned)
    newer = found["directional_embed_type"] != "fourier" or bessel or found["embed_edge_types"]
    newer = newer or found["energy_conserving"] or not found["use_electronic_embeddings"]
    if code is None:
        code = "v2" if newer or any(key in given for key in FIVE_NEW) else "v1"
    elif code == "v1" and newer:
        raise InputError("the checkpoint has parts that only the authors' second code (v2) has; leave out --code v1")
    forces, energy = _heads(found, notes)
    token, activation = bool(given.get("cls_token", False)), str(given.get("activation", "gelu"))
    if token and forces and code == "v2" and not stale:
        # n + 1 rows against n: the versions that have the token cannot run this, the newest ignores it
        stale = True
        notes.append("cls_token is set, but only the code that ignores it can run it beside a forces head")
    if stale and (token or activation != "gelu"):
        notes.append("cls_token and activation are taken as off and gelu, as in the code that ignores these options")
        token, activation = False, "gelu"
    if activation not in ("gelu", "relu"):
        raise InputError(f"the configuration has activation {activation!r}; known are gelu and relu")
    heads = given.get("num_heads")
    if not isinstance(heads, int) or isinstance(heads, bool) or heads < 1:
        raise InputError(f"the configuration's num_heads must be a whole number, not {heads!r}")
    width = found["embd_dim"]
    if width % heads:
        raise InputError(f"num_heads {heads} does not divide the width {width} of the weights")
    config = NetworkConfig(
        n_layers=found["n_layers"],
        embd_dim=width,
        n_heads=heads,
        n_radial=found["num_3d_kernels"],
        radial_basis=found["distance_embed_type"],
        edge_types=found["embed_edge_types"],
        ffn_multiplier=found["ffn_multiplier"],
        activation=activation,
        norm_first=found["norm_first"],
        directions=_DIRECTIONS[found["directional_embed_type"]],
        l_max=6,
        n_frequencies=found["frequencies"],
        decomposer=found["decomposer_type"],
        decomposer_activation="relu",
        head_project_down=found["head_project_down"],
        electronic_embedding=found["use_electronic_embeddings"],
        class_token=token,
        force_head=bool(forces),
        energy_head=bool(energy),
        numerics=f"authors_{code}",
    )
    return Reading(config, forces, energy, tuple(notes))


_DIRECTIONS: Final = {
    "fourier": "fourier",
    "direct": "direct",
    "spherical_harmonics": "spherical_harmonics_mlp",
}


VERSION_3: Final = (
    "these are weights of the authors' third version (sparse, with a cut-off; mx-e/md-et-v3), which cannot be imported "
    "yet; import v1 or v2, such as hf://mx-e/md-et-v2/12l, or run v3 with the authors' own package"
)
_OF_VERSION_3: Final = ("cutoff", "cut_off", "envelope", "adaln", "ada_ln", "modulation")
"""In names of options or tensors: envelopes over a cut-off, and adaptive layer norms."""


def _refuse_version_3(tensors: Mapping[str, Tensor], given: Mapping[str, Any]) -> None:
    names = " ".join([*(str(key) for key, value in given.items() if value), *tensors]).lower()
    if any(word in names for word in _OF_VERSION_3):
        raise InputError(VERSION_3)


def _from_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The authors' options, by their names, as far as the tensors show them."""
    width = shape_of(tensors, "composer.node_proj.0.weight", 2)[0]
    layers = {int(m.group(1)) for m in (re.match(r"layers\.(\d{1,4})\.", key) for key in tensors) if m}
    if not layers:
        raise InputError("the checkpoint has no 'layers.0.…': it is not an MD-ET network")
    bessel = f"{RADIAL}freqs.weight" in tensors
    kernels = shape_of(tensors, f"{RADIAL}freqs.weight" if bessel else f"{RADIAL}gbf.means.weight", 2)[1]
    types = None if bessel else shape_of(tensors, f"{RADIAL}gbf.mul.weight", 2)[0]
    if types not in (None, 257, N_EDGE_TYPES):
        raise InputError(f"'{RADIAL}gbf.mul.weight' has {types} rows; known are 257 and {N_EDGE_TYPES} (edge types)")
    if f"{DIRECTIONAL}proj.weight" in tensors:
        directions = "fourier"
        frequencies = shape_of(tensors, f"{DIRECTIONAL}angular_freqs_azimuthal", 1)[0]
    else:
        inputs = shape_of(tensors, f"{DIRECTIONAL}linear.weight", 2)[1]
        if inputs not in (3, 49):
            raise InputError(f"'{DIRECTIONAL}linear.weight' has {inputs} columns; known are 3 (direct) and 49 (l = 6)")
        directions, frequencies = ("direct" if inputs == 3 else "spherical_harmonics"), 64
    heads = list(dict.fromkeys(m.group(1) for m in (re.match(r"heads\.([^.]+)\.", key) for key in tensors) if m))
    if not heads:
        raise InputError("the checkpoint has no 'heads.…': it is not an MD-ET network")
    conserving = any(key.startswith("heads.forces.energy_head.") for key in tensors)
    first = f"heads.{heads[0]}." + ("energy_head." if conserving and heads[0] == "forces" else "")
    return {
        "n_layers": max(layers) + 1,
        "embd_dim": width,
        "num_3d_kernels": kernels,
        "ffn_multiplier": shape_of(tensors, "layers.0.ffn.mlp.0.weight", 2)[0] // width,
        "norm_first": "layers.0.norm.weight" in tensors,
        "decomposer_type": (
            "pooling" if shape_of(tensors, "decomposer.out_proj.1.weight", 2)[0] == 2 * width else "diagonal"
        ),
        "head_project_down": shape_of(tensors, f"{first}mlp.0.weight", 2)[0] != width,
        "target_heads": heads,
        "use_electronic_embeddings": "embedding.nuclear_embedding.config_linear.weight" in tensors,
        "energy_conserving": conserving,
        "directional_embed_type": directions,
        "frequencies": frequencies,
        "distance_embed_type": "bessel" if bessel else "gaussian",
        "embed_edge_types": types == N_EDGE_TYPES,
    }


def _compare(found: Mapping[str, Any], given: Mapping[str, Any], notes: list[str], fine_tuned: bool) -> bool:
    """Check the configuration against the tensors; whether it asks for what the newest code ignores."""
    stale = False
    for option in found:
        if option not in given or option == "target_heads" or given[option] == found[option]:
            continue
        if option not in IGNORED_BY_NEWEST:
            raise InputError(
                f"the configuration says {option} {given[option]!r}, but the tensors have {found[option]!r}; "
                "checkpoint and configuration do not belong together"
            )
        stale = True
        notes.append(
            f"the configuration says {option} {given[option]}, the weights have {found[option]}: "
            "the newest of the authors' programs ignores this option, and the weights decide"
        )
    targets = given.get("target_heads")
    if isinstance(targets, (list, tuple)) and not fine_tuned:
        wanted = {str(t) for t in targets} - ({"formation_energy"} if found["energy_conserving"] else set())
        missing = sorted(wanted - set(found["target_heads"]))
        if missing:
            raise InputError(f"the checkpoint lacks 'heads.{missing[0]}.…', a head that its configuration names")
    return stale


def _heads(found: Mapping[str, Any], notes: list[str]) -> tuple[str, str]:
    """Prefixes of the tensors of the force head and of the energy head."""
    heads = found["target_heads"]
    if found["energy_conserving"]:
        forces, energy, used = "", "heads.forces.energy_head.", ["forces"]
    else:
        name = next((h for h in ENERGY_HEADS if h in heads), None)
        forces = "heads.forces." if "forces" in heads else ""
        energy = f"heads.{name}." if name else ""
        used = ["forces", name or ""]
    if not forces and not energy:
        raise InputError(f"the checkpoint gives neither forces nor an energy, only {', '.join(heads)}")
    for head in heads:
        if head not in used:
            notes.append(f"the head '{head}' is left out; forces and energy do not need it")
    return forces, energy
