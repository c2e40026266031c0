"""Output that does not end a command: terminals without our letters, and readers that go away."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


class _Lasting:
    """A text stream whose reader may go away, as ``head`` does: what follows is written to nobody.

    Parameters
    ----------
    stream
        To write to.
    ignored
        Errors in writing that are no errors.
    """

    def __init__(self, stream: Any, ignored: type[OSError] = BrokenPipeError) -> None:
        self._stream, self._ignored = stream, ignored

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or do as if."""
        try:
            return int(self._stream.write(text))
        except self._ignored:
            self._let_go()
            return len(text)

    def flush(self) -> None:
        """Flush, or do as if."""
        try:
            self._stream.flush()
        except self._ignored:
            self._let_go()

    def end(self) -> None:
        """Flush; what cannot be written is dropped, not tried again when the interpreter ends."""
        try:
            self._stream.flush()
        except (OSError, ValueError):  # a full disk; a stream that was closed
            self._let_go()

    def _let_go(self) -> None:
        # the descriptor too: what is left in the buffer is written when the interpreter ends
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def lasting_output() -> Iterator[None]:
    """Within it, letters that the terminal lacks are replaced in what is printed, and a closed pipe is no error.

    Nor is anything that befalls stderr: there is nobody to tell. A stream that was closed from the beginning is one to
    nobody, and not the next file that is opened.
    """
    before = sys.stdout, sys.stderr
    out, err = (stream or open(os.devnull, "w") for stream in before)  # noqa: SIM115 (to the end of the process)
    for stream in (out, err):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    ours = _Lasting(out), _Lasting(err, OSError)
    sys.stdout, sys.stderr = ours
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in ours:
            stream.end()
