"""TorchScript, made safe: its errors come back as exceptions, its modules may be made in threads, its graphs stay as
they are written."""

import functools
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

import torch
from torch import nn

from mdet_openmm.interrupt import held_back

R = TypeVar("R")

MAKING: Final = threading.RLock()
"""Held while modules are made, frozen or handed to OpenMM. TorchScript compiles into tables that all threads share and
guards none of them: two threads that script modules of one class meet "Can't redefine method"."""


def once(function: Callable[..., R]) -> Callable[..., R]:
    """Call a function once for the same arguments, and in one thread at a time; a trial of what works here."""
    cached = functools.cache(function)

    @functools.wraps(function)
    def one_thread(*args: Any, **kwargs: Any) -> R:
        with MAKING:
            return cached(*args, **kwargs)

    return one_thread


def script(module: nn.Module) -> torch.jit.ScriptModule:
    """A module in eval mode as TorchScript that may be frozen and may fail; see `inline`."""
    with MAKING:
        return inline(torch.jit.script(module.eval()))


def inline(module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """Write the calls in a module's ``forward`` out, in place; it computes the same.

    Freezing, which TorchForce does too, does so by itself, notes for every operation the method that it came from, and
    then deletes these methods. An operation that fails (no memory, a wrong shape) looks for their names, and the
    process dies of a segmentation fault (torch 2.9). Methods that are written out beforehand are not deleted.
    """
    with MAKING:
        torch._C._jit_pass_inline(module.graph)
        return module


def as_bytes(module: torch.jit.ScriptModule, **extra_files: str) -> bytes:
    """What ``module.save`` writes, which itself aborts the process where a disk is full."""
    with MAKING, held_back():
        return bytes(module.save_to_buffer(_extra_files=extra_files))


def run_plainly() -> None:
    """Tell TorchScript, for this process, to run graphs as they are written.

    Otherwise it watches the first calls of a module and rewrites its graph for them. For these modules that gains
    nothing on a CPU (there is nothing to fuse), makes the second and third call take up to seconds, changes last bits
    between the first calls and the later ones, so that a restart is not exact, and its own differentiation of frozen
    graphs of mixed precision crashes the process (torch 2.9).
    """
    torch.jit.set_fusion_strategy([])


def refuse_second_derivative() -> None:
    """Within the derivative of an operator: it has no graph, and would silently be taken for a constant."""
    if torch.is_grad_enabled():
        raise RuntimeError("compiled operators can be differentiated only once; bind the force with compiled=False")
