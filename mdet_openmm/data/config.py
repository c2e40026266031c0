"""What ``mdet label`` is told: molecules, teacher, how to make conformations."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdet_openmm.errors import InputError
from mdet_openmm.settings import option, read_settings

TEACHERS = ("gfn2", "so3lr", "pyscf", "ase")
MOLECULE_SPLITS = ("train", "test")
DISPLACEMENT_KINDS = ("gaussian", "scale", "stretch", "torsion", "contact")


@dataclass(frozen=True)
class MoleculeEntry:
    """One molecule: from SMILES, from a file, or the frames of a trajectory; or the many of a file of SMILES.

    Exactly one of ``smiles``, ``smiles_file``, ``file`` and ``trajectory`` is given.
    """

    smiles: str | None = option(None, "SMILES; start structures are made with RDKit")
    smiles_file: Path | None = option(None, "many molecules: a SMILES and perhaps a name on each line (.smi)")
    file: Path | None = option(None, "SDF, XYZ, PDB or mmCIF with the start structure")
    trajectory: Path | None = option(None, "frames to label as they are: DCD, XTC, multi-frame XYZ, ...")
    topology: Path | None = option(None, "PDB or other file that names the atoms of the trajectory")
    stride: int = option(1, "label every n-th frame of the trajectory")
    name: str | None = option(None, "name in the data set; the SMILES or the file name by default")
    charge: int | None = option(None, "total charge in e; from the SMILES or the file by default")
    multiplicity: int | None = option(None, "2S + 1; from the SMILES or the file by default")
    split: str = option("train", "test: a held-out molecule, never trained on", choices=MOLECULE_SPLITS)
    weight: float = option(1.0, "factor on the number of training trajectories")


@dataclass(frozen=True)
class TeacherConfig:
    """The method that gives energies and forces."""

    kind: str = option(
        "gfn2",
        "gfn2: GFN2-xTB through tblite; so3lr: SO3LR, PBE0+MBD, in batches; pyscf: DFT; ase: any ASE calculator",
        choices=TEACHERS,
    )
    device: str = option("cpu", "of so3lr", choices=("cpu", "cuda"))
    precision: str = option("fp32", "of so3lr", choices=("fp32", "fp64"))
    accuracy: float = option(0.1, "tblite's SCF accuracy (gfn2); 0.1 converges forces to about 0.03 meV/Å")
    max_iterations: int = option(250, "SCF iterations before a frame counts as failed (gfn2, pyscf)")
    xc: str = option("pbe0", "functional (pyscf)")
    basis: str = option("def2-svp", "basis set (pyscf)")
    grid: int = option(3, "level of the integration grid, 0 to 9 (pyscf)")
    dispersion: str | None = option(None, "d3bj or d4, which need pyscf-dispersion (pyscf)")
    electronic_temperature: float = option(300.0, "K, Fermi smearing of the SCF (gfn2)")
    ase: str | None = option(None, "module:Class of the ASE calculator")
    arguments: dict[str, Any] = option(
        {}, "keyword arguments of the ASE calculator; '{charge}' and '{multiplicity}' stand for the molecule's"
    )
    info: bool = option(False, "the ASE calculator reads atoms.info['charge'] and atoms.info['spin'] (2S + 1)")


@dataclass(frozen=True)
class DynamicsRun:
    """A number of Langevin trajectories at one temperature."""

    temperature: float = option(help="K")
    trajectories: int = option(1, "independent trajectories per molecule of weight 1")


@dataclass(frozen=True)
class SamplingConfig:
    """Training conformations: Langevin dynamics on the teacher, and displacements of its frames."""

    conformers: int = option(8, "RDKit start structures per molecule at most; trajectories take turns")
    runs: tuple[DynamicsRun, ...] = option((DynamicsRun(300.0, 1),), "trajectories at each temperature")
    timestep: float = option(1.0, "fs")
    friction: float = option(10.0, "1/ps")
    equilibrate: float = option(250.0, "fs before the first frame")
    interval: float = option(16.0, "fs between frames")
    frames: int = option(50, "frames per trajectory")
    displaced: int = option(35, "displaced copies of its frames per trajectory")


@dataclass(frozen=True)
class HeldOutConfig:
    """Held-out conformations: separate trajectories with their own seeds and finer, slower sampling."""

    temperature: float = option(300.0, "K")
    val: int = option(10, "frames per training molecule for choosing models")
    test: int = option(30, "frames per training molecule for the final evaluation")
    unseen: int = option(40, "frames per held-out molecule")
    share: float = option(1.0, "part of the training molecules that has frames for val and test")
    frames: int = option(10, "frames per trajectory")
    timestep: float = option(0.5, "fs")
    friction: float = option(5.0, "1/ps")
    equilibrate: float = option(500.0, "fs before the first frame")
    interval: float = option(50.0, "fs between frames")


@dataclass(frozen=True)
class Displacement:
    """One way to displace a frame, with the range from which its size is drawn uniformly."""

    kind: str = option(help="what is done", choices=DISPLACEMENT_KINDS)
    low: float = option(help="gaussian: Å; scale, stretch: factor; torsion: degrees; contact: in sums of vdW radii")
    high: float = option(help="same unit as low")
    weight: float = option(1.0, "relative share of the displaced frames")


DISPLACEMENTS = (
    Displacement("gaussian", 0.02, 0.15, 3.0),
    Displacement("scale", 0.9, 1.1, 1.0),
    Displacement("stretch", 0.75, 1.5, 3.0),
    Displacement("torsion", -180.0, 180.0, 2.0),
    Displacement("contact", 0.55, 0.9, 1.0),
)


@dataclass(frozen=True)
class LabelConfig:
    """Everything that defines a labelled data set."""

    molecules: tuple[MoleculeEntry, ...] = option(help="the molecules")
    seed: int = option(0, "the same seed gives the same data set, whatever the number of workers")
    teacher: TeacherConfig = option(TeacherConfig(), "the method")
    sampling: SamplingConfig = option(SamplingConfig(), "training conformations")
    held_out: HeldOutConfig = option(HeldOutConfig(), "held-out conformations")
    displacements: tuple[Displacement, ...] = option(DISPLACEMENTS, "ways to displace a frame")
    compact: bool = option(False, "positions on a grid of 2^-11 Å, forces to 11 bits; packed (docs/data-format.md)")
    max_force: float = option(30.0, "eV/Å; frames with a larger force on an atom are skipped and counted")
    max_stretch: float = option(1.8, "a trajectory ends when a bond is this many times its start length")
    task_frames: int = option(200, "frames of a given trajectory per task")

    def __post_init__(self) -> None:
        """Refuse what cannot be labelled before anything is computed."""
        if not self.molecules:
            raise InputError("label: no molecules; give at least one under 'molecules'")
        for number, entry in enumerate(self.molecules):
            _check_entry(entry, f"label: molecules[{number}]")
        if self.teacher.kind == "ase" and (self.teacher.ase is None or ":" not in self.teacher.ase):
            raise InputError("label: teacher kind 'ase' needs 'ase: module:Class' of an ASE calculator")
        for where, part in (("sampling", self.sampling), ("held_out", self.held_out)):
            if part.timestep <= 0 or part.friction < 0 or part.equilibrate < 0 or part.frames < 1:
                raise InputError(f"label: {where} needs timestep > 0, friction >= 0, equilibrate >= 0, frames >= 1")
            if part.interval < part.timestep:
                raise InputError(f"label: {where}: interval {part.interval} fs is shorter than the time step")
        if any(run.temperature <= 0 or run.trajectories < 0 for run in self.sampling.runs):
            raise InputError("label: sampling runs need a temperature > 0 and trajectories >= 0")
        if not 0.0 <= self.held_out.share <= 1.0:
            raise InputError("label: held_out share must be from 0 to 1")
        if self.held_out.temperature <= 0:
            raise InputError("label: held_out temperature must be > 0")
        if min(self.held_out.val, self.held_out.test, self.held_out.unseen, self.sampling.displaced) < 0:
            raise InputError("label: numbers of frames cannot be negative")
        if self.sampling.conformers < 1 or self.task_frames < 1:
            raise InputError("label: conformers and task_frames must be at least 1")
        if self.sampling.displaced and not self.displacements:
            raise InputError("label: displaced frames are wanted but 'displacements' is empty")
        if any(d.high < d.low or d.weight <= 0 for d in self.displacements):
            raise InputError("label: every displacement needs low <= high and weight > 0")
        if self.max_force <= 0 or self.max_stretch <= 1:
            raise InputError("label: max_force must be > 0 and max_stretch > 1")
        if self.seed < 0:
            raise InputError("label: the seed cannot be negative")


def _check_entry(entry: MoleculeEntry, where: str) -> None:
    if sum(source is not None for source in (entry.smiles, entry.smiles_file, entry.file, entry.trajectory)) != 1:
        raise InputError(f"{where}: give exactly one of smiles, smiles_file, file and trajectory")
    if entry.smiles_file is not None and entry.name is not None:
        raise InputError(f"{where}: the names of a smiles_file stand in it; remove 'name'")
    if entry.stride < 1:
        raise InputError(f"{where}: stride must be at least 1")
    if entry.weight < 0:
        raise InputError(f"{where}: weight cannot be negative")


def read_config(path: Path) -> LabelConfig:
    """Read a labelling configuration from YAML.

    Files that it names are looked for from the current folder, then beside the configuration.

    Raises
    ------
    InputError
        If the file cannot be read, does not fit, or names a file that does not exist.
    """
    path = Path(path)
    config = read_settings(path, LabelConfig)

    def found(name: Path | None) -> Path | None:
        if name is None or name.is_absolute() or name.exists():
            return name
        beside = path.parent / name
        return beside if beside.exists() else name

    entries = tuple(
        dataclasses.replace(
            e,
            smiles_file=found(e.smiles_file),
            file=found(e.file),
            trajectory=found(e.trajectory),
            topology=found(e.topology),
        )
        for e in config.molecules
    )
    return dataclasses.replace(config, molecules=entries)
