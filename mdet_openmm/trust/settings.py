"""What a user may choose about a diagnosis, and how it is checked before anything is computed."""

from dataclasses import dataclass, replace
from pathlib import Path

from mdet_openmm.errors import InputError
from mdet_openmm.export.options import PRECISIONS
from mdet_openmm.molecules.files import SYSTEM_HELP, name_of
from mdet_openmm.settings import Checked, option
from mdet_openmm.simulation.settings import LARGEST_TIMESTEP_FS

PAPERS_ROTATIONS = 512
FEWEST_ROTATIONS = 32
SMALL_ATOMS = 12
"""Up to this size a diagnosis takes the paper's 512 rotations, and above fewer, lest it take hours."""


@dataclass(frozen=True)
class DiagnoseSettings(Checked):
    """What ``simulations/diagnose.py`` and ``mdet diagnose`` take; K, fs and 1/ps."""

    model: str = option(help="name of a shipped model, or a model folder")
    system: Path = option(help=f"the molecule: {SYSTEM_HELP}")
    charge: int | None = option(None, "total charge in e; default: what the file says, else 0")
    multiplicity: int | None = option(None, "spin multiplicity 2S+1; default: what the file says, else 1", at_least=1)
    temperature: float = option(300.0, "of the runs that are judged, and of the thermal structures, in K", above=0)
    timestep: float = option(0.5, "time step of the runs that are judged, in fs", above=0, at_most=LARGEST_TIMESTEP_FS)
    friction: float = option(1.0, "Langevin friction of the runs that are judged, in 1/ps", above=0)
    structures: int = option(
        10, "thermal structures from a short run, beside the relaxed one; or frames to take", at_least=0
    )
    trajectory: Path | None = option(
        None, "judge frames of this trajectory (XYZ, DCD, or a run folder) instead of a short run of the model"
    )
    rotations: int | None = option(
        None,
        f"uniform rotations of each structure for E_eq [{PAPERS_ROTATIONS}; fewer above {SMALL_ATOMS} atoms]",
        at_least=2,  # one has nothing to differ from
    )
    precision: str = option("double", "of the runs that are judged", choices=PRECISIONS)
    seed: int = option(0, "of the short run, rotations, probes and planes", at_least=0, below=2**63)
    output: Path | None = option(None, "folder to write; default: NAME-diagnosis here, after the input file")
    quiet: bool = option(False, "no progress bar, and print nothing but errors")

    def check(self) -> None:
        """Refuse a trajectory of which no frame is to be taken."""
        if self.trajectory is not None and self.structures < 1:
            raise InputError(f"--structures {self.structures} is too few")

    @property
    def folder(self) -> Path:
        """The output folder."""
        return Path(self.output or f"{name_of(self.system)}-diagnosis")


def resolved(settings: DiagnoseSettings, n_atoms: int) -> DiagnoseSettings:
    """The settings with the number of rotations chosen where it was left open."""
    # the cost of a force grows with n³ at least
    fewer = round(PAPERS_ROTATIONS * min(1.0, (SMALL_ATOMS / n_atoms) ** 3))
    return replace(settings, rotations=settings.rotations or max(FEWEST_ROTATIONS, fewer))
