"""What there is: the models, and what a file or folder is (``mdet models``, ``mdet info``)."""

import json
from pathlib import Path
from typing import Any

import yaml

from mdet_openmm.configuration import read_yaml
from mdet_openmm.errors import InputError
from mdet_openmm.export.shipped import find_model, shipped_models
from mdet_openmm.molecules.files import names_file
from mdet_openmm.molecules.smiles import is_smiles


def models() -> list[dict[str, Any]]:
    """The shipped models, each as `model_facts` has it."""
    return [model_facts(folder) for folder in shipped_models().values()]


def model_facts(folder: Path) -> dict[str, Any]:
    """What a model folder says of itself, without loading its weights.

    Returns
    -------
    dict
        name, elements, charges, atoms (fewest and most of its training), parameters, forces, energy, dipole, teacher,
        mae_meV_A (on molecules that it never saw, else on held-out conformations; None if it is not told), path.
    """
    from ase.data import chemical_symbols

    manifest, metrics = (json.loads((folder / name).read_text("utf-8")) for name in ("manifest.json", "metrics.json"))
    config = yaml.load(
        (folder / "config.yaml").read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    )
    network, training = config["network"], config.get("training") or {}
    coverage = training.get("coverage") or {}
    errors = metrics.get("unseen") or metrics.get("test") or {}
    return {
        "kind": "model",
        "name": folder.name,
        "elements": [chemical_symbols[z] for z in sorted(manifest["elements"])],
        "charges": (training.get("trained_on") or {}).get("charge"),
        "atoms": [coverage["fewest_atoms"], coverage["most_atoms"]] if coverage else None,
        "layers": network["n_layers"],
        "width": network["embd_dim"],
        "direct_forces": network.get("force_head", True),
        "energy": bool(network.get("energy_head")),
        "dipole": bool(network.get("dipole_head")),
        "teacher": training.get("teacher"),
        "mae_meV_A": (errors.get("all") or {}).get("mae"),
        "path": str(folder),
    }


def table_of(facts: list[dict[str, Any]]) -> str:
    """The models, a line each."""
    rows = [("name", "elements", "charges", "atoms", "forces", "teacher", "MAE")]
    for one in facts:
        has = {"direct": one["direct_forces"], "energy": one["energy"], "dipole": one["dipole"]}
        kinds = [kind for kind, there in has.items() if there]
        rows.append((
            one["name"],
            " ".join(one["elements"]),
            " ".join(f"{c:+d}" if c else "0" for c in one["charges"]) if one["charges"] is not None else "?",
            "{} to {}".format(*one["atoms"]) if one["atoms"] else "?",
            " ".join(kinds),
            str(one["teacher"] or "?"),
            f"{one['mae_meV_A']:.0f} meV/Å" if one["mae_meV_A"] is not None else "?",
        ))  # fmt: skip
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def describe(what: str | Path) -> dict[str, Any]:
    """What a file, a folder or a name is, and the most useful things about it.

    Parameters
    ----------
    what
        A model (folder or name), a run folder, a folder of a training, a data set, a TorchScript file of ``mdet
        export``, a labelling or training configuration, a structure, or a SMILES.

    Raises
    ------
    InputError
        If there is no such thing, or it is none of these.
    """
    path = Path(what).expanduser()
    if not path.exists() and str(what) not in shipped_models() and (names_file(path) or is_smiles(str(what))):
        return _structure(path)
    if not path.exists() or (path / "manifest.json").is_file():
        return model_facts(find_model(str(what)))
    if path.is_dir():
        return _folder(path)
    for reader in (_data_set, _bound_force, _configuration, _structure):
        found = reader(path)
        if found is not None:
            return found
    raise InputError(f"{path} is no model, run, training, data set, force of mdet export, configuration or structure")


def _folder(path: Path) -> dict[str, Any]:
    from mdet_openmm.simulation import run_folder

    if (path / run_folder.SETTINGS).is_file():
        settings = run_folder.read_settings(path)
        summary: dict[str, Any] = {}
        if (path / run_folder.SUMMARY).is_file():
            summary = json.loads((path / run_folder.SUMMARY).read_text("utf-8"))
        keys = ("exit_reason", "time_ps", "temperature_K", "temperature_mean_K", "ns_per_day", "energy_source")
        return {
            "kind": "run",
            "ensemble": settings.get("ensemble", "nvt"),
            "model": settings["model"]["name"],
            "atoms": len(settings["molecule"]["atomic_numbers"]),
            "replicas": settings["settings"].get("replicas", 1),
            **{key: summary[key] for key in keys if key in summary},
            "path": str(path),
        }
    if (path / "config.yaml").is_file() and (path / "checkpoints").is_dir():
        config = read_yaml(path / "config.yaml")
        steps = [int(p.stem.removeprefix("step")) for p in (path / "checkpoints").glob("step*.ckpt")]
        return {
            "kind": "training",
            "name": config.get("name"),
            "data": config.get("data"),
            "steps_done": max(steps, default=0),
            "steps": config.get("steps"),
            "path": str(path),
        }
    raise InputError(f"{path} is neither a model, nor a run, nor a training")


def _data_set(path: Path) -> dict[str, Any] | None:
    if path.suffix not in (".h5", ".hdf5"):
        return None
    from ase.data import chemical_symbols

    from mdet_openmm.data.store import Store

    with Store(path) as store:
        return {
            "kind": "data set",
            "teacher": store.attributes.get("teacher"),
            "teacher_version": store.attributes.get("teacher_version"),
            "frames": len(store),
            "splits": {name: len(store.indices(name)) for name in store.split_names},
            "molecules": len(store.molecules),
            "elements": [chemical_symbols[z] for z in store.elements],
            "atoms": [int(store.sizes.min()), int(store.sizes.max())],
            "skipped": store.attributes.get("skipped"),
            "path": str(path),
        }


def _bound_force(path: Path) -> dict[str, Any] | None:
    if path.suffix not in (".pt", ".pth"):
        return None
    import torch

    extra = {"metadata.json": ""}
    try:
        torch.jit.load(str(path), map_location="cpu", _extra_files=extra)
        return {"kind": "bound force", **json.loads(extra["metadata.json"]), "path": str(path)}
    except (RuntimeError, ValueError):
        raise InputError(f"{path} is no force of mdet export") from None


def _configuration(path: Path) -> dict[str, Any] | None:
    if path.suffix not in (".yaml", ".yml"):
        return None
    mapping = read_yaml(path)
    if not isinstance(mapping, dict):
        mapping = {}
    if "molecules" in mapping:
        from mdet_openmm.data.config import read_config
        from mdet_openmm.data.sources import placed_entries

        config = read_config(path)
        entries = placed_entries(config)
        return {
            "kind": "labelling configuration",
            "teacher": config.teacher.kind,
            "molecules": len(entries),
            "held_out": sum(entry.split == "test" for _, entry in entries),
            "path": str(path),
        }
    if "data" in mapping and "name" in mapping:
        from mdet_openmm.configuration import read_settings
        from mdet_openmm.training.config import TrainConfig

        train = read_settings(path, TrainConfig)
        return {
            "kind": "training configuration",
            "name": train.name,
            "data": str(train.data),
            "steps": train.steps,
            "network": f"{train.network.n_layers} layers, width {train.network.embd_dim}",
            "path": str(path),
        }
    raise InputError(f"{path} is neither a configuration of mdet label nor one of mdet train")


def _structure(path: Path) -> dict[str, Any]:
    from mdet_openmm.molecules.elements import hill_formula
    from mdet_openmm.molecules.readers import read_molecule

    molecule = read_molecule(path)
    return {
        "kind": "structure",
        "formula": hill_formula(molecule.atomic_numbers),
        "atoms": molecule.n_atoms,
        "charge": molecule.charge,
        "multiplicity": molecule.multiplicity,
        "path": str(path),
    }
