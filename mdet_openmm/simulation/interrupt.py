"""Ctrl-C and SIGTERM as a request that the run answers at a moment of its choosing."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupt:
    """Within ``with Interrupt() as interrupt``: SIGINT and SIGTERM set ``interrupt.asked``; a second one ends at once.

    In a thread other than the main one, where signals cannot be caught, nothing changes.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
