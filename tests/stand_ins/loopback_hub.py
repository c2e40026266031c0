"""A server on loopback for what the Hugging Face hub answers, and the environment of processes that ask it."""

import contextlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar


class LoopbackHub(ThreadingHTTPServer):
    """What a test's hub has and was asked for is kept in a subclass, whose handler says what it answers."""

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def environment(self, home: Path) -> dict[str, str]:
        """Of a process that takes this for the hub: the library reads it when it is imported."""
        kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(("HF_", "HUGGING"))}
        # Without xet, which has a server of its own; proxies are for elsewhere.
        here = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*"}
        return {**kept, **here, "OMP_NUM_THREADS": "1"}


H = TypeVar("H", bound=LoopbackHub)


@contextlib.contextmanager
def served(hub: H) -> Iterator[H]:
    """Answer until the end of the context."""
    threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield hub
    hub.shutdown()
    hub.server_close()


class Answer(BaseHTTPRequestHandler):
    """One request; the connection is closed after its answer."""

    def answer(
        self,
        status: int,
        body: bytes | dict[str, Any],
        headers: Mapping[str, str] | None = None,
        cut: int | None = None,
    ) -> None:
        """Send a body, a mapping as JSON; after ``cut`` bytes it breaks off."""
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:cut])

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""
