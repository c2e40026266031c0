"""The model card of imported weights."""

from typing import Any

from ase.data import chemical_symbols

from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer


def quirks(config: NetworkConfig) -> list[str]:
    """Peculiarities of the authors' code that the network reproduces because its weights have grown up with them."""
    found = []
    if config.electronic_embedding:
        what = "The class token" if config.class_token else "The first atom"
        effect = "" if config.class_token else "; the order of the atoms changes the forces (swap atoms 1 and 2)"
        found.append(f"{what} has no electron configuration{effect}.")
    if config.numerics == "authors_v1":
        limit = 24 if config.class_token else 25
        found.append(
            f"Distances come from `torch.cdist`, which above {limit} atoms uses |a|² + |b|² − 2ab: they then depend on "
            "origin and orientation in their last digits."
        )
        found.append("π is 3.14159 in the radial basis.")
    else:
        found.append("Distances are softened, √(r² + 1e-8 bohr²); the mean over atoms divides by n + 1e-9.")
    if config.directions == "fourier":
        found.append(
            "Directions are angles at frequencies up to 31,416 per radian: forces jump across the half-plane y = 0, "
            "x < 0 seen from every atom, and need fp64 geometry (which they always get here)."
        )
        if config.numerics == "authors_v2":
            found.append("A direction with |x| < 1e-5 is taken to have x = +1e-5.")
    if config.activation == "relu" or config.decomposer_activation == "relu":
        found.append("ReLU: the output has kinks, where its derivative jumps.")
    return found


def write_card(name: str, provenance: dict[str, Any], network: EdgeTransformer) -> str:
    """The card as Markdown.

    Parameters
    ----------
    name
        Of the model.
    provenance
        What `mdet_openmm.published.importing` says of the source.
    network
        The imported network.
    """
    config, p = network.config, provenance
    kinds = {
        (True, False): "forces straight from the network, no energy",
        (True, True): "forces straight from the network, and an energy that they are not the gradient of "
        "(`--forces conservative` takes the gradient instead)",
        (False, True): "an energy, and forces that are its exact gradient",
    }
    seen = [
        f"- {what}: {', '.join(chemical_symbols[v] if what == 'element' else str(v) for v in values)}"
        for what, values in p["seen"].items()
    ]
    lines = [
        f"# {name}",
        "",
        f"Weights of the authors' MD-ET code ({p['code']}; Eissler et al., J. Chem. Phys. 164, 094308 (2026), arXiv "
        "2503.01431), imported by `mdet import`. We have neither trained nor validated this model.",
        "",
        f"- Source: {p['imported_from']}" + (f", revision {p['revision']}" if p["revision"] else ""),
        f"- File: {p['checkpoint']}, SHA-256 {p['checkpoint_sha256']}",
        f"- Weights: {p['weights']}" + (f", step {p['step']}" if p["step"] is not None else ""),
        f"- Gives: {kinds[config.force_head, config.energy_head]}",
        f"- Network: {config.n_layers} layers, width {config.embd_dim}, {config.n_heads} heads, "
        f"{config.radial_basis} radial basis ({config.n_radial}), directions {config.directions}, "
        f"{sum(v.numel() for v in network.parameters()):,} parameters",
        "",
        "## Peculiarities that come with the weights",
        "",
        *(f"- {line}" for line in quirks(config)),
        "- Molecules are never padded here, so that the authors' leak through padding does not occur.",
        "",
    ]
    if seen:
        lines += ["## What its training has met, by the optimiser's state", "", *seen, ""]
    if p["notes"]:
        lines += ["## Notes of the import", "", *(f"- {note}" for note in p["notes"]), ""]
    lines += ["The licence of the weights is their authors'; see the source.", ""]
    return "\n".join(lines)
