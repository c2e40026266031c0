"""Free energy of a dihedral: ``python simulations/metadynamics.py ethanol.pdb 9-3-2-1``; ``--help`` shows all flags."""

import sys
from collections.abc import Sequence

from mdet_openmm.errors import exit_status
from mdet_openmm.flags import OneLineParser, add_flags, from_namespace
from mdet_openmm.simulation.metadynamics import run_metadynamics
from mdet_openmm.simulation.torsion_settings import MetadynamicsSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the flags and run; returns the exit status."""
    parser = OneLineParser(prog="metadynamics.py", description="Well-tempered metadynamics of a dihedral.")
    add_flags(parser, MetadynamicsSettings, positional=("system", "dihedral"))

    def command() -> None:
        run_metadynamics(from_namespace(MetadynamicsSettings, parser.parse_args(arguments)))

    return exit_status(command)


if __name__ == "__main__":
    sys.exit(main())
