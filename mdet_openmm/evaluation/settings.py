"""What ``mdet evaluate`` is told."""

from dataclasses import dataclass
from pathlib import Path

from mdet_openmm.dask_cluster import check_one_place
from mdet_openmm.data.config import TEACHERS
from mdet_openmm.errors import InputError
from mdet_openmm.export.options import FORCES, ORIENTATIONS, PRECISIONS
from mdet_openmm.settings import Checked, option

HELD_OUT = ("test", "unseen")


@dataclass(frozen=True)
class EvaluateSettings(Checked):
    """A model and others beside it on labelled data."""

    model: str = option(help="model folder or name of a shipped model")
    data: Path = option(help="labelled data, HDF5 (mdet label, mdet convert)")
    beside: tuple[str, ...] = option((), "further models in the same table")
    calculator: tuple[str, ...] = option((), "ASE calculators in the same table, each module:Class")
    teacher: tuple[str, ...] = option(
        (), f"teachers in the same table, of {', '.join(t for t in TEACHERS if t != 'ase')}"
    )
    arguments: Path | None = option(None, "YAML file with the keyword arguments of each calculator, by module:Class")
    splits: tuple[str, ...] = option((), "which frames [test and unseen, where there are any]")
    most_frames: int | None = option(None, "evaluate so many frames, drawn over all [all]", at_least=1)
    orientations: int = option(1, "rotations that the model's forces are averaged over", choices=ORIENTATIONS)
    precision: str = option("double", "of models", choices=PRECISIONS)
    forces: str | None = option(None, "the network's own, or the gradient of its energy", choices=FORCES)
    symmetry_frames: int = option(200, "structures on which E_eq is measured", at_least=0)
    rotations: int = option(16, "orientations of each for E_eq", at_least=2)
    lambda_frames: int = option(20, "structures on which lambda is measured", at_least=0)
    measure_calculators: bool = option(False, "E_eq and lambda of calculators and teachers too")
    seed: int = option(0, "of rotations and of what is drawn", at_least=0)
    device: str = option("cpu", "where models compute", choices=("cpu", "cuda"))
    workers: int | None = option(None, "processes of one thread each [all cores; cuda: 1]", at_least=1)
    scheduler: str | None = option(None, "address of a Dask scheduler, or local for one of this machine")
    output: Path | None = option(None, "folder for evaluation.json and evaluation.html [evaluation-MODEL-DATA]")
    quiet: bool = option(False, "no progress bar")

    def check(self) -> None:
        """Refuse teachers that there are not, and two places to work."""
        for name in self.teacher:
            if name not in TEACHERS or name == "ase":
                raise InputError(f"--teacher must be one of {', '.join(t for t in TEACHERS if t != 'ase')}, not {name}")
        for spec in self.calculator:
            if ":" not in spec:
                raise InputError(f"--calculator must be module:Class of an ASE calculator, not {spec}")
        check_one_place(self.workers, self.scheduler)

    @property
    def folder(self) -> Path:
        """Where the report goes."""
        return self.output or Path(f"evaluation-{Path(self.model).name}-{self.data.stem}")
