"""What tests need of the process that they run in."""

import os
import signal

# Before torch is loaded: its threads sleep while they wait, so that tests can share a machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A shell that runs the tests in the background has had Ctrl-C ignored, here and in every process that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
