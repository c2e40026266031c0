"""One frozen dataclass as flags, as YAML and from Python."""

import argparse
import dataclasses
import importlib
import pickle
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mdet_openmm
from mdet_openmm.configuration import from_mapping, read_settings
from mdet_openmm.errors import InputError, RunStopped, exit_status
from mdet_openmm.flags import OneLineParser, add_flags, from_namespace
from mdet_openmm.settings import Checked, OptionError, one_of, option


@dataclasses.dataclass(frozen=True)
class Inner(Checked):
    width: int = option(8, "width")
    kind: str = option("a", "kind", choices=("a", "b"))


@dataclasses.dataclass(frozen=True)
class Example(Checked):
    system: Path = option(help="a file")
    temperature: float = option(300.0, "in K, 50 % is allowed", above=0, at_most=1000)
    steps: int | None = option(None, "steps", at_least=1)
    report_interval: float = option(10.0, "in fs")
    quiet: bool = option(False, "say less")
    precision: str = option("double", "precision", choices=("double", "mixed"))
    frames: int = option(1, "frames", choices=(1, 12))
    temperatures: tuple[float, ...] = (300.0,)
    weights: dict[str, float] = option({}, "weights")
    network: Inner = Inner()


@dataclasses.dataclass(frozen=True)
class Flags(Checked):
    """The fields that a command line can carry."""

    system: Path = option(help="a file")
    temperature: float = option(300.0, "in K, 50 % is allowed", above=0, at_most=1000)
    steps: int | None = option(None, "steps", at_least=1)
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
class Worded(Checked):
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
    assert Worded(frames="auto") == from_mapping(Worded, {"frames": "auto"}, "x") == Worded(0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^frames must be one of auto, 1, 12, not 13$"):
        Worded(13)


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
        ("system: a.pdb\ntemprature: 300\n", "unknown setting 'temprature'; did you mean 'temperature'"),
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
        ("system: a.pdb\ntemperature: .nan\n", "temperature must be a finite number, not nan"),
        ("system: a.pdb\ntemperature: -3\n", "temperature must be positive and at most 1000, not -3.0"),
        ("system: a.pdb\nsteps: 0\n", "steps must be at least 1, not 0"),
        ("system: a.pdb\nnetwork: {width: x}\n", "network: width must be int, not 'x'"),
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


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("system", 3, "must be Path, not 3"),
        ("system", None, "must be Path, not None"),
        ("temperature", "300", "must be float, not '300'"),
        ("temperature", True, "must be float, not True"),
        ("temperature", None, "must be float, not None"),
        ("temperature", float("nan"), "must be a finite number, not nan"),
        ("temperature", float("inf"), "must be a finite number, not inf"),
        ("temperature", 0, "must be positive and at most 1000, not 0.0"),
        ("temperature", 1000.1, "must be positive and at most 1000, not 1000.1"),
        ("steps", 1.0, "must be int, not 1.0"),
        ("steps", True, "must be int, not True"),
        ("steps", "7", "must be int, not '7'"),
        ("steps", 0, "must be at least 1, not 0"),
        ("steps", np.eye(2), "must be int, not array([[1., 0.], [0., 1.]])"),
        ("quiet", 1, "must be bool, not 1"),
        ("precision", "half", "must be one of double, mixed, not 'half'"),
        ("precision", None, "must be str, not None"),
        ("frames", 7, "must be one of 1, 12, not 7"),
        ("frames", True, "must be int, not True"),
        ("temperatures", (300.0, "hot"), "must be float, not 'hot'"),
        ("temperatures", 300.0, "must be a list, not 300.0"),
        ("weights", {"energy": "x"}, "must be float, not 'x'"),
        ("network", {"width": 3}, "must be Inner, not {'width': 3}"),
    ],
)
def test_python_is_refused_what_yaml_and_flags_are(name: str, value: Any, problem: str):
    with pytest.raises(OptionError) as raised:
        Example(**{"system": Path("a"), name: value})
    assert str(raised.value).startswith(name) and str(raised.value).endswith(problem)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)  # worker processes raise them
    with pytest.raises(OptionError):
        dataclasses.replace(Example(Path("a")), **{name: value})


def test_what_loses_nothing_is_converted():
    given = Example("a.pdb", np.float32(2), np.int64(3), 10, network=Inner(), temperatures=[1, 2])  # type: ignore[arg-type]
    assert given == Example(Path("a.pdb"), 2.0, 3, 10.0, temperatures=(1.0, 2.0))
    assert [type(v) for v in (given.system, given.temperature, given.steps)] == [type(Path()), float, int]
    with pytest.raises(OptionError, match="finite"):
        Example(Path("a"), 10**400)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--temperature", "-3"], "--temperature must be positive and at most 1000, not -3.0"),
        (["--temperature", "nan"], "--temperature must be a finite number, not nan"),
        (["--report-interval", "inf"], "--report-interval must be a finite number, not inf"),
        (["--steps", "0"], "--steps must be at least 1, not 0"),
    ],
)
def test_flags_out_of_bounds_are_named(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    assert exit_status(lambda: print(parse("a.pdb", *flags))) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_bounds_are_met_or_missed_as_they_say():
    @dataclasses.dataclass(frozen=True)
    class Bounded(Checked):
        closed: float = option(0.0, at_least=0, at_most=1)
        open: float = option(0.5, above=0, below=1)

    assert Bounded(closed=1.0) and Bounded(closed=0.0, open=1e-9)
    for values, message in (
        ({"closed": 1.0000001}, "closed must be at least 0 and at most 1, not 1.0000001"),
        ({"closed": -1e-9}, "closed must be at least 0"),
        ({"open": 0.0}, "open must be positive and below 1, not 0.0"),
        ({"open": 1.0}, "open must be positive and below 1, not 1.0"),
    ):
        with pytest.raises(OptionError, match=message):
            Bounded(**values)


def test_one_of():
    one_of("colour", "red", ("red", "blue"))
    with pytest.raises(InputError, match=r"^colour must be one of red, blue, not 'green'$"):
        one_of("colour", "green", ("red", "blue"))


def classes_with_options() -> list[type]:
    """Every dataclass of the package that has fields made by `option`."""
    root = Path(mdet_openmm.__file__).parent
    paths = [p for p in root.rglob("*.py") if "= option(" in p.read_text() and p.parent != root]
    found = {}
    for path in paths:
        module = importlib.import_module(".".join(("mdet_openmm", *path.relative_to(root).with_suffix("").parts)))
        for value in vars(module).values():
            if (
                isinstance(value, type)
                and dataclasses.is_dataclass(value)
                and any("bounds" in f.metadata for f in dataclasses.fields(value))
            ):
                found[value.__qualname__] = value
    assert len(found) > 15
    return list(found.values())


SAMPLES = {Path: Path("x"), str: "x", float: 1.0, int: 1}


@pytest.mark.parametrize("cls", classes_with_options(), ids=lambda cls: cls.__name__)
def test_every_settings_class_refuses_what_a_field_cannot_be(cls: Any):
    hints, fields = typing.get_type_hints(cls), dataclasses.fields(cls)
    required = {
        f.name: (f.metadata["choices"] or [SAMPLES.get(hints[f.name], ())])[0]
        for f in fields
        if f.default is f.default_factory is dataclasses.MISSING
    }
    for field in fields:
        wrong: list[Any] = [object()]
        kinds = {hints[field.name], *typing.get_args(hints[field.name])}
        wrong += [float("nan"), float("inf"), True, "1"] if float in kinds else []
        wrong += [1.5, True, "1"] if int in kinds else []
        if field.metadata.get("choices"):
            wrong += [{str: "misspelt", int: 7}[next(k for k in (str, int) if k in kinds)]]
        for word, bound in field.metadata.get("bounds", {}).items():
            wrong.append(bound + {"at least": -1, "above": 0, "at most": 1, "below": 0}[word])
        for value in wrong:
            with pytest.raises(OptionError) as raised:
                cls(**{**required, field.name: value})
            assert raised.value.args[0] == field.name and "\n" not in str(raised.value)


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
