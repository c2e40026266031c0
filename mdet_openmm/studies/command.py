"""The command lines of the studies, shared by the scripts in ``simulations/`` and by ``mdet``."""

import argparse
import dataclasses
import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from mdet_openmm.errors import exit_status
from mdet_openmm.flags import OneLineParser, add_flags, from_namespace
from mdet_openmm.studies.settings import AblationSettings, MapSettings, ProtocolSettings


def _ablate(settings: Any, given: Collection[str], arguments: argparse.Namespace) -> None:
    from mdet_openmm.studies.ablation import ablate

    ablate(settings, given)


def _map(settings: Any, given: Collection[str], arguments: argparse.Namespace) -> None:
    from mdet_openmm.studies.stability_map import map_stability

    map_stability(settings, given)


def _benchmark(settings: Any, given: Collection[str], arguments: argparse.Namespace) -> None:
    from mdet_openmm.studies.protocol import benchmark

    benchmark(settings, arguments.references, given)


@dataclasses.dataclass(frozen=True)
class Study:
    """A command: its settings, which of them are positional, what it says of itself, and what it does."""

    settings: type
    positional: tuple[str, ...]
    description: str
    conduct: Callable[[Any, Collection[str], argparse.Namespace], None]


STUDIES = {
    "ablate-nve": Study(
        AblationSettings, ("system",), "Runs of one molecule at constant energy under several conditions.", _ablate
    ),
    "map-stability": Study(MapSettings, (), "Runs of many molecules at constant energy.", _map),
    "benchmark-nvt": Study(
        ProtocolSettings,
        ("model",),
        "Stability and h(r) error of NVT dynamics against reference trajectories (Fu et al., 2210.07237).",
        _benchmark,
    ),
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the arguments of one of `STUDIES`."""
    study = STUDIES[name]
    add_flags(parser, study.settings, positional=study.positional)
    if name == "benchmark-nvt":
        parser.add_argument(
            "references",
            metavar="REFERENCE",
            nargs="+",
            type=Path,
            help="reference trajectory: xyz, extxyz, npz, a DCD with a PDB beside it, or a run folder",
        )


def run(arguments: argparse.Namespace, name: str) -> None:
    """Conduct one of `STUDIES` with parsed arguments."""
    study = STUDIES[name]
    settings: Any = from_namespace(study.settings, arguments)
    if settings.quiet:
        logging.getLogger("mdet_openmm").setLevel(logging.ERROR)
    given = vars(arguments).keys() & {field.name for field in dataclasses.fields(study.settings)}
    study.conduct(settings, given, arguments)


def main(name: str, argv: Sequence[str] | None = None) -> int:
    """Parse, conduct one of `STUDIES`, and return the exit status (`mdet_openmm.errors.exit_status`)."""
    parser = OneLineParser(prog=f"{name.replace('-', '_')}.py", description=STUDIES[name].description)
    add_arguments(parser, name)
    return exit_status(lambda: run(parser.parse_args(argv), name))
