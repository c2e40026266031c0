"""The authors' run folders, read without executing anything in them.

``<run>/.hydra/config.yaml`` holds the model under ``train.model``; of a fine-tuned run it has no such section, and
``<run>/.hydra/model_pretrain_conf.yaml`` is the model's. ``<run>/ckpts/*.pth`` are files of ``torch.save``.
"""

import hashlib
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
import yaml
from torch import Tensor

from mdet_openmm.errors import InputError
from mdet_openmm.published.hub import DEFAULT_CHECKPOINT

CONFIG: Final = Path(".hydra") / "config.yaml"
PRETRAINED: Final = Path(".hydra") / "model_pretrain_conf.yaml"
LARGEST_CONFIG: Final = 2**20
KNOWN_ELEMENTS: Final = range(1, 101)
"""Rows of the element table that have an electron configuration; 0 is padding, 101 the class token."""
EMA_PREFIX: Final = "encoder."
BUFFERS: Final = ("electron_config", "angular_freqs_azimuthal", "angular_freqs_polar")
"""Last parts of the names of tensors that are not parameters: neither the average nor the optimiser has them."""
ENOUGH_STEPS: Final = 1000
"""Optimiser steps from which a row of a table that was never touched tells that the training never needed it."""


@dataclass(frozen=True)
class ModelOptions:
    """The model's section of a configuration, the file it stands in, and whether it is that of a pre-training."""

    values: dict[str, Any]
    path: Path
    fine_tuned: bool


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes
    ----------
    tensors
        The state dict, by the authors' names.
    path, sha256
        Of the file.
    step
        Of the training; None if the file does not say.
    seen
        ``element``, ``charge`` and ``multiplicity`` that the training has met, as far as the optimiser's state tells.
    """

    tensors: dict[str, Tensor]
    path: Path
    sha256: str
    step: int | None
    seen: dict[str, list[int]]


class _PlainLoader(yaml.SafeLoader):
    """A safe loader to which Python's own tags are plain values: hydra writes paths and tuples with them."""


def _as_plain(loader: _PlainLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        items = loader.construct_sequence(node, deep=True)
        return "/".join(map(str, items)) if "Path" in suffix else items
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return str(node.value)


_PlainLoader.add_multi_constructor("tag:yaml.org,2002:python/", _as_plain)


def locate(source: Path, checkpoint: str | None) -> tuple[Path, Path]:
    """Run folder and checkpoint file of a source.

    Parameters
    ----------
    source
        A run folder, or a file in its ``ckpts``.
    checkpoint
        Name of the file there, with or without ``.pth``; None: best_model.pth, or the only one.

    Raises
    ------
    InputError
        If there is none, or more than one to choose from.
    """
    if source.is_file():
        if checkpoint is not None:
            raise InputError(f"{source} is a checkpoint itself; leave out --checkpoint")
        parents = [folder for folder in source.resolve().parents[:2] if (folder / ".hydra").is_dir()]
        if not parents:
            raise InputError(f"{source} has no .hydra folder beside its own, with the configuration that it needs")
        return parents[0], source
    if not source.is_dir():
        raise InputError(f"there is no run folder {source}; give one with .hydra and ckpts, or hf://OWNER/NAME/FOLDER")
    folder = source / "ckpts"
    there = sorted(path.name for path in folder.glob("*.pth")) if folder.is_dir() else []
    if not there:
        raise InputError(f"{source} is not a run folder of the authors' code: it has no ckpts/*.pth")
    if checkpoint is not None:
        name = next((n for n in (checkpoint, f"{checkpoint}.pth") if n in there), None)
        if name is None:
            raise InputError(f"{folder} has no {checkpoint}; it has {', '.join(there)}")
    elif DEFAULT_CHECKPOINT in there or len(there) == 1:
        name = DEFAULT_CHECKPOINT if DEFAULT_CHECKPOINT in there else there[0]
    else:
        raise InputError(f"{folder} has several checkpoints; choose with --checkpoint: {', '.join(there)}")
    return source, folder / name


def read_config(run: Path) -> ModelOptions:
    """Read the options of the model of a run folder; see the top of this module.

    Raises
    ------
    InputError
        If there is no configuration, or no model in it.
    """
    problem = f"{run} has neither {CONFIG} nor {PRETRAINED}, so that nothing says how its network was built"
    for name in (CONFIG, PRETRAINED):
        path = run / name
        if not path.is_file():
            continue
        whole = _read_yaml(path)
        train = whole.get("train")
        model = train.get("model") if isinstance(train, dict) else whole.get("model")
        if not isinstance(model, dict) and "num_heads" in whole:
            model = whole
        if isinstance(model, dict):
            return ModelOptions(model, path, fine_tuned=name == PRETRAINED)
        problem = f"{path} has no model: neither train.model nor num_heads"
    raise InputError(problem)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise InputError(f"{path} is too large for a configuration ({path.stat().st_size:,} bytes)")
        value = yaml.load(path.read_text(encoding="utf-8"), Loader=_PlainLoader)  # a SafeLoader
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot read the configuration {path}: {_one_line(error)}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} should hold a mapping, not {type(value).__name__}")
    return value


def read_checkpoint(path: Path, ema: bool = False) -> Checkpoint:
    """Read the tensors of a checkpoint; nothing in the file can run code (``weights_only``).

    Parameters
    ----------
    path
        The file.
    ema
        Take the moving average of the weights.

    Raises
    ------
    InputError
        If the file is damaged, holds anything else than plain values and tensors, or lacks what is asked for.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is not loaded: it is damaged, or holds more than tensors and plain values, which could run code "
            f"({_blocked(error)})"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f"{path} is not a checkpoint that can be read, or is damaged: {_one_line(error)}") from None
    if not isinstance(content, dict) or not _is_state_dict(content.get("model_state_dict")):
        raise InputError(f"{path} has no 'model_state_dict' of tensors: it is no checkpoint of the authors' code")
    tensors = {str(k): v for k, v in content["model_state_dict"].items()}
    if ema:
        tensors |= _averaged(content, tensors, path)
    step = content.get("step")
    return Checkpoint(
        tensors=tensors,
        path=path,
        sha256=digest,
        step=step if isinstance(step, int) else None,
        seen=_seen(content.get("optimizer_state_dict"), tensors),
    )


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) > 0 and all(isinstance(v, Tensor) for v in value.values())


def _averaged(content: dict[str, Any], tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The moving average of the parameters; the buffers have none."""
    state = content.get("ema_state", content.get("ema_state_dict"))
    shadow = state.get("shadow", state) if isinstance(state, Mapping) else None
    if not _is_state_dict(shadow) or shadow is None:
        raise InputError(f"{path} holds no moving average of the weights; leave out --ema")
    average = {str(name).removeprefix(EMA_PREFIX): value for name, value in shadow.items()}
    for name in tensors:
        if name not in average and not name.endswith(BUFFERS):
            raise InputError(f"the moving average in {path} lacks '{name}'; leave out --ema")
    for name in average:
        if name not in tensors:
            raise InputError(f"the moving average in {path} has '{name}', which the weights themselves have not")
    return average


def _seen(optimizer: Any, tensors: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """Rows of the embedding tables that have ever had a gradient, by Adam's second moments.

    They are kept in the order of the parameters. Where anything does not fit, nothing is said.
    """
    tables = {
        "embedding.nuclear_embedding.embedding.weight": ("element", 0),
        "embedding.charge_embed.weight": ("charge", 64),
        "embedding.multiplicity_embed.weight": ("multiplicity", 0),
    }
    names = [name for name in tensors if not name.endswith(BUFFERS)]
    state = optimizer.get("state") if isinstance(optimizer, Mapping) else None
    if not isinstance(state, Mapping) or len(state) != len(names):
        return {}
    found: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        entry = state.get(index)
        moment = entry.get("exp_avg_sq") if isinstance(entry, Mapping) else None
        if not isinstance(moment, Tensor) or moment.shape != tensors[name].shape:
            return {}
        steps = entry.get("step", 0) if isinstance(entry, Mapping) else 0
        if name in tables and float(steps) >= ENOUGH_STEPS:
            what, offset = tables[name]
            rows = [int(row) - offset for row in (moment != 0).any(dim=1).nonzero().flatten()]
            found[what] = [row for row in rows if what != "element" or row in KNOWN_ELEMENTS]
    return found


def _blocked(error: Exception) -> str:
    """The name that was refused, from torch's long explanation."""
    text = _one_line(error)
    for start in ("GLOBAL ", "Unsupported global: "):
        if start in text:
            return text[text.index(start) :][:120].split(" was not")[0].split(" which")[0]
    return text[:120]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
