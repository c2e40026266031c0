"""From the authors' files to a model folder of ours."""

from pathlib import Path
from typing import Any

from mdet_openmm.errors import InputError
from mdet_openmm.export.model_folder import save_model
from mdet_openmm.published.card import write_card
from mdet_openmm.published.checkpoint import (
    KNOWN_ELEMENTS,
    Checkpoint,
    ModelOptions,
    locate,
    read_checkpoint,
    read_config,
)
from mdet_openmm.published.hub import download, is_hub
from mdet_openmm.published.options import VERSION_3, Reading, read_options
from mdet_openmm.published.settings import ImportSettings
from mdet_openmm.published.weights import build_network


def import_model(settings: ImportSettings) -> Path:
    """Make a model folder of a checkpoint of the authors' code; nothing in it is executed.

    Parameters
    ----------
    settings
        What to import, and where to.

    Returns
    -------
    Path
        The model folder.

    Raises
    ------
    InputError
        If the source cannot be had or read, if its tensors are not those of an MD-ET network with forces or an energy,
        or if the folder exists.
    """
    elements = _elements(settings.elements)
    out = settings.output or Path("models") / Path(settings.source.rstrip("/")).name
    if out.exists():
        raise InputError(f"{out} exists; remove it, or choose another name with --output")
    revision = None
    if is_hub(settings.source):
        if "/md-et-v3" in settings.source:
            raise InputError(VERSION_3)
        fetched = download(settings.source, settings.checkpoint)
        run, path = locate(fetched.path, settings.checkpoint)
        revision = fetched.revision
    else:
        run, path = locate(Path(settings.source).expanduser(), settings.checkpoint)
    options = read_config(run)
    checkpoint = read_checkpoint(path, settings.ema)
    try:
        reading = read_options(checkpoint.tensors, options.values, code=settings.code, fine_tuned=options.fine_tuned)
        network = build_network(checkpoint.tensors, reading)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    provenance = _provenance(settings, options, checkpoint, reading, revision)
    save_model(
        out,
        network,
        elements=elements or checkpoint.seen.get("element") or KNOWN_ELEMENTS,
        training=provenance,
        metrics={},
        card=write_card(out.name, provenance, network),
    )
    return out


def _elements(text: str | None) -> list[int]:
    """Atomic numbers of symbols between commas."""
    from ase.data import atomic_numbers

    found = []
    for symbol in (text or "").replace(" ", "").split(","):
        if symbol and symbol not in atomic_numbers:
            raise InputError(f"--elements: {symbol!r} is not the symbol of an element; give them like H,C,N,O")
        if symbol:
            found.append(int(atomic_numbers[symbol]))
    if text is not None and not (found and set(found) <= set(KNOWN_ELEMENTS)):
        raise InputError("--elements must name elements from H to Fm (the network knows no others), like H,C,N,O")
    return found


def _provenance(
    settings: ImportSettings, options: ModelOptions, checkpoint: Checkpoint, reading: Reading, revision: str | None
) -> dict[str, Any]:
    source = settings.source if is_hub(settings.source) else str(Path(settings.source).expanduser().resolve())
    return {
        "imported_from": source,
        "revision": revision,
        "checkpoint": checkpoint.path.name,
        "checkpoint_sha256": checkpoint.sha256,
        "configuration": options.path.name,
        "code": reading.code,
        "step": checkpoint.step,
        "weights": "moving average" if settings.ema else "last",
        "notes": list(reading.notes),
        "seen": checkpoint.seen,
    }
