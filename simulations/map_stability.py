"""NVE of many molecules, ``python simulations/map_stability.py``; ``--help`` shows all flags."""

import sys

from mdet_openmm.studies.command import main_map

if __name__ == "__main__":
    sys.exit(main_map())
