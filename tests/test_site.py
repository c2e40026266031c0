"""The documentation as a site: every page is there, every link leads somewhere, every flag of the code is on it."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mdet_openmm.cli import build_parser

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("material", reason="needs the extra 'docs'")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_it_builds_without_a_warning_and_has_every_page(site: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert pages | {"commands", "experiments", "contributing", "changes"} <= {p.name for p in site.iterdir()}
    models = {path.parent.name for path in (ROOT / "models").glob("*/README.md")}
    assert models == {p.name for p in (site / "cards").iterdir()}


def test_every_command_and_flag_of_the_code_is_on_the_page_of_commands(site: Path) -> None:
    page = (site / "commands" / "index.html").read_text()
    (subcommands,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    for name, sub in subcommands.choices.items():
        _, _, section = page.partition(f">mdet {name}<")
        section = section.partition("<h2")[0]
        flags = {o for a in sub._actions if a.help != argparse.SUPPRESS for o in a.option_strings} - {"-h", "--help"}
        shown = set(re.findall(r"<code>(--?[\w-]+)</code>", section.partition("<tbody>")[2]))
        assert flags <= shown, name


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"')
    assert {url for page in site.rglob("*.html") for url in loaded.findall(page.read_text())} == set()
