"""What a user may choose about a run, and how it is checked before anything is computed."""

import dataclasses
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from mdet_openmm.errors import InputError
from mdet_openmm.export.options import (
    DEFAULT_MODEL,
    FORCES,
    OFFSETS,
    ORIENTATIONS,
    PRECISION_HELP,
    PRECISIONS,
    ForceOptions,
)
from mdet_openmm.molecules.files import SYSTEM_HELP, name_of
from mdet_openmm.settings import Checked, OptionError, option
from mdet_openmm.simulation.protocol import ML_PEG_NVE, MLIPAUDIT_STABILITY, fixed
from mdet_openmm.walltime import HELP, Walltime

DEFAULT_TIME_PS = 5.0
DEFAULT_FRICTION = {"langevin": 1.0, "nose-hoover": 10.0}
LARGEST_TIMESTEP_FS = 5.0
AUTO_ORIENTATIONS = 0
"""The number of orientations that stands for "auto"; it is measured before the run."""
AUTO_CYCLE = 0
"""The same for multiple time steps."""
CYCLES = (16, 8, 4, 2, 1)
"""What "auto" chooses from."""
DEFAULT_LARGEST_DRIFT = 0.1
STEPS_PER_ROTATION = 50
"""Default interval of the equivariance watch, in steps per rotation: its force calls are 2 % of the run's."""
UNITS = {
    "temperature": "kelvin",
    "friction": "/picosecond",
    "timestep": "femtosecond",
    "time": "picosecond",
    "equilibrate": "picosecond",
    "report_interval": "femtosecond",
    "checkpoint_interval": "picosecond",
    "hold_energy": "picosecond",
}
NO_TEACHER = "none"
TEACHERS = ("so3lr", "gfn2", NO_TEACHER)


@dataclass(frozen=True)
class RunSettings(Checked):
    """What NVT and NVE runs share; plain numbers in the units below, or ``openmm.unit`` quantities to convert.

    Temperature in K, friction in 1/ps, time step and report interval in fs, times and checkpoint interval in ps,
    equivariance error in kcal/mol/Å. ``None`` means: take the default that the help text names.
    """

    ensemble: ClassVar[str]

    system: Path = option(help=f"the molecule: {SYSTEM_HELP}")
    model: str = option(DEFAULT_MODEL, "name of a shipped model, or a model folder")
    charge: int | None = option(None, "total charge in e; default: what the file says, else 0")
    multiplicity: int | None = option(None, "spin multiplicity 2S+1; default: what the file says, else 1", at_least=1)
    temperature: float = option(
        300.0, "temperature in K: of the bath, or of the equilibration before an NVE run", above=0
    )
    timestep: float = option(
        0.5, "time step in fs; 0.5 fs is usual with hydrogens", above=0, at_most=LARGEST_TIMESTEP_FS
    )
    steps: int | None = option(None, "number of steps after the equilibration; or give --time", at_least=1)
    time: float | None = option(None, f"length of the run after the equilibration in ps [{DEFAULT_TIME_PS}]", above=0)
    replicas: int = option(
        1, "independent copies of the molecule, in one call of the network; each has a folder in the output", at_least=1
    )
    equilibrate: float = option(1.0, "length of the equilibration in ps, not reported", at_least=0)
    backend: str = option("auto", "what calls the network", choices=("auto", "torch", "python"))
    platform: str | None = option(None, "OpenMM platform; default: CUDA where it works, else Reference")
    precision: str = option("double", PRECISION_HELP, choices=PRECISIONS)
    cuda_graph: bool | None = option(
        None, "replay each force call as one CUDA graph [python backend and small molecules, on CUDA]"
    )
    threads: int | None = option(
        None, "CPU threads of the network; default: OMP_NUM_THREADS, else 1 if small", at_least=1, at_most=1024
    )
    orientations: int = option(
        1,
        "orientations averaged at each force call; auto: the fewest whose noise adds at most 1 % to the temperature",
        choices=(AUTO_ORIENTATIONS, *ORIENTATIONS),
        words={"auto": AUTO_ORIENTATIONS},
        formerly="frames",
    )
    offset: str | None = option(
        None, "rotation of these orientations at each call [hashed; none for conservative forces]", choices=OFFSETS
    )
    forces: str | None = option(
        None, "straight from the network, or the gradient of its energy [what the model gives]", choices=FORCES
    )
    multiple_time_steps: int | None = option(
        None,
        "conservative dynamics of direct forces, corrected by the gradient of the energy once in so many steps; "
        "auto: the most that --largest-drift allows, measured before the run",
        at_least=AUTO_CYCLE,
        at_most=64,
        words={"auto": AUTO_CYCLE},
    )
    largest_drift: float | None = option(
        None,
        f"of the energy in meV/atom/ps, for --multiple-time-steps auto [{DEFAULT_LARGEST_DRIFT}]",
        above=0,
    )
    seed: int | None = option(
        None, "one seed for velocities, thermostat and rotations; default: drawn and printed", at_least=0, below=2**31
    )
    watch: bool = option(True, "stop when a bond breaks or the temperature runs away; a NaN always stops")
    watch_equivariance: int | None = option(
        None,
        "steps between two measurements of the equivariance error; 0: never "
        f"[{STEPS_PER_ROTATION} per rotation: 2 % more force calls]",
        at_least=0,
    )
    equivariance_rotations: int = option(8, "rotations of each measurement", at_least=2, at_most=1024)
    largest_equivariance_error: float | None = option(None, "limit of the equivariance error in kcal/mol/Å", above=0)
    equivariance_action: str = option("stop", "what a larger error does", choices=("stop", "warn"))
    minimize: bool = option(True, "relax the structure first (FIRE on the model's forces)")
    report_interval: float = option(4.0, "between frames and log rows, in fs; 4 fs resolves every vibration", above=0)
    checkpoint_interval: float = option(1.0, "between checkpoints, in ps", above=0)
    output: Path | None = option(None, "folder to write; default: NAME-nvt or NAME-nve here, after the input file")
    restart: bool = option(False, "go on with the run in the output folder; settings not given are the stored ones")
    max_walltime: Walltime | None = option(None, HELP)
    quiet: bool = option(False, "print nothing but errors")

    def __post_init__(self) -> None:
        """Turn quantities into plain numbers, check, and name the output folder."""
        for name, unit in UNITS.items():
            value: Any = getattr(self, name, None)
            if hasattr(value, "value_in_unit"):
                try:
                    object.__setattr__(self, name, value.value_in_unit(_openmm_unit(unit)))
                except TypeError:
                    raise OptionError(name, f"must be a quantity in {unit}, not {value}") from None
        super().__post_init__()
        self._follow_protocol()
        object.__setattr__(self, "output", self.output or Path(f"{name_of(self.system)}-{self.ensemble}"))

    def _follow_protocol(self) -> None:
        name = getattr(self, "protocol", None)
        if name is not None and self.time is not None:
            raise OptionError("time", f"is fixed by --protocol {name}; leave it out")
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for setting, value in fixed(name).items():
            if getattr(self, setting) not in (defaults[setting], value):
                raise OptionError(setting, f"is {value} in --protocol {name}; leave it out")
            object.__setattr__(self, setting, value)

    @property
    def folder(self) -> Path:
        """The output folder."""
        return Path(self.output or "")

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where the files of each replica go: a run of one molecule has no folder below its own."""
        if self.replicas == 1:
            return (self.folder,)
        digits = max(2, len(str(self.replicas - 1)))
        return tuple(self.folder / f"replica-{k:0{digits}}" for k in range(self.replicas))

    @property
    def force_options(self) -> ForceOptions:
        """How the force is computed, once the number of orientations is known."""
        return ForceOptions(self.precision, self.orientations, self.offset, self.seed or 0, self.forces)


@dataclass(frozen=True)
class NvtSettings(RunSettings):
    """Settings of an NVT run; see `RunSettings`."""

    ensemble: ClassVar[str] = "nvt"
    thermostat: str = option("langevin", "how the temperature is kept", choices=("langevin", "nose-hoover"))
    friction: float | None = option(
        None,
        "Langevin friction, or collision frequency of the Nosé-Hoover chain, in 1/ps [1.0; nose-hoover 10.0]",
        above=0,
    )
    protocol: str | None = option(
        None, "100,000 steps of 1 fs at 300 K, judged as MLIPAudit does", choices=(MLIPAUDIT_STABILITY,)
    )


@dataclass(frozen=True)
class NveSettings(RunSettings):
    """Settings of an NVE run; see `RunSettings`."""

    ensemble: ClassVar[str] = "nve"
    teacher: str | None = option(
        None,
        "whose energy is judged, on at most 500 frames after the run [the one that the model learnt from, where it is "
        "installed]",
        choices=TEACHERS,
        formerly="reference",
    )
    hold_energy: float | None = option(
        None,
        "hold kinetic energy plus the energy head's at its start by scaling velocities, with this time constant in ps "
        "(0.1, say); needs a model with an energy head",
        above=0,
    )
    protocol: str | None = option(None, "50 ps of 1 fs at 300 K, judged as ML-PEG does", choices=(ML_PEG_NVE,))


S = TypeVar("S", bound=RunSettings)


def _openmm_unit(name: str) -> Any:
    from openmm import unit

    return unit.picosecond**-1 if name == "/picosecond" else getattr(unit, name)


def resolved(settings: S) -> S:
    """Check what belongs together, and fill in what was left open: steps, friction, seed, when to watch equivariance.

    Not done at construction: on a restart only some settings are given, and the others are those of the stored run.

    Returns
    -------
    RunSettings
        Of the same class, with ``steps``, ``friction``, ``seed`` and ``watch_equivariance`` set and ``time`` None.

    Raises
    ------
    InputError
        For a value that makes no sense beside another.
    """
    s = settings
    if isinstance(s, NveSettings) and s.hold_energy is not None and 1000.0 * s.hold_energy < 10.0 * s.timestep:
        raise InputError(f"--hold-energy {s.hold_energy} ps is shorter than ten time steps of {s.timestep} fs")
    if isinstance(s, NveSettings) and s.hold_energy is not None and s.replicas > 1:
        raise InputError("--hold-energy holds the energy of one molecule; use it without --replicas")
    if s.steps is not None and s.time is not None:
        raise InputError("--steps and --time both say how long to run; give only one")
    steps = s.steps if s.steps is not None else round((s.time or DEFAULT_TIME_PS) * 1000.0 / s.timestep)
    if s.multiple_time_steps is not None:
        steps = _whole_cycles(s, steps)
    elif s.largest_drift is not None:
        raise InputError("--largest-drift belongs to --multiple-time-steps auto")
    if steps < 1:
        raise InputError("the run must have at least one step; raise --steps or --time")
    if s.report_interval < s.timestep:
        raise InputError(f"--report-interval {s.report_interval} fs is shorter than the time step ({s.timestep} fs)")
    if 1000.0 * s.checkpoint_interval < s.timestep:
        raise InputError(f"--checkpoint-interval {s.checkpoint_interval} ps is shorter than the time step")
    seed = secrets.randbelow(2**31) if s.seed is None else s.seed
    watch = STEPS_PER_ROTATION * s.equivariance_rotations if s.watch_equivariance is None else s.watch_equivariance
    if watch == 0 and s.largest_equivariance_error is not None:
        raise InputError("--largest-equivariance-error needs measurements; leave out --watch-equivariance 0")
    if isinstance(s, NvtSettings) and s.friction is None:
        s = dataclasses.replace(s, friction=DEFAULT_FRICTION[s.thermostat])
    return dataclasses.replace(s, steps=steps, time=None, seed=seed, watch_equivariance=watch)


def _whole_cycles(s: RunSettings, steps: int) -> int:
    """Steps of a run with multiple time steps, once nothing speaks against them."""
    cycle = s.multiple_time_steps or CYCLES[0]
    ForceOptions(offset=s.offset).split()
    if s.replicas > 1:
        raise InputError("--multiple-time-steps is for one molecule; use it without --replicas")
    if s.forces == "direct":
        raise InputError("--multiple-time-steps makes the forces conservative; leave out --forces direct")
    if getattr(s, "thermostat", "langevin") != "langevin":
        raise InputError("--multiple-time-steps goes with the langevin thermostat and with NVE; leave out nose-hoover")
    if getattr(s, "hold_energy", None) is not None:
        raise InputError("--hold-energy is for direct forces; with --multiple-time-steps the energy keeps without it")
    if s.largest_drift is not None and s.multiple_time_steps != AUTO_CYCLE:
        raise InputError("--largest-drift belongs to --multiple-time-steps auto")
    if s.steps is None:
        return max(1, round(steps / cycle)) * cycle
    if s.multiple_time_steps and steps % cycle:
        raise InputError(f"--steps {steps} is not a whole number of cycles of --multiple-time-steps {cycle}")
    return steps
