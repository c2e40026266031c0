"""``--max-walltime``: a command that stops by itself, as with Ctrl-C, before a queue would kill it."""

import argparse
import contextlib
import math
import re
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Final

from mdet_openmm.errors import TimeIsUp, began

RESERVE_SECONDS: Final = 5.0
RESERVE_SHARE: Final = 0.1
"""What is kept for the end, the checkpoint written: so many seconds, of short times this part."""
HELP: Final = "stop with a checkpoint before so many hours (or H:MM:SS) have passed; --restart goes on"


class Walltime(float):
    """A length of time in hours, from a number or from text: "1.5" or "1:30:00".

    Raises
    ------
    argparse.ArgumentTypeError
        If it is no length of time above 0; a ValueError would lose the reason on a command line.
    """

    def __new__(cls, hours: float | str) -> "Walltime":
        clock = re.fullmatch(r"(\d+):([0-5]?\d):([0-5]?\d)", hours.strip()) if isinstance(hours, str) else None
        try:
            value = sum(int(p) / 60.0**k for k, p in enumerate(clock.groups())) if clock else float(hours)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0.0):
            raise argparse.ArgumentTypeError(f"a time is a number of hours above 0 or H:MM:SS, not {hours}")
        return super().__new__(cls, value)


class Deadline:
    """When a command must have ended.

    Parameters
    ----------
    hours
        From the start of the command, or in other programs from now; None: no end.
    """

    def __init__(self, hours: float | None) -> None:
        start = began()
        self.seconds = math.inf if hours is None else 3600.0 * Walltime(hours)
        self._end = start + self.seconds
        self._reserve = min(RESERVE_SECONDS, RESERVE_SHARE * self.seconds)
        self._looked: float | None = None
        self._longest = 0.0
        self._over = False

    def near(self) -> bool:
        """Whether to stop now. Asked between pieces of work, the longest of which so far may be still to come."""
        now = time.monotonic()
        if self._looked is not None:
            self._longest = max(self._longest, now - self._looked)
        self._looked = now
        self._over = self._over or now + 2.0 * self._longest + self._reserve > self._end
        return self._over

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Within it, work that does not ask is interrupted, as by Ctrl-C, shortly before the end.

        Raises
        ------
        TimeIsUp
            In place of a KeyboardInterrupt that came of this or of `near`.
        """
        in_main = threading.current_thread() is threading.main_thread()
        timed = math.isfinite(self.seconds) and in_main and hasattr(signal, "setitimer")
        if timed:
            before = signal.signal(signal.SIGALRM, self._ring)
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, self._end - 0.5 * self._reserve - time.monotonic()))
        try:
            yield
        except KeyboardInterrupt:
            if self._over:
                raise TimeIsUp from None
            raise
        finally:
            if timed:
                signal.setitimer(signal.ITIMER_REAL, 0.0)
                signal.signal(signal.SIGALRM, before)

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if self._over:  # the end is under way
            return
        self._over = True
        # not raise_signal: in a job that a shell has put in the background SIGINT is ignored
        handler = signal.getsignal(signal.SIGINT)
        if not callable(handler):
            raise KeyboardInterrupt
        handler(signal.SIGINT, frame)
