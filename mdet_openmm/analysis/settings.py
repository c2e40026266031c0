"""Settings of the analysis, shared by the command line and the API."""

from dataclasses import dataclass
from pathlib import Path

from mdet_openmm.settings import Checked, option


@dataclass(frozen=True)
class AnalyzeSettings(Checked):
    """What ``simulations/analyze.py`` and ``mdet analyze`` take."""

    folder: Path = option(help="output folder of run_nvt.py or run_nve.py")
    reference: Path | None = option(
        None,
        help="run folder, or a trajectory of the same atoms in the same order (dcd, xtc, xyz, pdb), to compare with",
    )
    output: Path | None = option(None, help="where the report goes; FOLDER/analysis unless given")
