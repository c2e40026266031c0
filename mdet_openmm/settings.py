"""Settings as frozen dataclasses: the same class makes the command-line flags, reads a YAML file and serves the API."""

import argparse
import dataclasses
import difflib
import math
import numbers
import operator
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar, Union

from mdet_openmm.errors import InputError

_BOUNDS: Final = {"at least": operator.ge, "above": operator.gt, "at most": operator.le, "below": operator.lt}


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and exit with status 2, and which takes no abbreviated flags."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Print the error in one line, without the usage text."""
        self.exit(2, f"error: {message} (try {self.prog} --help)\n")


class OptionError(InputError):
    """A field cannot have its value; ``args`` are the name of the field and what is wrong with the value."""

    def __str__(self) -> str:
        """Both in one line."""
        return " ".join(" ".join(self.args).split())  # an array would be shown in several


def one_of(name: str, value: Any, choices: Collection[Any]) -> None:
    """Refuse what is none of some choices; for a parameter of a function as for a field.

    Raises
    ------
    OptionError
        Naming the choices.
    """
    if value not in choices:
        raise OptionError(name, f"must be one of {', '.join(map(str, choices))}, not {value!r}")


def option(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    choices: Sequence[Any] | None = None,
    words: Mapping[str, Any] | None = None,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    formerly: str | None = None,
) -> Any:
    """A field of a `Checked` dataclass: the help text of its flag, and what values it may have.

    Parameters
    ----------
    default
        Left out: the field must be given.
    help
        For the command line.
    choices
        All that it may be, beside None where the type allows that.
    words
        Words that stand for some of the values.
    at_least, above, at_most, below
        Bounds of a number.
    formerly
        The name that the field once had: still a flag, which the help does not show, and the key in files, which so
        are as they were.
    """
    bounds = zip(_BOUNDS, (at_least, above, at_most, below), strict=True)
    metadata = {
        "help": help,
        "choices": tuple(choices) if choices else None,
        "words": dict(words or {}),
        "bounds": {word: bound for word, bound in bounds if bound is not None},
        "formerly": formerly,
    }
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Checked:
    """Base of the dataclasses that refuse, at construction, what their fields cannot be.

    Numbers, texts and paths become the type of their field where nothing is lost: an int a float, a str a Path, a list
    a tuple. Anything else raises an `OptionError`: another type (a bool is no number), NaN and infinity, what is none
    of the choices or out of bounds.
    """

    def __post_init__(self) -> None:
        """Check each field by itself, then all of them together."""
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, str):
                value = field.metadata.get("words", {}).get(value, value)
            value = _typed(value, hints[field.name], field.name)
            if value is not None:
                _check_allowed(value, field)
            object.__setattr__(self, field.name, value)
        self.check()

    def check(self) -> None:
        """Refuse values that do not go together; a class overrides it that has any.

        Raises
        ------
        InputError
            Saying which.
        """


T = TypeVar("T", bound=Checked)


def _check_allowed(value: Any, field: "dataclasses.Field[Any]") -> None:
    choices, bounds = field.metadata.get("choices"), field.metadata.get("bounds", {})
    if choices and value not in choices:
        one_of(field.name, value, _shown(field).values())
    if not all(_BOUNDS[word](value, bound) for word, bound in bounds.items()):
        allowed = ("positive" if (word, bound) == ("above", 0) else f"{word} {bound}" for word, bound in bounds.items())
        raise OptionError(field.name, f"must be {' and '.join(allowed)}, not {value!r}")


def _shown(field: "dataclasses.Field[Any]") -> dict[Any, str]:
    """The choices of a field as the user writes them."""
    named = {value: word for word, value in field.metadata["words"].items()}
    return {choice: str(named.get(choice, choice)) for choice in field.metadata["choices"]}


def _typed(value: Any, annotation: Any, name: str) -> Any:
    """The value in the type of its field."""
    kind, optional = _plain_type(annotation)
    if kind is Any or (value is None and optional):
        return value
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, (list, tuple)):
            raise OptionError(name, f"must be a list, not {value!r}")
        inner = typing.get_args(kind)[0]
        return tuple(_typed(v, inner, f"{name}[{i}]") for i, v in enumerate(value))
    if typing.get_origin(kind) is dict:
        if not isinstance(value, dict):
            raise OptionError(name, f"must be a mapping, not {value!r}")
        inner = typing.get_args(kind)[1]
        return {str(k): _typed(v, inner, f"{name}.{k}") for k, v in value.items()}
    if kind in (str, Path) and isinstance(value, (str, Path)):
        return kind(value)
    if kind is int and isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if kind is float and isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:  # an int of more than 300 digits
            number = math.inf
        if not math.isfinite(number):
            raise OptionError(name, f"must be a finite number, not {value}")
        return number
    if kind not in (int, float) and isinstance(value, kind):
        return value
    raise OptionError(name, f"must be {getattr(kind, '__name__', kind)}, not {value!r}")


def _plain_type(annotation: Any) -> tuple[Any, bool]:
    """The type behind ``X | None``, and whether None is allowed."""
    if typing.get_origin(annotation) in (Union, types.UnionType):
        inner = [a for a in typing.get_args(annotation) if a is not type(None)]
        if len(inner) == 1:
            return inner[0], True
    return annotation, False


def add_flags(parser: argparse.ArgumentParser, cls: type[Checked], positional: Sequence[str] = ()) -> None:
    """Add a flag to the parser for every field of a settings dataclass.

    Parameters
    ----------
    parser
        Receives the flags.
    cls
        A frozen dataclass of plain fields (str, int, float, bool, Path, optional ones, and tuples of one of them). A
        bool becomes ``--name/--no-name``, a tuple takes one value or more.
    positional
        Names of fields that are positional arguments instead.
    """
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind, _ = _plain_type(hints[field.name])
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        text = str(field.metadata.get("help", "")).replace("%", "%%")
        if not required and field.default not in (None, (), dataclasses.MISSING):
            text += f" [{field.default}]"
        extra: dict[str, Any] = {"help": text}
        if typing.get_origin(kind) is tuple:
            kind, extra["nargs"] = typing.get_args(kind)[0], "+"
        if kind is bool:
            extra["action"] = argparse.BooleanOptionalAction
        else:
            extra["type"] = _reader(kind, field.metadata.get("words", {}))
            if field.metadata.get("choices"):
                extra["choices"] = field.metadata["choices"]
                extra["metavar"] = "{" + ",".join(_shown(field).values()) + "}"
        if field.name in positional:
            parser.add_argument(field.name, metavar=field.name.upper(), **extra)
            continue
        if kind is not bool and not field.metadata.get("choices"):
            extra["metavar"] = getattr(kind, "__name__", "value").upper()
        extra |= {"dest": field.name, "default": argparse.SUPPRESS}
        parser.add_argument(flag_of(field.name), required=required, **extra)
        if field.metadata.get("formerly"):
            parser.add_argument(flag_of(field.metadata["formerly"]), **{**extra, "help": argparse.SUPPRESS})


def flag_of(name: str) -> str:
    """The flag of a field."""
    return "--" + name.replace("_", "-")


def _reader(kind: Any, words: Mapping[str, Any]) -> Any:
    """What turns a flag's text into its value."""
    if not words:
        return kind

    def read(text: str) -> Any:
        return words[text] if text in words else kind(text)

    read.__name__ = kind.__name__  # argparse names it in its errors
    return read


def from_namespace(cls: type[T], namespace: argparse.Namespace) -> T:
    """Build a settings object from parsed flags; fields that were not given keep their defaults.

    Raises
    ------
    InputError
        Naming the flag whose value the class refuses.
    """
    given = vars(namespace)
    names = {f.name for f in dataclasses.fields(cls)}
    try:
        return cls(**{k: v for k, v in given.items() if k in names})
    except OptionError as error:
        name, problem = error.args
        raise InputError(f"{flag_of(name)} {problem}") from None


def as_stored(settings: Checked) -> dict[str, Any]:
    """The fields by the keys that they have in files, values as `dataclasses.asdict` gives them."""
    values = dataclasses.asdict(settings)
    return {stored_name(field): values[field.name] for field in dataclasses.fields(settings)}


def from_stored(cls: type[Checked], stored: Mapping[str, Any]) -> dict[str, Any]:
    """What `as_stored` gave, by the names of the fields; keys that are none stay as they are."""
    names = {stored_name(field): field.name for field in dataclasses.fields(cls)}
    return {names.get(key, key): value for key, value in stored.items()}


def stored_name(field: "dataclasses.Field[Any]") -> str:
    """The key of a field in files."""
    return field.metadata.get("formerly") or field.name


def from_mapping(cls: type[T], mapping: Any, where: str) -> T:
    """Build a settings object from a mapping such as a YAML section.

    Parameters
    ----------
    cls
        A frozen dataclass; its fields may be dataclasses, tuples, and plain types.
    mapping
        Keys are field names.
    where
        How to name the place in an error message.

    Raises
    ------
    InputError
        For unknown or missing keys and for values that the class refuses.
    """
    if not isinstance(mapping, dict):
        raise InputError(f"{where}: expected a mapping of settings, got {type(mapping).__name__}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in mapping:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.7)
            known = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(sorted(fields))}"
            raise InputError(f"{where}: unknown setting '{key}'; {known}")
    for name, field in fields.items():
        if name not in mapping and field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}: setting '{name}' is missing")
    values = {name: _from_yaml(value, hints[name], f"{where}: {name}") for name, value in mapping.items()}
    try:
        return cls(**values)
    except InputError as error:  # the class does not know where the values stand
        raise InputError(f"{where}: {error}") from None


def _from_yaml(value: Any, annotation: Any, where: str) -> Any:
    """A value with what YAML cannot write: dataclasses of mappings, and numbers of the texts that YAML 1.1 reads."""
    kind, optional = _plain_type(annotation)
    if dataclasses.is_dataclass(kind) and not (value is None and optional):
        return from_mapping(typing.cast(type[Checked], kind), value, where)
    if typing.get_origin(kind) is tuple and isinstance(value, list):
        inner = typing.get_args(kind)[0]
        return tuple(_from_yaml(v, inner, f"{where}[{i}]") for i, v in enumerate(value))
    if kind is float and isinstance(value, str):
        try:  # 1e-4
            return float(value)
        except ValueError:
            pass
    return value


def read_settings(path: Path, cls: type[T]) -> T:
    """Read a YAML file into a settings dataclass.

    Raises
    ------
    InputError
        If the file is missing, is not YAML, or does not fit the class.
    """
    return from_mapping(cls, read_mapping(path), str(path))


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file that is a mapping.

    Raises
    ------
    InputError
        If it is missing, is not YAML, or is something else.
    """
    mapping = read_yaml(path)
    if not isinstance(mapping, dict):
        raise InputError(f"{path}: expected a mapping of settings, got {type(mapping).__name__}")
    return mapping


def read_yaml(path: Path) -> Any:
    """What a YAML file holds.

    Raises
    ------
    InputError
        If the file is missing or is not YAML.
    """
    import yaml

    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the configuration {path}: {error}") from None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: of the 99th of some month
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
