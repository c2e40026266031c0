"""Where a model is: in a folder that is named, or among those that come with the package."""

from pathlib import Path

import mdet_openmm
from mdet_openmm.errors import InputError


def shipped_models() -> dict[str, Path]:
    """Folders of the models that come with the package, by name: ``models/`` of a checkout, or those in a wheel."""
    package = Path(mdet_openmm.__file__).resolve().parent
    found: dict[str, Path] = {}
    for root in (package / "shipped", package.parent / "models"):
        if root.is_dir():
            found.update({p.name: p for p in sorted(root.iterdir()) if (p / "manifest.json").is_file()})
    return found


def find_model(name_or_path: str | Path) -> Path:
    """Folder of a model given by path, or by name if it is a shipped one.

    Raises
    ------
    InputError
        If there is no such folder; names the shipped models.
    """
    if str(name_or_path).startswith("hf://"):
        raise InputError(f"import it first: mdet import {name_or_path} --output models/NAME; then use models/NAME")
    path = Path(name_or_path).expanduser()
    shipped = shipped_models()
    known = f"shipped models: {', '.join(shipped) or 'none'}"
    if (path / "manifest.json").is_file():
        return path.resolve()
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    if path.is_dir():
        raise InputError(f"{path} is not a model folder: it has no manifest.json ({known})")
    if path.exists():
        raise InputError(
            f"{path} is a file, but a model is a folder with manifest.json and weights.safetensors ({known})"
        )
    raise InputError(f"there is no model {name_or_path}: neither a folder of that path nor a shipped model ({known})")
