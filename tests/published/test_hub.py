"""Downloads from a hub on loopback that answers as the Hugging Face hub does."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from loopback_hub import Answer, LoopbackHub, served

from mdet_openmm.errors import InputError
from mdet_openmm.published.hub import download, is_hub

pytest.importorskip("huggingface_hub")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FETCH = """
import dataclasses, json, os, resource, sys
from mdet_openmm.errors import exit_status
from mdet_openmm.published.hub import download
largest = int(os.environ.get("LARGEST_FILE", -1))
resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
sys.exit(exit_status(lambda: print(json.dumps(dataclasses.asdict(download(*sys.argv[1:])), default=str))))
"""


class Hub(LoopbackHub):
    """A repository me/nets: its files, how it misbehaves, and what it was asked for."""

    def __init__(self) -> None:
        super().__init__(Download)
        self.files = {
            "README.md": b"nets",
            "12l/.hydra/config.yaml": b"train: {model: {num_heads: 4}}\n",
            "12l/.hydra/hydra.yaml": b"hydra: {}\n",
            "12l/.hydra/log.txt": b"not wanted",
            "12l/ckpts/best_model.pth": os.urandom(3000),
            "12l/ckpts/last.pth": os.urandom(3000),
            "runs/4l/.hydra/config.yaml": b"train: {}\n",
            "runs/4l/ckpts/a.pth": b"a",
            "runs/4l/ckpts/b.pth": b"b",
        }
        self.refused: dict[str, tuple[int, str]] = {}  # start of a path: status, X-Error-Code
        self.cuts: list[int] = []  # bytes after which the next downloads of a checkpoint break off
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    def downloads(self) -> dict[str, list[str | None]]:
        """Files that were asked for, and the range of each request."""
        found: dict[str, list[str | None]] = {}
        for method, path, headers in self.asked:
            if method == "GET" and "/resolve/" in path:
                found.setdefault(path.partition(f"/resolve/{COMMIT}/")[2], []).append(headers.get("range"))
        return found


class Download(Answer):
    """What the hub says to one request."""

    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.server, unquote(urlsplit(self.path).path)
        hub.asked.append((self.command, path, {k.lower(): v for k, v in self.headers.items()}))
        api = "/api/models/me/nets"
        refusal = next((answer for start, answer in hub.refused.items() if path.startswith(start)), None)
        if refusal:
            self.answer(refusal[0], b"{}", {"X-Error-Code": refusal[1]})
        elif path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
            siblings = [{"rfilename": name} for name in hub.files]
            self.answer(200, {"id": "me/nets", "sha": COMMIT, "siblings": siblings})
        elif path.startswith(f"{api}/revision/"):
            self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif path == f"{api}/tree/{COMMIT}":
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in hub.files.items()
            ]
            self.answer(200, json.dumps(tree).encode())
        elif path.startswith(f"/me/nets/resolve/{COMMIT}/"):
            self.file(hub.files[path.partition(f"/resolve/{COMMIT}/")[2]], path)
        else:
            self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def file(self, content: bytes, path: str) -> None:
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        start = int((self.headers.get("Range") or "bytes=0-")[len("bytes=") :].rstrip("-"))
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        cut = self.server.cuts.pop(0) if self.server.cuts and self.command == "GET" and path.endswith(".pth") else None
        self.answer(206 if start else 200, content[start:], headers, cut)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with served(Hub()) as server:
        yield server


class Client:
    """Runs downloads in processes of their own: the library reads the environment when it is imported."""

    def __init__(self, hub: Hub, home: Path) -> None:
        fast = {"HF_HUB_DOWNLOAD_TIMEOUT": "3", "HF_HUB_ETAG_TIMEOUT": "3", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        self.environment = {**hub.environment(home), **fast}

    def run(self, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command, variables = [sys.executable, "-c", FETCH, *args], {**self.environment, **environment}
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=50)

    def fetch(self, *args: str, **environment: str) -> dict[str, str]:
        done = self.run(*args, **environment)
        assert done.returncode == 0, done.stderr
        found: dict[str, str] = json.loads(done.stdout)
        return found

    def error(self, *args: str, **environment: str) -> str:
        done = self.run(*args, **environment)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "Traceback" not in done.stderr and done.stderr.count("error: ") == 1
        return done.stderr.rstrip().splitlines()[-1]


@pytest.fixture
def client(hub: Hub, tmp_path: Path) -> Client:
    return Client(hub, tmp_path / "home")


WANTED = {"12l/.hydra/config.yaml", "12l/.hydra/hydra.yaml", "12l/ckpts/best_model.pth"}


def test_downloads_what_is_wanted_and_then_uses_the_cache(hub: Hub, client: Client) -> None:
    found = client.fetch("hf://me/nets/12l")
    assert (found["repository"], found["subfolder"], found["revision"]) == ("me/nets", "12l", COMMIT)
    assert set(hub.downloads()) == WANTED
    for name in WANTED:
        assert Path(found["path"], name.removeprefix("12l/")).read_bytes() == hub.files[name]
    assert all("authorization" not in headers for _, _, headers in hub.asked)

    hub.asked.clear()
    assert client.fetch(f"hf://me/nets@{COMMIT}/12l/") == found and not hub.downloads()
    assert not any(path.endswith("/main") for _, path, _ in hub.asked)
    hub.refused = {"/": (401, "")}
    assert "no access to" in client.error("hf://me/nets/12l")
    hub.refused = {"/": (503, "")}
    assert client.fetch("hf://me/nets/12l") == found
    hub.shutdown()
    hub.server_close()
    done = client.run("hf://me/nets@main/12l", "best_model")
    assert json.loads(done.stdout) == found and COMMIT in done.stderr
    assert client.fetch("hf://me/nets/12l", HF_HUB_OFFLINE="1") == found
    assert "cannot be reached and is not in" in client.error("hf://me/nets/12l", "last")


def test_a_named_checkpoint_and_a_token(hub: Hub, client: Client) -> None:
    found = client.fetch("hf://me/nets@main/runs/4l", "b", HF_TOKEN="hf_secret")
    assert sorted(path.name for path in Path(found["path"], "ckpts").iterdir()) == ["b.pth"]
    tokens = [headers.get("authorization") for _, path, headers in hub.asked if "me/nets" in path]
    assert len(tokens) > 4 and set(tokens) == {"Bearer hf_secret"}


def test_refusals(hub: Hub, client: Client) -> None:
    source = "hf://me/nets/12l"
    for where in ("/me/nets/resolve/", "/api/models/"):  # a public page whose files are gated, and all of it
        hub.refused = {where: (403, "GatedRepo")}
        assert f"me/nets is gated: ask for access on {hub.url}/me/nets while logged in" in client.error(source)
    hub.refused = {"/api/models/": (401, "")}
    assert "no access to" in (error := client.error(source, HF_TOKEN="hf_secret")) and "hf_secret" not in error
    hub.refused = {}
    assert "no access to" in client.error("hf://me/other/12l")
    assert "has no such revision" in client.error("hf://me/nets@v9/12l")
    assert "folders with ckpts: 12l, runs/4l" in client.error("hf://me/nets/13l")
    assert "--checkpoint: a.pth, b.pth" in client.error("hf://me/nets/runs/4l")
    assert "--checkpoint: best_model.pth, last.pth" in client.error(source, "first")
    assert not hub.downloads()


def test_no_network_and_no_space(client: Client) -> None:
    advice = "`hf download me/nets --revision v1 --include '12l/*' --local-dir FOLDER`"
    assert advice in client.error("hf://me/nets@v1/12l", HF_ENDPOINT="http://127.0.0.1:1")
    assert "HF_HUB_OFFLINE" in client.error("hf://me/nets/12l", HF_HUB_OFFLINE="1")
    assert "cannot write to" in client.error("hf://me/nets/12l", LARGEST_FILE="2500")


def test_a_broken_download_goes_on(hub: Hub, client: Client) -> None:
    name = "12l/ckpts/best_model.pth"
    hub.files[name] = os.urandom(12 * 2**20)
    hub.cuts = [11 * 2**20]  # the library writes 10 MiB at a time
    client.run("hf://me/nets/12l")  # in which version 2 of the library goes on, unlike version 1
    found = client.fetch("hf://me/nets/12l")
    assert hub.downloads()[name] == [None, f"bytes={10 * 2**20}-"]
    assert Path(found["path"], "ckpts/best_model.pth").read_bytes() == hub.files[name]


def test_a_download_that_breaks_for_good_can_be_repeated(hub: Hub, client: Client) -> None:
    hub.cuts = [1000] * 20
    assert "broke off; run the same command again" in client.error("hf://me/nets/12l")
    hub.cuts.clear()
    hub.asked.clear()
    found = client.fetch("hf://me/nets/12l")
    assert set(hub.downloads()) == {"12l/ckpts/best_model.pth"}
    assert Path(found["path"], "ckpts/best_model.pth").read_bytes() == hub.files["12l/ckpts/best_model.pth"]


NO_REPOSITORY = ("", "me", "me/", "/nets", "me//12l", "me/n--s", "-me/nets", "me/nets.git", "me@v1/nets", "me /nets")
NO_FOLDER = ("me/nets//12l", "me/nets/../12l", "me/nets/12l\\x", "me/nets/a b", "me/nets/12l//", "me/nets\n")
NO_REVISION = ("me/nets@", "me/nets@/12l", "me/nets@v 1", "me/nets?x/12l")


@pytest.mark.parametrize("rest", NO_REPOSITORY + NO_FOLDER + NO_REVISION)
def test_malformed(rest: str) -> None:
    with pytest.raises(InputError, match="give it as hf://OWNER/NAME/FOLDER"):
        download(f"hf://{rest}")
    assert is_hub(f"hf://{rest}") and not is_hub("models/12l")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="pip install huggingface_hub"):
        download("hf://me/nets/12l")
