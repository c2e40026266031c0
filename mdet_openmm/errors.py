"""The ways a command ends early, and the exit status of each."""

import contextlib
import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from mdet_openmm.terminal import lasting_output


class InputError(ValueError):
    """What the user gave cannot be used; one line that says what is wrong and what to do. Exit status 2."""


class RunStopped(RuntimeError):
    """A run was stopped: its physics went wrong (NaN, a broken bond, a runaway), or a worker died. Exit status 3."""


class TimeIsUp(KeyboardInterrupt):
    """A run was stopped, as with Ctrl-C, because ``--max-walltime`` was nearly over. Exit status 130."""


_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_ACCESS: Final = (errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ESTALE)
_NO_MEMORY: Final = ("allocate memory", "out of memory", "bad_alloc")


def what_ran_out(error: BaseException | None) -> str | None:
    """What the machine did not give, in words, if that is why an exception was raised; None if it is not.

    Libraries in C++ (HDF5, TorchScript under OpenMM) raise other types, whose text has the system's message.
    """
    text = str(error)
    where = f" {os.fsdecode(error.filename)}" if isinstance(error, OSError) and error.filename is not None else ""
    for number in _NO_ROOM:
        if getattr(error, "errno", None) == number or os.strerror(number) in text:
            return f"cannot write{where}: the disk is full or a quota is reached ({os.strerror(number)}); make room"
    if isinstance(error, OSError) and error.errno in _NO_ACCESS:
        return f"cannot use{where or ' a file'}: {os.strerror(error.errno)}"
    if isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY):
        last = (text.strip().splitlines() or [""])[-1][:200]
        return f"out of memory{f' ({last})' if last else ''}; free some, or ask for less"
    return None


def was_interrupted(error: BaseException) -> bool:
    """Whether an exception is a KeyboardInterrupt, or what C++ has made of one that Python code under it raised."""
    return isinstance(error, KeyboardInterrupt) or "KeyboardInterrupt: " in str(error)


@contextlib.contextmanager
def interrupts() -> Iterator[None]:
    """Raise the KeyboardInterrupt of which TorchScript made a RuntimeError: Ctrl-C met Python code under it."""
    try:
        yield
    except RuntimeError as error:
        if was_interrupted(error):
            raise KeyboardInterrupt from error
        raise


def exit_status(command: Callable[[], None]) -> int:
    """Run a command and turn its outcome into an exit status, the same for every door of the package.

    Parameters
    ----------
    command
        What to run.

    Returns
    -------
    int
        0 done, 2 bad input, 3 a run that was stopped for its physics or because disk or memory ran out, 130
        interrupted with Ctrl-C, SIGTERM or by ``--max-walltime``. Errors print one line on stderr; any other exception
        is a defect of ours and keeps its traceback.
    """
    global _began
    before, _began = _began, time.monotonic()
    try:
        with _told_once(), lasting_output():
            return _outcome(command)
    finally:
        _began = before


@contextlib.contextmanager
def _told_once() -> Iterator[None]:
    """What ran out is told by the command; threads and destructors that meet it too print no tracebacks."""
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook

    def quiet(hook: Callable[..., Any], value: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: None if what_ran_out(value(*args)) else hook(*args)

    sys.excepthook = quiet(hooks[0], lambda kind, error, trace: error)
    sys.unraisablehook = quiet(hooks[1], lambda args: args.exc_value)
    threading.excepthook = quiet(hooks[2], lambda args: args.exc_value)
    try:
        yield
    finally:
        sys.excepthook, sys.unraisablehook, threading.excepthook = hooks


_began: float | None = None


def began() -> float:
    """``time.monotonic()`` at the start of the command that is running; now, if none is."""
    return time.monotonic() if _began is None else _began


def _outcome(command: Callable[[], None]) -> int:
    try:
        command()
        print(end="", flush=True)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RunStopped as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 3
    except (Exception, KeyboardInterrupt) as error:
        if was_interrupted(error):
            why = " by --max-walltime" if isinstance(error, TimeIsUp) else ""
            print(f"interrupted{why}; a command that has --restart goes on with it", file=sys.stderr)
            return 130
        reason = what_ran_out(error)
        if reason is None:
            raise
        print(f"stopped: {reason}; a command that has --restart goes on with it", file=sys.stderr)
        return 3
    return 0
