"""Can this model be trusted with this molecule? Numbers, plots and a verdict on one page.

python simulations/diagnose.py MODEL SYSTEM [--temperature K] [--output DIR]; --help shows all flags.
"""

import sys

from mdet_openmm.trust.command import main

if __name__ == "__main__":
    sys.exit(main())
