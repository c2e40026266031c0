"""A model folder on the Hugging Face hub, with the header that its page is made from."""

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mdet_openmm.errors import InputError
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.published.hub import NAME, explain


def push(model: str | Path, repository: str, *, private: bool = False, licence: str = "mit") -> str:
    """Upload a model folder, all of it in one commit.

    Parameters
    ----------
    model
        Folder, or name of a shipped model; it is loaded first, so that only a whole one is uploaded.
    repository
        OWNER/NAME; made if it is not there.
    private
        Make it private.
    licence
        As the hub writes licences.

    Returns
    -------
    str
        The address of the commit.

    Raises
    ------
    InputError
        For a model that cannot be used, a name that is none, and what the hub refuses.
    """
    if not re.fullmatch(f"{NAME}/{NAME}", repository, re.ASCII):
        raise InputError(f"{repository!r} is no name of a repository; give OWNER/NAME")
    loaded = load_model(model)
    folder = Path(loaded.path)
    card = (folder / "README.md").read_text(encoding="utf-8")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    header = card_header(loaded.name, loaded.elements, loaded.metadata, licence)
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise InputError("this needs a package that is not installed: pip install huggingface_hub") from None
    with tempfile.TemporaryDirectory() as temporary:
        # The card on the hub begins with a header that the folder's own has not: the manifest has its hash.
        for name in (*manifest["files"], "manifest.json"):
            shutil.copyfile(folder / name, Path(temporary, name))
        Path(temporary, "README.md").write_text(f"---\n{header}---\n\n{card}", encoding="utf-8")
        api = HfApi()
        try:
            api.create_repo(repository, private=private, exist_ok=True)
            done = api.upload_folder(
                repo_id=repository, folder_path=temporary, commit_message=f"{loaded.name}, {loaded.sha256[:12]}"
            )
        except Exception as error:  # its errors, its HTTP client's and its Rust part's share no other base
            raise explain(error, repository, "", started=False, upload=True) from None
    return str(done.commit_url)


def card_header(name: str, elements: Sequence[int], metadata: dict[str, Any], licence: str) -> str:
    """YAML that the hub reads: licence, library, tags, and the error on molecules that the model never saw."""
    from ase.data import chemical_symbols

    header: dict[str, Any] = {
        "license": licence,
        "library_name": "mdet-openmm",
        "tags": ["chemistry", "molecular-dynamics", "force-field", "openmm", *(chemical_symbols[z] for z in elements)],
    }
    found = (metadata.get("metrics") or {}).get("unseen") or (metadata.get("metrics") or {}).get("test")
    if found:
        training = metadata.get("training") or {}
        result = {
            "task": {"type": "other", "name": "forces of molecules"},
            "dataset": {"name": str(training.get("teacher") or "held-out structures"), "type": "held-out"},
            "metrics": [{"type": "mae", "name": "force MAE, meV/Å", "value": found["all"]["mae"]}],
        }
        header["model-index"] = [{"name": name, "results": [result]}]
    text: str = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    return text
