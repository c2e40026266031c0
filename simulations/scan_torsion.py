"""Scan a dihedral: ``python simulations/scan_torsion.py ethanol.pdb 9-3-2-1``; ``--help`` shows all flags."""

import sys
from collections.abc import Sequence

from mdet_openmm.errors import exit_status
from mdet_openmm.flags import OneLineParser, add_flags, from_namespace
from mdet_openmm.simulation.scan import run_scan
from mdet_openmm.simulation.torsion_settings import ScanSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the flags and scan; returns the exit status."""
    parser = OneLineParser(prog="scan_torsion.py", description="A relaxed scan of a dihedral with an MD-ET model.")
    add_flags(parser, ScanSettings, positional=("system", "dihedral"))

    def command() -> None:
        run_scan(from_namespace(ScanSettings, parser.parse_args(arguments)))

    return exit_status(command)


if __name__ == "__main__":
    sys.exit(main())
