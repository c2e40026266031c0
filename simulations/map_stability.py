"""NVE of many molecules, ``python simulations/map_stability.py``; ``--help`` shows all flags."""

import sys

from mdet_openmm.studies.command import main

if __name__ == "__main__":
    sys.exit(main("map-stability"))
