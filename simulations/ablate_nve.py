"""The ablation of NVE, ``python simulations/ablate_nve.py molecule.pdb``; ``--help`` shows all flags."""

import sys

from mdet_openmm.studies.command import main

if __name__ == "__main__":
    sys.exit(main("ablate-nve"))
