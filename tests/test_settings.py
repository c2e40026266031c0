"""One frozen dataclass as flags, as YAML and from Python."""

import argparse
import dataclasses
from pathlib import Path

import pytest

from mdet_openmm.errors import InputError, RunStopped, exit_status
from mdet_openmm.settings import OneLineParser, add_flags, from_mapping, from_namespace, option, read_settings


@dataclasses.dataclass(frozen=True)
class Inner:
    width: int = option(8, "width")
    kind: str = option("a", "kind", choices=("a", "b"))


@dataclasses.dataclass(frozen=True)
class Example:
    system: Path = option(help="a file")
    temperature: float = option(300.0, "in K, 50 % is allowed")
    steps: int | None = option(None, "steps")
    report_interval: float = option(10.0, "in fs")
    quiet: bool = option(False, "say less")
    precision: str = option("double", "precision", choices=("double", "mixed"))
    frames: int = option(1, "frames", choices=(1, 12))
    temperatures: tuple[float, ...] = (300.0,)
    weights: dict[str, float] = option({}, "weights")
    network: Inner = Inner()


@dataclasses.dataclass(frozen=True)
class Flags:
    """The fields that a command line can carry."""

    system: Path = option(help="a file")
    temperature: float = option(300.0, "in K, 50 % is allowed")
    steps: int | None = option(None, "steps")
    report_interval: float = option(10.0, "in fs")
    quiet: bool = option(False, "say less")
    precision: str = option("double", "precision", choices=("double", "mixed"))
    frames: int = option(1, "frames", choices=(1, 12))


def parse(*words: str) -> Flags:
    parser = OneLineParser(prog="example")
    add_flags(parser, Flags, positional=("system",))
    return from_namespace(Flags, parser.parse_args(words))


def test_flags_that_are_not_given_keep_their_defaults():
    assert parse("a.pdb") == Flags(system=Path("a.pdb"))


def test_every_flag():
    words = "a.pdb --temperature 1e2 --steps 7 --report-interval 2.5 --quiet --precision mixed --frames 12"
    given = parse(*words.split(" "))
    assert given == Flags(Path("a.pdb"), 100.0, 7, 2.5, True, "mixed", 12)
    assert parse("a.pdb", "--no-quiet").quiet is False


@dataclasses.dataclass(frozen=True)
class Worded:
    frames: int = option(1, "frames", choices=(0, 1, 12), words={"auto": 0})


def test_words_stand_for_values(capsys: pytest.CaptureFixture[str]):
    parser = OneLineParser(prog="x")
    add_flags(parser, Worded)
    assert from_namespace(Worded, parser.parse_args(["--frames", "auto"])).frames == 0
    assert from_namespace(Worded, parser.parse_args(["--frames", "12"])).frames == 12
    for wrong in ("13", "often"):
        with pytest.raises(SystemExit) as stop:
            parser.parse_args(["--frames", wrong])
        assert stop.value.code == 2
    parser.print_help()
    assert "{auto,1,12}" in capsys.readouterr().out


def test_flags_that_were_given_can_be_told_from_defaults():
    """A restart takes the stored value where none was given."""
    parser = argparse.ArgumentParser()
    add_flags(parser, Flags, positional=("system",))
    assert set(vars(parser.parse_args(["a.pdb", "--temperature", "300"]))) == {"system", "temperature"}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["a.pdb", "--temperature", "warm"], "--temperature"),
        (["a.pdb", "--steps", "1.5"], "--steps"),
        (["a.pdb", "--precision", "half"], "--precision"),
        (["a.pdb", "--frames", "7"], "--frames"),
        (["a.pdb", "--colour", "red"], "--colour"),
        (["a.pdb", "--temperature"], "--temperature"),
        ([], "SYSTEM"),
    ],
)
def test_wrong_flags_end_in_one_line_and_status_2(
    words: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(*words)
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert named in message
    assert message.startswith("error: ")
    assert message.count("\n") == 1


def test_help_shows_defaults_and_percent_signs(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        parse("--help")
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "50 % is allowed [300.0]" in text
    assert "--quiet, --no-quiet" in text
    assert "{double,mixed}" in text


def yaml_file(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text)
    return path


def test_yaml_gives_the_types_of_the_fields(tmp_path: Path):
    read = read_settings(
        yaml_file(
            tmp_path,
            "system: a.pdb\ntemperature: 300\nsteps: 5\nreport_interval: 1e-4\nquiet: true\nprecision: mixed\n"
            "temperatures: [100, 2.5]\nweights: {energy: 1}\nnetwork: {width: 3, kind: b}\n",
        ),
        Example,
    )
    assert read == Example(
        Path("a.pdb"), 300.0, 5, 1e-4, True, "mixed", 1, (100.0, 2.5), {"energy": 1.0}, Inner(3, "b")
    )
    assert isinstance(read.temperature, float)  # not the int that YAML reads
    assert isinstance(read.report_interval, float)  # not the text that YAML 1.1 reads


def test_optional_values_may_be_null(tmp_path: Path):
    assert read_settings(yaml_file(tmp_path, "system: a.pdb\nsteps: null\n"), Example).steps is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("system: a.pdb\ntemprature: 300\n", "unknown setting 'temprature'; known are frames, network"),
        ("system: a.pdb\nnetwork: {depth: 3}\n", "network: unknown setting 'depth'; known are kind, width"),
        ("temperature: 300\n", "setting 'system' is missing"),
        ("system: a.pdb\ntemperature: warm\n", "temperature must be float, not 'warm'"),
        ("system: a.pdb\ntemperature: true\n", "temperature must be float"),
        ("system: a.pdb\nsteps: 1.5\n", "steps must be int"),
        ("system: a.pdb\nsteps: true\n", "steps must be int"),
        ("system: a.pdb\nquiet: 1\n", "quiet must be bool"),
        ("system: 3\n", "system must be Path"),
        ("system: a.pdb\nprecision: half\n", "precision must be one of double, mixed, not 'half'"),
        ("system: a.pdb\nnetwork: {kind: c}\n", "kind must be one of a, b"),
        ("system: a.pdb\ntemperatures: 300\n", "temperatures must be a list"),
        ("system: a.pdb\ntemperatures: [300, hot]\n", "temperatures[1] must be float"),
        ("system: a.pdb\nweights: [1]\n", "weights must be a mapping"),
        ("system: a.pdb\nweights: {energy: x}\n", "weights.energy must be float"),
        ("system: a.pdb\ntemperature: null\n", "temperature must be float"),
        ("system: a.pdb\nnetwork: 3\n", "expected a mapping"),
        ("- a\n- b\n", "expected a mapping of settings, got list"),
        ("", "expected a mapping"),
        ("a: [1,\nb: {\n", "not valid YAML"),
        ("\tsystem: a\n", "not valid YAML"),
    ],
)
def test_wrong_yaml_is_named_in_one_line(tmp_path: Path, text: str, words: str):
    path = yaml_file(tmp_path, text)
    with pytest.raises(InputError) as raised:
        read_settings(path, Example)
    assert words in str(raised.value)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_files_that_cannot_be_read(tmp_path: Path):
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing.yaml", tmp_path, binary):
        with pytest.raises(InputError, match="cannot read the configuration"):
            read_settings(path, Example)


def test_mutable_defaults_are_not_shared():
    first, second = from_mapping(Example, {"system": "a"}, "x"), from_mapping(Example, {"system": "a"}, "x")
    assert first.weights is not second.weights


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (None, 0, ""),
        (InputError("no such file"), 2, "error: no such file\n"),
        (RunStopped("atom 3 is gone"), 3, "stopped: atom 3 is gone\n"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_exit_status(raised: BaseException | None, status: int, said: str, capsys: pytest.CaptureFixture[str]):
    def command() -> None:
        if raised is not None:
            raise raised

    assert exit_status(command) == status
    assert capsys.readouterr().err.startswith(said)


def test_our_own_defects_keep_their_traceback():
    def command() -> None:
        raise IndexError

    with pytest.raises(IndexError):
        exit_status(command)
