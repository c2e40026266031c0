"""Run NVT dynamics: ``python simulations/run_nvt.py molecule.pdb --time 10``; ``--help`` shows all flags."""

import sys

from mdet_openmm.simulation.command import main

if __name__ == "__main__":
    sys.exit(main())
