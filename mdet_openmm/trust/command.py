"""The command line of a diagnosis, shared by ``simulations/diagnose.py`` and ``mdet diagnose``."""

import argparse
import logging
from collections.abc import Sequence

from mdet_openmm.errors import exit_status
from mdet_openmm.flags import OneLineParser, add_flags, from_namespace
from mdet_openmm.trust.settings import DiagnoseSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add MODEL, SYSTEM and all flags."""
    add_flags(parser, DiagnoseSettings, positional=("model", "system"))


def run(arguments: argparse.Namespace) -> None:
    """Diagnose, and print the verdict and where the report is."""
    # Late, so that --help needs neither torch nor OpenMM.
    from mdet_openmm.trust.diagnose import PAGE_NAME, diagnose

    settings = from_namespace(DiagnoseSettings, arguments)
    if settings.quiet:
        logging.getLogger("mdet_openmm").setLevel(logging.ERROR)
    found = diagnose(settings)
    if not settings.quiet:
        for verdict in found["verdicts"]:
            print(verdict["text"])
        print(f"report: {settings.folder / PAGE_NAME}")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, diagnose, and return the exit status: 0 done, 2 bad input, 3 forces that are not finite."""
    parser = OneLineParser(prog="diagnose.py", description="Can this model be trusted with this molecule?")
    add_arguments(parser)
    return exit_status(lambda: run(parser.parse_args(argv)))
