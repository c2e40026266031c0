"""What a user may choose about a study; a study of runs at constant energy and the protocol of a benchmark."""

from dataclasses import dataclass
from pathlib import Path

from mdet_openmm.dask_cluster import check_one_place
from mdet_openmm.errors import InputError
from mdet_openmm.export.options import DEFAULT_MODEL, FORCES, OFFSETS, ORIENTATIONS, PRECISION_HELP, PRECISIONS
from mdet_openmm.molecules.files import SYSTEM_HELP, name_of
from mdet_openmm.settings import Checked, option
from mdet_openmm.simulation.settings import LARGEST_TIMESTEP_FS, TEACHERS
from mdet_openmm.studies.conditions import DEFAULT, read_conditions


@dataclass(frozen=True, kw_only=True)
class StudySettings(Checked):
    """What all studies have in common."""

    charge: int | None = option(None, "total charge in e; default: what the files say, else 0")
    multiplicity: int | None = option(None, "spin multiplicity 2S+1; default: what the files say, else 1", at_least=1)
    timestep: float = option(0.5, "time step in fs", above=0, at_most=LARGEST_TIMESTEP_FS)
    replicas: int = option(3, "runs of each kind, which differ in their random numbers", at_least=1)
    seed: int = option(1, "of all random numbers; that of replica k is seed + k - 1", at_least=0)
    backend: str = option("auto", "what calls the network", choices=("auto", "torch", "python"))
    platform: str | None = option(None, "OpenMM platform; default: CUDA where it works, else Reference")
    forces: str | None = option(
        None, "straight from the network, or the gradient of its energy [what the model gives]", choices=FORCES
    )
    report_interval: float = option(10.0, "between frames and log rows, in fs", above=0)
    workers: int | None = option(None, "runs side by side on this machine, one thread each [cores]", at_least=1)
    scheduler: str | None = option(None, "address of a Dask scheduler, such as tcp://host:8786, or local")
    output: Path | None = option(None, "folder to write")
    restart: bool = option(False, "go on with the study in the output folder; settings not given are the stored ones")
    quiet: bool = option(False, "print nothing but errors")

    def check(self) -> None:
        """Refuse what no run refuses itself."""
        check_one_place(self.workers, self.scheduler)
        if self.seed + self.replicas >= 2**31:
            raise InputError(f"--seed must be at most {2**31 - self.replicas - 1}, not {self.seed}")

    def seed_of(self, replica: int) -> int:
        """Seed of a replica, counted from 1."""
        return self.seed + replica - 1


@dataclass(frozen=True, kw_only=True)
class NveStudySettings(StudySettings):
    """Runs at constant energy under several conditions."""

    model: str = option(DEFAULT_MODEL, "name of a shipped model, or a model folder")
    conditions: str = option(DEFAULT, "PRECISION[+OFFSET][+ORIENTATIONS][+held], with commas between")
    time: float = option(10.0, "length of each run at constant energy in ps", above=0)
    temperature: float = option(300.0, "that the runs start from, in K", above=0)
    thermalize: float = option(2.0, "length of the Langevin dynamics that the starts come from, in ps", above=0)
    teacher: str | None = option(
        None,
        "whose energy is followed instead of the model's [the teacher that the model learnt from, where installed]",
        choices=TEACHERS,
        formerly="reference",
    )

    def check(self) -> None:
        """As above, and what is no condition."""
        super().check()
        read_conditions(self.conditions)


@dataclass(frozen=True, kw_only=True)
class AblationSettings(NveStudySettings):
    """What ``simulations/ablate_nve.py`` takes."""

    system: Path = option(help=f"the molecule: {SYSTEM_HELP}")

    @property
    def folder(self) -> Path:
        """The output folder."""
        return Path(self.output or f"{name_of(self.system)}-ablation")


@dataclass(frozen=True, kw_only=True)
class MapSettings(NveStudySettings):
    """What ``simulations/map_stability.py`` takes."""

    conditions: str = option("mixed+hashed", "PRECISION[+OFFSET][+ORIENTATIONS][+held], with commas between")
    structures: str | None = option(
        None, "SMILES and structure files, with commas between [alkanes, branched ones and cumulenes]"
    )

    @property
    def folder(self) -> Path:
        """The output folder."""
        return Path(self.output or "stability-map")


@dataclass(frozen=True, kw_only=True)
class ProtocolSettings(StudySettings):
    """What ``simulations/benchmark_nvt.py`` takes; the defaults are the protocol of Fu et al. (2210.07237)."""

    model: str = option(help="name of a shipped model, or a model folder")
    temperature: float = option(500.0, "temperature of the bath in K", above=0)
    thermostat: str = option("nose-hoover", "how the temperature is kept", choices=("langevin", "nose-hoover"))
    friction: float | None = option(
        None,
        "Langevin friction, or collision frequency of the Nosé-Hoover chain, in 1/ps [1.0; nose-hoover 10.0]",
        above=0,
    )
    time: float = option(300.0, "length of each run in ps", above=0)
    precision: str = option("double", PRECISION_HELP, choices=PRECISIONS)
    orientations: int = option(1, "orientations averaged at each force call", choices=ORIENTATIONS, formerly="frames")
    offset: str | None = option(
        None, "rotation of these orientations at each call [hashed; none for conservative forces]", choices=OFFSETS
    )
    start: int | None = option(
        None, "frame of the reference, from 0, that every replica starts from [spread over the reference]", at_least=0
    )

    @property
    def folder(self) -> Path:
        """The output folder."""
        return Path(self.output or "nvt-benchmark")
