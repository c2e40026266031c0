"""Settings as frozen dataclasses: the same class makes the command-line flags, reads a YAML file and serves the API."""

import argparse
import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar, Union

from mdet_openmm.errors import InputError

T = TypeVar("T")


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and exit with status 2, and which takes no abbreviated flags."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Print the error in one line, without the usage text."""
        self.exit(2, f"error: {message} (try {self.prog} --help)\n")


def option(
    default: Any = dataclasses.MISSING,
    help: str = "",
    choices: Sequence[Any] | None = None,
    words: Mapping[str, Any] | None = None,
) -> Any:
    """A dataclass field with the help text and choices that its command-line flag shows, and words for some values."""
    metadata = {"help": help, "choices": tuple(choices) if choices else None, "words": dict(words or {})}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def _plain_type(annotation: Any) -> tuple[Any, bool]:
    """The type behind ``X | None``, and whether None is allowed."""
    if typing.get_origin(annotation) in (Union, types.UnionType):
        inner = [a for a in typing.get_args(annotation) if a is not type(None)]
        if len(inner) == 1:
            return inner[0], True
    return annotation, False


def add_flags(parser: argparse.ArgumentParser, cls: type, positional: Sequence[str] = ()) -> None:
    """Add a flag to the parser for every field of a settings dataclass.

    Parameters
    ----------
    parser
        Receives the flags.
    cls
        A frozen dataclass of plain fields (str, int, float, bool, Path, and optional ones). A bool becomes
        ``--name/--no-name``.
    positional
        Names of fields that are positional arguments instead.
    """
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind, _ = _plain_type(hints[field.name])
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        text = str(field.metadata.get("help", "")).replace("%", "%%")
        if not required and field.default is not None and field.default is not dataclasses.MISSING:
            text += f" [{field.default}]"
        extra: dict[str, Any] = {"help": text}
        if kind is bool:
            extra["action"] = argparse.BooleanOptionalAction
        else:
            extra["type"] = _reader(kind, field.metadata.get("words", {}))
            if field.metadata.get("choices"):
                extra["choices"] = field.metadata["choices"]
                named = {value: word for word, value in field.metadata.get("words", {}).items()}
                extra["metavar"] = "{" + ",".join(str(named.get(c, c)) for c in extra["choices"]) + "}"
        if field.name in positional:
            parser.add_argument(field.name, metavar=field.name.upper(), **extra)
            continue
        if kind is not bool and not field.metadata.get("choices"):
            extra["metavar"] = getattr(kind, "__name__", "value").upper()
        parser.add_argument(
            "--" + field.name.replace("_", "-"), dest=field.name, default=argparse.SUPPRESS, required=required, **extra
        )


def _reader(kind: Any, words: Mapping[str, Any]) -> Any:
    """What turns a flag's text into its value."""
    if not words:
        return kind

    def read(text: str) -> Any:
        return words[text] if text in words else kind(text)

    read.__name__ = kind.__name__  # argparse names it in its errors
    return read


def from_namespace(cls: type[T], namespace: argparse.Namespace) -> T:
    """Build a settings object from parsed flags; fields that were not given keep their defaults."""
    given = vars(namespace)
    names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return cls(**{k: v for k, v in given.items() if k in names})


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
        For unknown or missing keys and for values of the wrong type.
    """
    if not isinstance(mapping, dict):
        raise InputError(f"{where}: expected a mapping of settings, got {type(mapping).__name__}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in mapping:
        if key not in fields:
            raise InputError(f"{where}: unknown setting '{key}'; known are {', '.join(sorted(fields))}")
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in mapping:
            values[name] = _converted(mapping[name], hints[name], f"{where}: {name}")
            choices = field.metadata.get("choices")
            if choices and values[name] not in choices:
                raise InputError(f"{where}: {name} must be one of {', '.join(map(str, choices))}, not {values[name]!r}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}: setting '{name}' is missing")
    try:
        return cls(**values)
    except InputError as error:  # the class's own checks do not know where the values stand
        raise InputError(f"{where}: {error}") from None


def _converted(value: Any, annotation: Any, where: str) -> Any:
    kind, optional = _plain_type(annotation)
    if value is None and optional:
        return None
    if dataclasses.is_dataclass(kind):
        return from_mapping(typing.cast(type, kind), value, where)
    origin = typing.get_origin(kind)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise InputError(f"{where} must be a list, not {value!r}")
        inner = typing.get_args(kind)[0]
        return tuple(_converted(v, inner, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise InputError(f"{where} must be a mapping, not {value!r}")
        inner = typing.get_args(kind)[1]
        return {str(k): _converted(v, inner, f"{where}.{k}") for k, v in value.items()}
    if kind is Any:
        return value
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, str):
        try:  # YAML 1.1 reads 1e-4 as a string
            return float(value)
        except ValueError:
            pass
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where} must be a finite number, not {value}")
    if kind is bool and isinstance(value, bool):
        return value
    if isinstance(value, kind) and not (kind in (int, float) and isinstance(value, bool)):
        return value
    raise InputError(f"{where} must be {getattr(kind, '__name__', kind)}, not {value!r}")


def read_settings(path: Path, cls: type[T]) -> T:
    """Read a YAML file into a settings dataclass.

    Raises
    ------
    InputError
        If the file is missing, is not YAML, or does not fit the class.
    """
    import yaml

    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the configuration {path}: {error}") from None
    try:
        mapping = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    return from_mapping(cls, mapping, str(path))
