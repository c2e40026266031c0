"""Pages of the site that are made from what stands elsewhere: commands, cards of the models, experiments, changes."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from mdet_openmm.cli import build_parser

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = {
    "experiments.md": "experiments/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changes.md": "CHANGELOG.md",
}
INTRODUCTION = """`mdet COMMAND --help` says the same; a default stands in brackets. `python -m mdet_openmm` is `mdet`.

Shell completion: `pip install 'mdet-openmm[completion]'` and `eval "$(register-python-argcomplete mdet)"`."""


def pages() -> Iterator[tuple[str, str]]:
    """Each page's address and text."""
    yield "commands.md", commands()
    for name, source in ELSEWHERE.items():
        text = (ROOT / source).read_text()
        # their links are relative to where they stand, a page of ours or a file that the site does not have
        text = re.sub(r"\]\((?:\.\./)?docs/([\w-]+\.md[^)]*)\)", r"](\1)", text)
        text = re.sub(r"\]\((?:\.\./)?experiments/README\.md\)", "](experiments.md)", text)
        yield name, re.sub(r"\]\((?:\.\./)?models/([\w-]+)/README\.md\)", r"](cards/\1.md)", text)
    for address, card in cards().items():
        yield address, card.read_text()


def cards() -> dict[str, Path]:
    """The models' cards, by the addresses of their pages."""
    return {f"cards/{card.parent.name}.md": card for card in (ROOT / "models").glob("*/README.md")}


def commands() -> str:
    """Every command of ``mdet`` with its flags, from the parser."""
    parser = build_parser()
    (subcommands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    parts = ["# Commands", INTRODUCTION]
    for name, sub in subcommands.choices.items():
        parts.append(f"## mdet {name}\n\n{sub.description}\n\n```\n{_usage(name, sub)}\n```\n\n{_flags(sub)}")
    return "\n\n".join(parts) + "\n"


def _usage(name: str, parser: argparse.ArgumentParser) -> str:
    named = [a for a in _shown(parser) if not a.option_strings]
    positional = [str(a.metavar or a.dest).upper() + ("..." if a.nargs == "+" else "") for a in named]
    return " ".join(["mdet", name, *positional, "[flags]"])


def _shown(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction):
            yield action


def _flags(parser: argparse.ArgumentParser) -> str:
    rows = ["| flag | meaning |", "| --- | --- |"]
    for action in _shown(parser):
        names = ", ".join(f"`{o}`" for o in action.option_strings) or f"`{str(action.metavar or action.dest).upper()}`"
        choices = f" ({', '.join(map(str, action.choices))})" if action.choices else ""
        text = (action.help or "") % {**vars(action), "prog": parser.prog}
        rows.append(f"| {names} | {text.replace('|', chr(92) + '|')}{choices} |")
    return "\n".join(rows)


def on_config(config: Any) -> Any:
    """The cards stand at the end of the menu."""
    config.nav.append({"Cards": sorted(cards())})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages."""
    for address, text in pages():
        files.append(File.generated(config, address, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links to cards and to experiments lead to their pages here."""
    up = "../" * page.file.src_uri.count("/")
    markdown = re.sub(r"\]\(\.\./models/([\w-]+)/README\.md\)", rf"]({up}cards/\1.md)", markdown)
    return markdown.replace("](../experiments/README.md)", f"]({up}experiments.md)")
