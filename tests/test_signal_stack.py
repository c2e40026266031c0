"""Signals that arrive in the middle of oneDNN's code, in processes of their own."""

import os
import subprocess
import sys

import pytest

from mdet_openmm.export.fast_linear import onednn_problem

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="stacks of their own are made on Linux")

SHOWERED = """
import signal, time, torch
from torch import nn
from mdet_openmm.export.fast_linear import use_onednn
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
model = nn.Sequential(nn.Linear(96, 384)).requires_grad_(False)
assert use_onednn(model)
x = torch.randn(12, 26, 26, 96, generator=generator)
expected = model(x).clone()
came = 0
def count(number, frame):
    global came
    came += 1
signal.signal(signal.SIGALRM, count)
signal.setitimer(signal.ITIMER_REAL, 5e-4, 5e-4)
end, same, calls = time.time() + 5, 0, 0
while time.time() < end:
    same += torch.equal(model(x), expected)
    calls += 1
signal.setitimer(signal.ITIMER_REAL, 0)
assert came > 100, came
assert same == calls, (same, calls)
"""

STACK = """
import ctypes, threading
from mdet_openmm.interrupt import Interrupt
from mdet_openmm.signal_stack import SIZE, _Stack, separate_signal_stack
libc = ctypes.CDLL(None)
def stack():
    found = _Stack()
    assert libc.sigaltstack(None, ctypes.byref(found)) == 0
    return found.start, found.flags, found.size
assert stack()[1:] == (2, 0)
with Interrupt():
    first = stack()
assert first[0] and first[1:] == (0, SIZE)
separate_signal_stack()
assert stack() == first
found = []
def thread():
    separate_signal_stack()
    found.append(stack())
other = threading.Thread(target=thread)
other.start()
other.join()
assert found[0][2] == SIZE and found[0][0] != first[0]
"""

ANOTHERS = """
import ctypes, faulthandler
from mdet_openmm.signal_stack import _Stack, separate_signal_stack
faulthandler.enable()
before, after = _Stack(), _Stack()
ctypes.CDLL(None).sigaltstack(None, ctypes.byref(before))
separate_signal_stack()
ctypes.CDLL(None).sigaltstack(None, ctypes.byref(after))
assert before.start == after.start and before.start
"""


@pytest.mark.skipif(bool(onednn_problem()), reason="oneDNN does not work here")
@pytest.mark.parametrize("program", [SHOWERED, STACK, ANOTHERS], ids=["showered", "one for each thread", "another's"])
def test_signals_have_a_stack_of_their_own(program: str) -> None:
    """Without one the first ends with "corrupted size vs. prev_size" or wrong sums on a processor with AVX-512."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONFAULTHANDLER"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
