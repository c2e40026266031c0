"""Settings on the command line: a flag for each field, and errors of one line."""

import argparse
import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from mdet_openmm.errors import InputError
from mdet_openmm.settings import Checked, OptionError, plain_type, shown

T = TypeVar("T", bound=Checked)


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and exit with status 2, and which takes no abbreviated flags."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Print the error in one line, without the usage text."""
        self.exit(2, f"error: {message} (try {self.prog} --help)\n")


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
        kind, _ = plain_type(hints[field.name])
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
                extra["metavar"] = "{" + ",".join(shown(field).values()) + "}"
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
