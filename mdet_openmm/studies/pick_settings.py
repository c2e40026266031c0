"""What ``mdet pick`` is told."""

from dataclasses import dataclass
from pathlib import Path

from mdet_openmm.export.options import DEFAULT_MODEL, PRECISIONS
from mdet_openmm.settings import Checked, option


@dataclass(frozen=True)
class PickSettings(Checked):
    """Frames of dynamics of one molecule, and how many of them are to be labelled."""

    trajectories: tuple[Path, ...] = option(help="run folders or trajectories of one molecule")
    model: str = option(DEFAULT_MODEL, "model folder or name: which frames it is unsure of")
    count: int = option(500, "structures to pick", at_least=1)
    output: Path = option(Path("picked.xyz"), "extended XYZ to write, which mdet label reads")
    topology: Path | None = option(None, "PDB or other file that names the atoms of the trajectories")
    charge: int | None = option(None, "total charge, e [the run's or the file's, else 0]")
    multiplicity: int | None = option(None, "2S + 1 [the run's or the file's, else 1]", at_least=1)
    candidates: int = option(5000, "frames to choose from, evenly spread over all", at_least=2)
    orientations: int = option(8, "uniform rotations over which the spread of the forces is taken", at_least=2)
    unsure: float = option(1.0, "how much that spread counts: 0 not at all, 1 as much as being different", at_least=0)
    precision: str = option("mixed", "of the model", choices=PRECISIONS)
    seed: int = option(0, "of the rotations", at_least=0)
    quiet: bool = option(False, "no progress bar")
