"""Uploads to a hub on loopback that answers as the Hugging Face hub does."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from loopback_hub import Answer, LoopbackHub, served

from mdet_openmm.errors import InputError
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.export.shipped import shipped_models
from mdet_openmm.published.push import push

pytest.importorskip("huggingface_hub")
MODEL = "mdet-gfn2-mini"


class Hub(LoopbackHub):
    """What was made and committed, and whether it lets one in."""

    def __init__(self) -> None:
        super().__init__(Upload)
        self.made: list[dict[str, object]] = []
        self.files: dict[str, bytes] = {}
        self.refuses = False


class Upload(Answer):
    """What the hub says to one request."""

    server: Hub

    def do_POST(self) -> None:
        body, hub = self.rfile.read(int(self.headers["Content-Length"])), self.server
        if hub.refuses:
            self.answer(401, {})
        elif self.path == "/api/repos/create":
            hub.made.append(json.loads(body))
            self.answer(200, {"url": f"{hub.url}/me/net", "name": "me/net"})
        elif self.path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif self.path.startswith("/api/models/me/net/preupload/"):
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            self.answer(200, {"files": files})
        elif self.path.startswith("/api/models/me/net/commit/"):
            for line in map(json.loads, body.decode().splitlines()):
                if line["key"] == "file":
                    hub.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer(200, {"commitUrl": f"{hub.url}/me/net/commit/abc", "commitOid": "abc", "hookOutput": ""})
        else:
            self.answer(404, {})

    def do_GET(self) -> None:
        self.answer(200, {"id": "me/net", "sha": "0" * 40, "siblings": []})


@pytest.fixture
def hub() -> Iterator[Hub]:
    with served(Hub()) as server:
        yield server


def pushed(hub: Hub, home: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own: the library reads the environment when it is imported."""
    command = [sys.executable, "-m", "mdet_openmm", "push", MODEL, "me/net", *flags]
    return subprocess.run(
        command, env={**hub.environment(home), "HF_TOKEN": "hf_a"}, capture_output=True, text=True, timeout=100
    )


def test_a_model_arrives_whole_with_a_header_that_the_hub_can_read(hub: Hub, tmp_path: Path) -> None:
    done = pushed(hub, tmp_path / "home", "--private")
    assert done.returncode == 0, done.stderr
    assert f"pushed: {hub.url}/me/net/commit/abc" in done.stdout
    (made,) = hub.made
    assert (made["organization"], made["name"]) == ("me", "net")
    assert made.get("private") is True or made.get("visibility") == "private"  # old and new versions of the library

    folder = shipped_models()[MODEL]
    arrived = tmp_path / "net"
    arrived.mkdir()
    for name, content in hub.files.items():
        (arrived / name).write_bytes(content)
    assert load_model(arrived).sha256 == load_model(MODEL).sha256
    _, header, card = hub.files.pop("README.md").decode().split("---\n", 2)
    assert card.strip() == (folder / "README.md").read_text().strip()
    fields = yaml.safe_load(header)
    assert (fields["license"], fields["library_name"]) == ("mit", "mdet-openmm")
    (result,) = fields["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == load_model(MODEL).metadata["metrics"]["unseen"]["all"]["mae"]
    for name, content in hub.files.items():
        assert content == (folder / name).read_bytes()
    assert {"weights.safetensors", "config.yaml", "manifest.json", "metrics.json"} <= hub.files.keys()


def test_a_hub_that_refuses_is_told_of_in_one_line(hub: Hub, tmp_path: Path) -> None:
    hub.refuses = True
    done = pushed(hub, tmp_path / "home")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "no access to" in done.stderr and "hf auth login" in done.stderr and not hub.files


@pytest.mark.parametrize("name", ["net", "me/net/more", "me/", "a b/c"])
def test_a_name_that_is_none_is_refused_before_anything_is_sent(name: str) -> None:
    with pytest.raises(InputError, match="OWNER/NAME"):
        push(MODEL, name)
