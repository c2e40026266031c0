"""Analyse an output folder of run_nvt.py or run_nve.py: numbers, plots and a page to look at.

python simulations/analyze.py DIR [--reference OTHER] [--output DIR]
"""

import sys
from collections.abc import Sequence

from mdet_openmm.analysis.report import run_analysis
from mdet_openmm.analysis.settings import AnalyzeSettings
from mdet_openmm.errors import exit_status
from mdet_openmm.flags import OneLineParser, add_flags, from_namespace


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the flags and analyse; returns the exit status."""
    parser = OneLineParser(prog="analyze.py", description="Analyse an output folder of run_nvt.py or run_nve.py.")
    add_flags(parser, AnalyzeSettings, positional=["folder"])

    def command() -> None:
        run_analysis(from_namespace(AnalyzeSettings, parser.parse_args(arguments)))

    return exit_status(command)


if __name__ == "__main__":
    sys.exit(main())
