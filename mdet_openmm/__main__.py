"""``python -m mdet_openmm``: the ``mdet`` command."""

import sys

from mdet_openmm.cli import main

if __name__ == "__main__":
    sys.exit(main())
