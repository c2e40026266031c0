"""Ctrl-C and SIGTERM as a request that the run answers at a moment of its choosing."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from mdet_openmm.signal_stack import separate_signal_stack
from mdet_openmm.walltime import Deadline


class Interrupt:
    """Within ``with Interrupt() as interrupt``: SIGINT and SIGTERM set ``interrupt.asked``; a second one ends at once.

    In a thread other than the main one, where signals cannot be caught, they change nothing.

    Parameters
    ----------
    deadline
        Shortly before which it is set too.
    """

    def __init__(self, deadline: Deadline | None = None) -> None:
        self._asked = False
        self._deadline = deadline or Deadline(None)
        self._before: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether to stop; to be looked at between pieces of work."""
        return self._asked or self._deadline.near()

    def ask(self, *signal: Any) -> None:
        """Set it."""
        self._asked = True
        self._restore()

    def __enter__(self) -> "Interrupt":
        self.listen()
        return self

    def listen(self) -> None:
        """Listen to the signals; once more if other code has put its own handlers in the place of these."""
        if threading.current_thread() is threading.main_thread():
            separate_signal_stack()
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.signal(number, self.ask)
                self._before.setdefault(number, handler)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Within it signals wait. An exception raised while TorchScript writes into a Python file aborts the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGALRM") if hasattr(signal, name)]
    before = {n: signal.signal(n, lambda number, frame: came.append(number)) for n in numbers if signal.getsignal(n)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)
