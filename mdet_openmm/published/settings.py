"""What may be chosen about an import."""

from dataclasses import dataclass
from pathlib import Path

from mdet_openmm.settings import Checked, option


@dataclass(frozen=True)
class ImportSettings(Checked):
    """Settings of an import of the authors' weights."""

    source: str = option(
        help="run folder, a checkpoint in it, or hf://OWNER/NAME[@REVISION]/FOLDER on the Hugging Face hub"
    )
    output: Path | None = option(None, "model folder to write [models/ and the name of the source]", formerly="out")
    checkpoint: str | None = option(None, "name of the file in ckpts/ [best_model.pth]")
    ema: bool = option(False, "the moving average of the weights, where the file has it")
    code: str | None = option(
        None, "which of the authors' codes the weights are of [read off them]", choices=("v1", "v2")
    )
    elements: str | None = option(None, "symbols of the elements it was trained on, such as H,C,N,O [all it may know]")
