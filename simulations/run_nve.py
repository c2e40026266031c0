"""Run NVE dynamics: ``python simulations/run_nve.py molecule.pdb --time 10``; ``--help`` shows all flags."""

import sys

from mdet_openmm.simulation.command import main
from mdet_openmm.simulation.settings import NveSettings

if __name__ == "__main__":
    sys.exit(main(kind=NveSettings))
