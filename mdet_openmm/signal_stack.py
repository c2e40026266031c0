"""A stack of their own for signal handlers, so that Ctrl-C and SIGTERM harm no computation.

oneDNN's fp32 matrix products for AVX-512 (PyTorch 2.9) keep numbers below the stack pointer, farther than the 128 bytes
that a signal leaves alone. A handler that runs on the stack of the thread that computes overwrites them: the heap is
damaged, and the process dies some milliseconds later, or goes on with a wrong result. Python's handlers run on an
alternate stack where a thread has one.
"""

import ctypes
import sys
from typing import Any, ClassVar, Final

SIZE: Final = 64 * 1024
"""Bytes; a frame with all registers of AVX-512 takes 3 kB, with AMX's 11."""
_DISABLED: Final = 2


class _Stack(ctypes.Structure):
    """``stack_t`` of Linux."""

    _fields_: ClassVar[Any] = [("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


_kept: list[Any] = []
"""Memory that the kernel writes to for as long as the threads live."""


def separate_signal_stack() -> None:
    """Give this thread an alternate stack for signal handlers, if it has none; on Linux, elsewhere nothing happens."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    there = _Stack()
    if libc.sigaltstack(None, ctypes.byref(there)) != 0 or not there.flags & _DISABLED:
        return  # made here before, or another's: faulthandler's for example
    memory = ctypes.create_string_buffer(SIZE)
    if libc.sigaltstack(ctypes.byref(_Stack(ctypes.addressof(memory), 0, SIZE)), None) == 0:
        _kept.append(memory)
