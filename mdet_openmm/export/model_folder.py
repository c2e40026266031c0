"""Model folders: what a model is on disk, written in one go and checked before it is used.

=====================  ====================================================================================
``weights.safetensors``  state dict of the network, fp32; what is loaded
``config.yaml``          ``network``: the fields of `NetworkConfig`; ``training``: how it was trained
``metrics.json``         its errors on held-out data
``network.pt``           the network as TorchScript, for use without this package; never loaded by it
``README.md``            the model card; people may amend it, so that it is the one file without a hash
``manifest.json``        format, version, name, elements, energy head, SHA-256 of the other files
=====================  ====================================================================================

Nothing in a model folder is executed when it is loaded.
"""

import copy
import hashlib
import json
import warnings
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
import yaml

import mdet_openmm
from mdet_openmm.configuration import from_mapping
from mdet_openmm.errors import InputError
from mdet_openmm.export.shipped import find_model
from mdet_openmm.export.torchscript import MAKING, as_bytes
from mdet_openmm.files import check_version, plain, unfinished
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer

FORMAT: Final = "mdet-openmm model"
VERSION: Final = 1
_HASHED: Final = ("weights.safetensors", "config.yaml", "metrics.json", "network.pt")
_LOADED: Final = ("weights.safetensors", "config.yaml", "metrics.json")


@dataclass(frozen=True, eq=False)
class Model:
    """A model that was read from its folder.

    Attributes
    ----------
    name
        Of the folder.
    path
        Absolute path of the folder.
    network
        In eval mode, weights in fp32.
    elements
        Atomic numbers that it was trained on, ascending.
    has_energy
        Whether it predicts an energy beside the forces.
    sha256
        Of ``weights.safetensors``.
    metadata
        ``training`` (how it was trained: teacher, data, options), ``metrics`` and ``package_version``.
    """

    name: str
    path: Path
    network: EdgeTransformer
    elements: tuple[int, ...]
    has_energy: bool
    sha256: str
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def teacher(self) -> str:
        """Name of the teacher whose labels it learnt from; '' if it does not tell."""
        return str((self.metadata.get("training") or {}).get("teacher") or "")

    def trained_on(self, what: str) -> tuple[int, ...]:
        """Values of ``"charge"`` or ``"multiplicity"`` among its training molecules; empty if they are not known."""
        seen = self.metadata.get("training", {}).get("trained_on", {}).get(what, ())
        return tuple(int(value) for value in seen)

    def notes(self, atomic_numbers: Collection[int], charge: int, multiplicity: int) -> list[str]:
        """What a user should know before it is used for this molecule; mostly nothing.

        Of imported weights it is often known only from the optimiser's state what the training has seen; what it has
        not is noted, and left to the user.
        """
        seen = self.metadata.get("training", {}).get("seen", {})
        asked = {
            "element": sorted({int(z) for z in atomic_numbers}),
            "charge": [charge],
            "multiplicity": [multiplicity],
        }
        return [
            f"the training of {self.name} has, by its optimiser's state, never seen {what} "
            f"{', '.join(str(v) for v in values if v not in seen[what])}: the forces are those of a random embedding"
            for what, values in asked.items()
            if what in seen and not set(values) <= set(seen[what])
        ]


def load_model(name_or_path: str | Path) -> Model:
    """Read a model and check that it is whole.

    Parameters
    ----------
    name_or_path
        A model folder, or the name of a shipped model.

    Returns
    -------
    Model
        With its network in eval mode, weights in fp32.

    Raises
    ------
    InputError
        If there is no such folder, if a file is missing or has another SHA-256 than the manifest says, or if the
        weights do not fit the network.
    """
    folder = find_model(name_or_path)
    manifest = _read_manifest(folder)
    contents: dict[str, bytes] = {}
    for name in _HASHED:
        content = _read(folder / name)
        if hashlib.sha256(content).hexdigest() != manifest["files"][name]:
            raise InputError(
                f"{folder / name} is not the file that the model was published with (its SHA-256 differs from "
                "manifest.json); get the model again"
            )
        if name in _LOADED:
            contents[name] = content
    config = _mapping(contents["config.yaml"], folder / "config.yaml")
    metrics = _mapping(contents["metrics.json"], folder / "metrics.json")
    training = config.get("training", {})
    if not isinstance(training, dict) or not isinstance(training.get("trained_on", {}), dict):
        raise InputError(f"{folder / 'config.yaml'}: 'training' and its 'trained_on' must be mappings")
    network = _build(config.get("network"), contents["weights.safetensors"], folder)
    return Model(
        name=folder.name,
        path=folder,
        network=network,
        elements=tuple(sorted(manifest["elements"])),
        has_energy=bool(network.has_energy),
        sha256=manifest["files"]["weights.safetensors"],
        metadata={
            "training": training,
            "metrics": metrics,
            "package_version": manifest.get("package_version"),
        },
    )


def save_model(
    folder: Path,
    network: EdgeTransformer,
    *,
    elements: Collection[int],
    training: dict[str, Any],
    metrics: dict[str, Any],
    card: str,
) -> None:
    """Write a model folder: all of it, or nothing.

    Parameters
    ----------
    folder
        To be made; its name is the model's name.
    network
        Any dtype and device; it is not changed. Stored in fp32.
    elements
        Atomic numbers that it was trained on.
    training
        How it was trained, such as teacher, data and options; plain values.
    metrics
        Errors on held-out data; plain values.
    card
        The model card, Markdown.

    Raises
    ------
    InputError
        If the folder exists or cannot be written.
    """
    from safetensors.torch import save

    folder = Path(folder).absolute()
    if folder.exists():
        raise InputError(f"{folder} exists; remove it or give the model another name")
    stored = copy.deepcopy(network).cpu().requires_grad_(False).eval().to(torch.float32)
    state = {key: value.contiguous() for key, value in stored.state_dict().items()}
    config = {"network": plain(asdict(stored.config), str), "training": plain(training, str)}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with unfinished(folder) as made:
            made.mkdir()
            (made / "weights.safetensors").write_bytes(save(state))
            (made / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
            (made / "metrics.json").write_text(json.dumps(plain(metrics, str), indent=1) + "\n", encoding="utf-8")
            (made / "README.md").write_text(card, encoding="utf-8")
            with MAKING, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about attributes that TorchScript leaves out, such as the config
                (made / "network.pt").write_bytes(as_bytes(torch.jit.script(stored)))
            manifest = {
                "format": FORMAT,
                "version": VERSION,
                "name": folder.name,
                "package_version": mdet_openmm.__version__,
                "elements": sorted(int(z) for z in elements),
                "has_energy": bool(stored.has_energy),
                "files": {name: hashlib.sha256((made / name).read_bytes()).hexdigest() for name in _HASHED},
            }
            (made / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write the model folder {folder}: {error}") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}, a part of the model: {error.strerror or error}") from None


def _mapping(content: bytes, path: Path) -> dict[str, Any]:
    """A YAML or JSON mapping (the second is part of the first); plain values only, no tags that run code."""
    try:
        text = content.decode("utf-8")
        value = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (UnicodeDecodeError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} should hold a mapping, not {type(value).__name__}")
    return value


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    manifest = _mapping(_read(path), path)
    if manifest.get("format") != FORMAT:
        raise InputError(f"{path} is not the manifest of a model of mdet-openmm")
    check_version(manifest.get("version"), VERSION, path)
    files, elements = manifest.get("files"), manifest.get("elements")
    if not isinstance(files, dict) or not all(isinstance(files.get(name), str) for name in _HASHED):
        raise InputError(f"{path} must give the SHA-256 of {', '.join(_HASHED)}")
    if not isinstance(elements, list) or not elements or not all(type(z) is int and 0 < z < 119 for z in elements):
        raise InputError(f"{path} must list the atomic numbers that the model was trained on")
    return manifest


def _build(fields: Any, weights: bytes, folder: Path) -> EdgeTransformer:
    """The network with its weights, after checking that each tensor is there and has the right shape."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        config = from_mapping(NetworkConfig, fields, f"{folder / 'config.yaml'}: network")
        network = EdgeTransformer(config)
    except InputError:
        raise
    except (ValueError, RuntimeError, AssertionError, ZeroDivisionError) as error:
        raise InputError(f"{folder / 'config.yaml'} describes no network: {' '.join(str(error).split())}") from None
    where = folder / "weights.safetensors"
    try:
        state = load(weights)
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"{where} is not a safetensors file: {' '.join(str(error).split())}") from None
    expected = network.state_dict()
    for key, value in expected.items():
        if key not in state:
            raise InputError(f"{where}: tensor {key} is missing")
        if state[key].shape != value.shape:
            found = tuple(state[key].shape)
            raise InputError(f"{where}: tensor {key} has shape {found}, but config.yaml asks for {tuple(value.shape)}")
        if not bool(torch.isfinite(state[key]).all()):
            raise InputError(f"{where}: tensor {key} has values that are not finite")
    for key in state:
        if key not in expected:
            raise InputError(f"{where}: tensor {key} has no place in the network that config.yaml describes")
    network.load_state_dict(state)
    return network.requires_grad_(False).eval().to(torch.float32)
