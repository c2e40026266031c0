"""Fu et al.'s benchmark, ``python simulations/benchmark_nvt.py MODEL REFERENCE...``; ``--help`` shows all flags."""

import sys

from mdet_openmm.studies.command import main

if __name__ == "__main__":
    sys.exit(main("benchmark-nvt"))
