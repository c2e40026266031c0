"""Settings of scans and of metadynamics of a dihedral, shared by the command line and the API."""

from dataclasses import dataclass
from pathlib import Path

from mdet_openmm.errors import InputError
from mdet_openmm.export.options import DEFAULT_MODEL, FORCES, ORIENTATIONS, PRECISION_HELP, PRECISIONS
from mdet_openmm.molecules.files import SYSTEM_HELP, name_of
from mdet_openmm.settings import Checked, option
from mdet_openmm.simulation.settings import TEACHERS


@dataclass(frozen=True)
class TorsionSettings(Checked):
    """A molecule, one of its dihedrals, and the model that drives it."""

    system: Path = option(help=f"the molecule: {SYSTEM_HELP}")
    dihedral: str = option(help="four bonded atoms, counted from 1: 9-3-2-1")
    model: str = option(DEFAULT_MODEL, "name of a shipped model, or a model folder")
    charge: int | None = option(None, "total charge in e; default: what the file says, else 0")
    multiplicity: int | None = option(None, "spin multiplicity 2S+1; default: what the file says, else 1", at_least=1)


@dataclass(frozen=True)
class ScanSettings(TorsionSettings):
    """What ``simulations/scan_torsion.py`` and ``mdet scan-torsion`` take."""

    dihedral: str = option(help="four bonded atoms, counted from 1: 9-3-2-1; the end at the last one turns")
    points: int = option(24, "steps of the scan", at_least=2, at_most=720)
    turn: float = option(360.0, "how far to turn, in degrees; negative: the other way", at_least=-360, at_most=360)
    precision: str = option("double", PRECISION_HELP, choices=PRECISIONS)
    orientations: int = option(12, "orientations averaged at each force call", choices=ORIENTATIONS)
    forces: str | None = option(None, "straight from the network, or the gradient of its energy", choices=FORCES)
    teacher: str | None = option(
        None,
        "whose energy stands beside, at the same structures [the one that the model learnt from, where installed]",
        choices=TEACHERS,
    )
    output: Path | None = option(None, "folder to write; default: NAME-scan here, after the input file")

    def check(self) -> None:
        """Refuse a scan that goes nowhere."""
        if abs(self.turn) / self.points < 0.1:
            raise InputError("--turn is less than 0.1 degrees per step; turn farther, or take fewer --points")

    @property
    def folder(self) -> Path:
        """The output folder."""
        return self.output or Path(f"{name_of(self.system)}-scan")


@dataclass(frozen=True)
class MetadynamicsSettings(TorsionSettings):
    """What ``simulations/metadynamics.py`` and ``mdet metadynamics`` take."""

    temperature: float = option(300.0, "in K", above=0)
    friction: float = option(1.0, "of the Langevin bath, 1/ps", above=0)
    timestep: float = option(0.5, "in fs", above=0, at_most=5)
    time: float = option(100.0, "in ps", above=0)
    bias_factor: float = option(10.0, "the angle is sampled as if at so many times the temperature", above=1)
    height: float = option(1.0, "of the first hill, kJ/mol", above=0)
    width: float = option(20.0, "of a hill, degrees", above=0, at_most=90)
    hills_every: float = option(50.0, "between two hills, fs", above=0)
    precision: str = option("double", PRECISION_HELP, choices=PRECISIONS)
    orientations: int = option(1, "orientations averaged at each force call", choices=ORIENTATIONS)
    forces: str | None = option(None, "straight from the network, or the gradient of its energy", choices=FORCES)
    seed: int = option(0, "of velocities, bath and rotations", at_least=0, below=2**31)
    output: Path | None = option(None, "folder to write; default: NAME-metadynamics here, after the input file")

    def check(self) -> None:
        """Refuse intervals that do not fit."""
        if self.hills_every < self.timestep:
            raise InputError(f"--hills-every {self.hills_every} fs is shorter than the time step ({self.timestep} fs)")
        if 1000.0 * self.time < self.hills_every:
            raise InputError("--time is shorter than the interval between two hills")

    @property
    def folder(self) -> Path:
        """The output folder."""
        return self.output or Path(f"{name_of(self.system)}-metadynamics")
