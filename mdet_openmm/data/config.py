"""What ``mdet label`` is told: molecules, teacher, how to make conformations."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdet_openmm.configuration import from_mapping, read_settings
from mdet_openmm.errors import InputError
from mdet_openmm.files import plain
from mdet_openmm.settings import Checked, option

TEACHERS = ("gfn2", "so3lr", "pyscf", "ase")
MOLECULE_SPLITS = ("train", "test")
DISPLACEMENT_KINDS = ("gaussian", "scale", "stretch", "torsion", "contact")


@dataclass(frozen=True)
class MoleculeEntry(Checked):
    """One molecule: from SMILES, from a file, or the frames of a trajectory; or the many of a file of SMILES.

    Exactly one of ``smiles``, ``smiles_file``, ``file`` and ``trajectory`` is given.
    """

    smiles: str | None = option(None, "SMILES; start structures are made with RDKit")
    smiles_file: Path | None = option(None, "many molecules: a SMILES and perhaps a name on each line (.smi)")
    file: Path | None = option(None, "SDF, XYZ, PDB or mmCIF with the start structure")
    trajectory: Path | None = option(None, "frames to label as they are: DCD, XTC, multi-frame XYZ, ...")
    topology: Path | None = option(None, "PDB or other file that names the atoms of the trajectory")
    stride: int = option(1, "label every n-th frame of the trajectory, or molecule of the smiles_file", at_least=1)
    name: str | None = option(None, "name in the data set; the SMILES or the file name by default")
    charge: int | None = option(None, "total charge in e; from the SMILES or the file by default")
    multiplicity: int | None = option(None, "2S + 1; from the SMILES or the file by default", at_least=1)
    split: str = option("train", "test: a held-out molecule, never trained on", choices=MOLECULE_SPLITS)
    weight: float = option(1.0, "factor on the number of training trajectories", at_least=0)

    def check(self) -> None:
        """Refuse an entry that is no molecule, or two."""
        if sum(given is not None for given in (self.smiles, self.smiles_file, self.file, self.trajectory)) != 1:
            raise InputError("give exactly one of smiles, smiles_file, file and trajectory")
        if self.smiles_file is not None and self.name is not None:
            raise InputError("the names of a smiles_file stand in it; remove 'name'")


@dataclass(frozen=True)
class TeacherConfig(Checked):
    """The method that gives energies and forces."""

    kind: str = option(
        "gfn2",
        "gfn2: GFN2-xTB through tblite; so3lr: SO3LR, PBE0+MBD, in batches; pyscf: DFT; ase: any ASE calculator",
        choices=TEACHERS,
    )
    device: str = option("cpu", "of so3lr", choices=("cpu", "cuda"))
    precision: str = option("fp32", "of so3lr", choices=("fp32", "fp64"))
    accuracy: float = option(0.1, "tblite's SCF accuracy (gfn2); 0.1 converges forces to about 0.03 meV/Å", above=0)
    max_iterations: int = option(250, "SCF iterations before a frame counts as failed (gfn2, pyscf)", at_least=1)
    electronic_temperature: float = option(300.0, "K, Fermi smearing of the SCF (gfn2)", at_least=0)
    xc: str = option("pbe0", "functional (pyscf)")
    basis: str = option("def2-svp", "basis set (pyscf)")
    grid: int = option(3, "level of the integration grid (pyscf)", at_least=0, at_most=9)
    dispersion: str | None = option(None, "d3bj or d4, which need pyscf-dispersion (pyscf)")
    ase: str | None = option(None, "module:Class of the ASE calculator")
    arguments: dict[str, Any] = option(
        {}, "keyword arguments of the ASE calculator; '{charge}' and '{multiplicity}' stand for the molecule's"
    )
    info: bool = option(False, "the ASE calculator reads atoms.info['charge'] and atoms.info['spin'] (2S + 1)")

    def check(self) -> None:
        """Refuse an ASE teacher without its class."""
        if self.kind == "ase" and (self.ase is None or ":" not in self.ase):
            raise InputError("kind 'ase' needs 'ase: module:Class' of an ASE calculator")


@dataclass(frozen=True)
class DynamicsRun(Checked):
    """A number of Langevin trajectories at one temperature."""

    temperature: float = option(help="K", above=0)
    trajectories: int = option(1, "independent trajectories per molecule of weight 1", at_least=0)


@dataclass(frozen=True)
class SamplingConfig(Checked):
    """Training conformations: Langevin dynamics on the teacher, and displacements of its frames."""

    conformers: int = option(8, "RDKit start structures per molecule at most; trajectories take turns", at_least=1)
    runs: tuple[DynamicsRun, ...] = option((DynamicsRun(300.0, 1),), "trajectories at each temperature")
    timestep: float = option(1.0, "fs", above=0)
    friction: float = option(10.0, "1/ps", at_least=0)
    equilibrate: float = option(250.0, "fs before the first frame", at_least=0)
    interval: float = option(16.0, "fs between frames")
    frames: int = option(50, "frames per trajectory", at_least=1)
    displaced: int = option(35, "displaced copies of its frames per trajectory", at_least=0)

    def check(self) -> None:
        """Refuse frames between the steps."""
        _check_interval(self.interval, self.timestep)


@dataclass(frozen=True)
class HeldOutConfig(Checked):
    """Held-out conformations: separate trajectories with their own seeds and finer, slower sampling."""

    temperature: float = option(300.0, "K", above=0)
    val: int = option(10, "frames per training molecule for choosing models", at_least=0)
    test: int = option(30, "frames per training molecule for the final evaluation", at_least=0)
    unseen: int = option(40, "frames per held-out molecule", at_least=0)
    given: float = option(
        0.0, "part of the frames of a given trajectory for val, and as much for test", at_least=0, at_most=0.4
    )
    share: float = option(1.0, "part of the training molecules that has frames for val and test", at_least=0, at_most=1)
    frames: int = option(10, "frames per trajectory", at_least=1)
    timestep: float = option(0.5, "fs", above=0)
    friction: float = option(5.0, "1/ps", at_least=0)
    equilibrate: float = option(500.0, "fs before the first frame", at_least=0)
    interval: float = option(50.0, "fs between frames")

    def check(self) -> None:
        """Refuse frames between the steps."""
        _check_interval(self.interval, self.timestep)


def _check_interval(interval: float, timestep: float) -> None:
    if interval < timestep:
        raise InputError(f"interval {interval} fs is shorter than the time step of {timestep} fs")


@dataclass(frozen=True)
class Displacement(Checked):
    """One way to displace a frame, with the range from which its size is drawn uniformly."""

    kind: str = option(help="what is done", choices=DISPLACEMENT_KINDS)
    low: float = option(help="gaussian: Å; scale, stretch: factor; torsion: degrees; contact: in sums of vdW radii")
    high: float = option(help="same unit as low")
    weight: float = option(1.0, "relative share of the displaced frames", above=0)

    def check(self) -> None:
        """Refuse an empty range."""
        if self.high < self.low:
            raise InputError(f"a displacement needs low <= high, not {self.low} and {self.high}")


DISPLACEMENTS = (
    Displacement("gaussian", 0.02, 0.15, 3.0),
    Displacement("scale", 0.9, 1.1, 1.0),
    Displacement("stretch", 0.75, 1.5, 3.0),
    Displacement("torsion", -180.0, 180.0, 2.0),
    Displacement("contact", 0.55, 0.9, 1.0),
)


@dataclass(frozen=True)
class LabelConfig(Checked):
    """Everything that defines a labelled data set."""

    molecules: tuple[MoleculeEntry, ...] = option(help="the molecules")
    seed: int = option(0, "the same seed gives the same data set, whatever the number of workers", at_least=0)
    teacher: TeacherConfig = option(TeacherConfig(), "the method")
    sampler: TeacherConfig | None = option(
        None, "the method whose dynamics is sampled, a model as an ASE calculator for example, if not the teacher's own"
    )
    sampling: SamplingConfig = option(SamplingConfig(), "training conformations")
    held_out: HeldOutConfig = option(HeldOutConfig(), "held-out conformations")
    displacements: tuple[Displacement, ...] = option(DISPLACEMENTS, "ways to displace a frame")
    compact: bool = option(False, "positions on a grid of 2^-11 Å, forces to 11 bits; packed (docs/data-format.md)")
    max_force: float = option(30.0, "eV/Å; frames with a larger force on an atom are skipped and counted", above=0)
    max_stretch: float = option(1.8, "a trajectory ends when a bond is this many times its start length", above=1)
    task_frames: int = option(200, "frames of a given trajectory per task", at_least=1)

    @property
    def methods(self) -> dict[str, TeacherConfig]:
        """The teacher and, if there is one, the sampler, by name."""
        return {"teacher": self.teacher, **({} if self.sampler is None else {"sampler": self.sampler})}

    def check(self) -> None:
        """Refuse what cannot be labelled before anything is computed."""
        if not self.molecules:
            raise InputError("no molecules; give at least one under 'molecules'")
        if self.sampling.displaced and not self.displacements:
            raise InputError("displaced frames are wanted but 'displacements' is empty")


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


def stored(config: LabelConfig) -> dict[str, Any]:
    """As a data set keeps it: plain values, of files their names."""
    found: dict[str, Any] = plain(dataclasses.asdict(config), lambda path: Path(path).name)
    return found


def same_inputs(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether two provenances make the same data.

    An earlier version of the package neither knew all settings, which then had their defaults, nor made other labels.
    """
    try:
        known = {**before, "config": stored(from_mapping(LabelConfig, before["config"], "its configuration"))}
    except InputError:
        return False
    return {**known, "package_version": now["package_version"]} == now
