"""The command line of an NVT run, shared by ``simulations/run_nvt.py`` and ``mdet run-nvt``."""

import argparse
import dataclasses
import logging
import os

from mdet_openmm.errors import exit_status
from mdet_openmm.settings import OneLineParser, add_flags, from_namespace
from mdet_openmm.simulation.settings import NvtSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add SYSTEM and all flags."""
    add_flags(parser, NvtSettings, positional=("system",))


def run(arguments: argparse.Namespace) -> None:
    """Run with parsed arguments; on a restart those that were not given are the stored run's."""
    # Threads that spin for long while they wait slow a run down a hundredfold when other programs want the cores; those
    # that never do are woken too late for small matrices. The setting, some 50 µs, is read when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    # Late, so that --help needs neither torch nor OpenMM.
    from mdet_openmm.simulation.nvt import run_nvt

    settings = from_namespace(NvtSettings, arguments)
    if settings.quiet:
        logging.getLogger("mdet_openmm").setLevel(logging.ERROR)
    run_nvt(settings, given=vars(arguments).keys() & {field.name for field in dataclasses.fields(NvtSettings)})


def main(argv: list[str] | None = None) -> int:
    """Parse, run, and return the exit status: 0 done, 2 bad input, 3 stopped for its physics, 130 interrupted."""
    parser = OneLineParser(prog="run_nvt.py", description="NVT dynamics of one molecule with an MD-ET model")
    add_arguments(parser)
    arguments = parser.parse_args(argv)
    return exit_status(lambda: run(arguments))
