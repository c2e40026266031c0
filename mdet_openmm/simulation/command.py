"""The command lines of NVT and NVE runs, shared by ``simulations/run_*.py`` and ``mdet run-*``."""

import argparse
import dataclasses
import logging
import os

from mdet_openmm.errors import InputError, exit_status
from mdet_openmm.flags import OneLineParser, add_flags, from_namespace
from mdet_openmm.simulation.protocol import fixed
from mdet_openmm.simulation.settings import NveSettings, NvtSettings, RunSettings


def add_arguments(parser: argparse.ArgumentParser, kind: type[RunSettings]) -> None:
    """Add SYSTEM and all flags of one kind of run."""
    add_flags(parser, kind, positional=("system",))


def run(arguments: argparse.Namespace, kind: type[RunSettings]) -> None:
    """Run with parsed arguments; on a restart those that were not given are the stored run's."""
    # Threads that spin for long while they wait slow a run down a hundredfold when other programs want the cores; those
    # that never do are woken too late for small matrices. The setting, some 50 µs, is read when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    settings = from_namespace(kind, arguments)
    given = vars(arguments).keys() & {field.name for field in dataclasses.fields(kind)}
    for name, value in fixed(getattr(settings, "protocol", None)).items():  # a default that was given counts too
        if name in given and getattr(arguments, name) != value:
            raise InputError(f"--{name.replace('_', '-')} is {value} in --protocol {arguments.protocol}; leave it out")
    if settings.quiet:
        logging.getLogger("mdet_openmm").setLevel(logging.ERROR)
    # Late, so that --help needs neither torch nor OpenMM.
    if isinstance(settings, NveSettings):
        from mdet_openmm.simulation.nve import run_nve

        run_nve(settings, given)
    elif isinstance(settings, NvtSettings):
        from mdet_openmm.simulation.nvt import run_nvt

        run_nvt(settings, given)


def main(argv: list[str] | None = None, kind: type[RunSettings] = NvtSettings) -> int:
    """Parse, run, and return the exit status: 0 done, 2 bad input, 3 stopped for its physics, 130 interrupted."""
    name = kind.ensemble
    parser = OneLineParser(
        prog=f"run_{name}.py", description=f"{name.upper()} dynamics of one molecule with an MD-ET model"
    )
    add_arguments(parser, kind)
    return exit_status(lambda: run(parser.parse_args(argv), kind))
