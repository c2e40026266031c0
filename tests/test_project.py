"""The project's own files agree with each other."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
CONDA_NAMES = {
    "torch": "pytorch",
    "openmmtorch": "openmm-torch",
    "matplotlib": "matplotlib-base",
    "tblite": "tblite-python",
    "huggingface-hub": "huggingface_hub",
}
# conda-forge has builds of openmm-torch for several pytorch and openmm versions and pins the pair itself;
# PyPI's only build works with one
WIDER_ON_CONDA = {"torch", "openmm"}


def requirements() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["train"], *extras["label"], *extras["dask"], *extras["dev"]]
    found: dict[str, str] = {}
    for line in lines:
        # conda has its own builds for every machine
        name, bounds = re.fullmatch(r"([\w-]+)([^;]*)", line.partition(";")[0]).groups()  # type: ignore[union-attr]
        assert found.setdefault(name, bounds) == bounds, f"{name} has two ranges"
    return found


def conda() -> dict[str, str]:
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    return {line.split()[0]: "".join(line.split()[1:]) for line in listed}


def test_environment_yml_has_the_same_ranges() -> None:
    there = conda()
    for name, bounds in requirements().items():
        conda_name = CONDA_NAMES.get(name, name)
        assert conda_name in there, f"{conda_name} is missing from environment.yml"
        if name not in WIDER_ON_CONDA:
            assert there[conda_name] == bounds, f"{name}: pyproject {bounds}, environment.yml {there[conda_name]}"
    extra = set(there) - {CONDA_NAMES.get(n, n) for n in requirements()}
    assert extra == {"python", "pip"}


@pytest.mark.parametrize("name", sorted(WIDER_ON_CONDA))
def test_the_wider_conda_range_contains_the_pinned_one(name: str) -> None:
    lower = lambda bounds: tuple(int(x) for x in re.search(r">=([\d.]+)", bounds).group(1).split("."))  # type: ignore[union-attr]  # noqa: E731
    upper = lambda bounds: tuple(int(x) for x in re.search(r"<([\d.]+)", bounds).group(1).split("."))  # type: ignore[union-attr]  # noqa: E731
    pip, there = requirements()[name], conda()[CONDA_NAMES.get(name, name)]
    assert lower(there) <= lower(pip) and upper(pip) <= upper(there)


def test_versions_agree() -> None:
    import mdet_openmm

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert mdet_openmm.__version__ == version
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_installed_pair_is_the_pinned_one() -> None:
    import torch

    assert torch.__version__.startswith("2.9."), "openmmtorch 1.5 works with torch 2.9 and no other"


def test_conversion_constants_stand_in_one_place() -> None:
    constants = re.compile(r"0\.52917|27\.2113|2625\.49|96\.485|51\.422|49614|4\.184\b|1\.8897|18\.897")
    offenders = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("mdet_openmm", "simulations")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.name != "units.py"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if constants.search(line)
    ]
    # documentation may quote a value; code may not compute with it
    assert [o for o in offenders if not _in_text(o)] == []


def _in_text(place: str) -> bool:
    path, number = place.split(":")
    line = (ROOT / path).read_text().splitlines()[int(number) - 1].strip()
    return line.startswith(("#", '"""')) or "=" not in line


PAGES = [
    ROOT / "Makefile",
    *(p for w in ("*.md", "docs/*.md", "experiments/*.md", "models/*/*.md") for p in ROOT.glob(w)),
]
PROGRAM = re.compile(r"\b(?:python|bash)\s+([\w./-]+\.(?:py|sh))\b")
FILE = re.compile(r"(?<![\w./-])(?:[\w-]+/)+[\w.-]+\.(?:py|sh|yaml|smi|cff|toml)\b")
"""With folders; a file alone may be one of the reader's."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    programs = {name for name in PROGRAM.findall(text) if "NAME" not in name and not (ROOT / name).is_file()}
    assert programs == set(), "commands name programs that do not exist"
    named = {name for name in FILE.findall(text) if "NAME" not in name}
    places = (ROOT, ROOT / "mdet_openmm", page.parent)
    assert {name for name in named if not any((place / name).is_file() for place in places)} == set()


def test_the_check_of_pages_sees_commands_across_lines() -> None:
    assert PROGRAM.findall("`python\nexperiments/heating.py --time 1` and bash benchmarks/gpu.sh") == [
        "experiments/heating.py",
        "benchmarks/gpu.sh",
    ]
    assert FILE.findall("`configs/tiny.label.yaml`, `../runs/a.py`, wrong.label.yaml") == ["configs/tiny.label.yaml"]


def test_doors_are_thin() -> None:
    for path in (ROOT / "simulations").glob("*.py"):
        assert len(path.read_text().splitlines()) < 100, path
