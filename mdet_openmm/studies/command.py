"""The command lines of the studies, for the scripts in ``simulations/``."""

import argparse
import dataclasses
import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mdet_openmm.errors import exit_status
from mdet_openmm.settings import OneLineParser, add_flags, from_namespace
from mdet_openmm.studies.settings import AblationSettings, MapSettings, ProtocolSettings, StudySettings

Settings = TypeVar("Settings", bound=StudySettings)


def main_ablation(argv: Sequence[str] | None = None) -> int:
    """``simulations/ablate_nve.py``; returns the exit status."""
    parser = OneLineParser(
        prog="ablate_nve.py", description="Runs of one molecule at constant energy under several conditions."
    )
    add_flags(parser, AblationSettings, positional=("system",))

    def study(settings: AblationSettings, given: Collection[str]) -> None:
        from mdet_openmm.studies.ablation import ablate

        ablate(settings, given)

    return _run(AblationSettings, parser.parse_args(argv), study)


def main_map(argv: Sequence[str] | None = None) -> int:
    """``simulations/map_stability.py``; returns the exit status."""
    parser = OneLineParser(prog="map_stability.py", description="Runs of many molecules at constant energy.")
    add_flags(parser, MapSettings)

    def study(settings: MapSettings, given: Collection[str]) -> None:
        from mdet_openmm.studies.stability_map import map_stability

        map_stability(settings, given)

    return _run(MapSettings, parser.parse_args(argv), study)


def main_protocol(argv: Sequence[str] | None = None) -> int:
    """``simulations/benchmark_nvt.py``; returns the exit status."""
    parser = OneLineParser(
        prog="benchmark_nvt.py", description="Stability and h(r) error of NVT dynamics (Fu et al., 2210.07237)."
    )
    add_flags(parser, ProtocolSettings, positional=("model",))
    parser.add_argument(
        "references",
        metavar="REFERENCE",
        nargs="+",
        type=Path,
        help="reference trajectory: xyz, extxyz, npz, a DCD with a PDB beside it, or a run folder",
    )
    arguments = parser.parse_args(argv)

    def study(settings: ProtocolSettings, given: Collection[str]) -> None:
        from mdet_openmm.studies.protocol import benchmark

        benchmark(settings, arguments.references, given)

    return _run(ProtocolSettings, arguments, study)


def _run(cls: type[Settings], arguments: argparse.Namespace, study: Callable[[Settings, Collection[str]], Any]) -> int:
    settings = from_namespace(cls, arguments)
    if settings.quiet:
        logging.getLogger("mdet_openmm").setLevel(logging.ERROR)
    given = vars(arguments).keys() & {field.name for field in dataclasses.fields(cls)}
    return exit_status(lambda: study(settings, given))
