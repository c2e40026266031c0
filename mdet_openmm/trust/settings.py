"""What a user may choose about a diagnosis, and how it is checked before anything is computed."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from mdet_openmm.errors import InputError
from mdet_openmm.export.options import PRECISIONS
from mdet_openmm.settings import option

PAPERS_ROTATIONS = 512
FEWEST_ROTATIONS = 32
SMALL_ATOMS = 12
"""Up to this size a diagnosis with the paper's 512 rotations takes less than a minute with a small model."""


@dataclass(frozen=True)
class DiagnoseSettings:
    """What ``simulations/diagnose.py`` and ``mdet diagnose`` take; K, fs and 1/ps."""

    model: str = option(help="name of a shipped model, or a model folder")
    system: Path = option(help="the molecule: PDB, mmCIF, XYZ or SDF")
    charge: int | None = option(None, "total charge in e; default: what the file says, else 0")
    multiplicity: int | None = option(None, "spin multiplicity 2S+1; default: what the file says, else 1")
    temperature: float = option(300.0, "of the runs that are judged, and of the thermal structures, in K")
    timestep: float = option(0.5, "time step of the runs that are judged, in fs")
    friction: float = option(1.0, "Langevin friction of the runs that are judged, in 1/ps")
    structures: int = option(10, "thermal structures from a short run, beside the relaxed one; or frames to take")
    trajectory: Path | None = option(
        None, "judge frames of this trajectory (XYZ, DCD, or a run folder) instead of a short run of the model"
    )
    rotations: int | None = option(
        None, f"uniform rotations of each structure for E_eq [{PAPERS_ROTATIONS}; fewer above {SMALL_ATOMS} atoms]"
    )
    precision: str = option("double", "of the runs that are judged", choices=PRECISIONS)
    seed: int = option(0, "of the short run, rotations, probes and planes")
    output: Path | None = option(None, "folder to write; default: NAME-diagnosis here, after the input file")
    quiet: bool = option(False, "no progress bar, and print nothing but errors")

    @property
    def folder(self) -> Path:
        """The output folder."""
        return Path(self.output or f"{Path(self.system).stem}-diagnosis")


def checked(settings: DiagnoseSettings, n_atoms: int) -> DiagnoseSettings:
    """Check every number, and choose the number of rotations where it was left open.

    Raises
    ------
    InputError
        For a value that makes no sense.
    """
    for name in ("temperature", "timestep", "friction"):
        value = getattr(settings, name)
        if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
            raise InputError(f"--{name} must be a positive number, not {value}")
    if settings.timestep > 5.0:
        raise InputError(f"--timestep {settings.timestep:g} fs is too long for any molecule; the flag is in fs")
    if settings.structures < 0 or (settings.trajectory is not None and settings.structures < 1):
        raise InputError(f"--structures {settings.structures} is too few")
    if settings.rotations is not None and settings.rotations < 2:
        raise InputError(f"--rotations must be 2 or more, not {settings.rotations}: one has nothing to differ from")
    if settings.precision not in PRECISIONS:
        raise InputError(f"--precision must be one of {', '.join(PRECISIONS)}, not {settings.precision!r}")
    if not 0 <= settings.seed < 2**63:
        raise InputError(f"--seed must be from 0 to 2^63 - 1, not {settings.seed}")
    # the cost of a force grows with n³ at least
    fewer = round(PAPERS_ROTATIONS * min(1.0, (SMALL_ATOMS / n_atoms) ** 3))
    return replace(settings, rotations=settings.rotations or max(FEWEST_ROTATIONS, fewer))
