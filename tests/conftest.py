"""Before torch is loaded: its threads sleep while they wait, so that tests can share a machine."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
