"""Settings as frozen dataclasses, which refuse what they cannot be: made from flags, YAML files and Python alike."""

import dataclasses
import math
import numbers
import operator
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Union

from mdet_openmm.errors import InputError

_BOUNDS: Final = {"at least": operator.ge, "above": operator.gt, "at most": operator.le, "below": operator.lt}


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


def _check_allowed(value: Any, field: "dataclasses.Field[Any]") -> None:
    choices, bounds = field.metadata.get("choices"), field.metadata.get("bounds", {})
    if choices and value not in choices:
        one_of(field.name, value, shown(field).values())
    if not all(_BOUNDS[word](value, bound) for word, bound in bounds.items()):
        allowed = ("positive" if (word, bound) == ("above", 0) else f"{word} {bound}" for word, bound in bounds.items())
        raise OptionError(field.name, f"must be {' and '.join(allowed)}, not {value!r}")


def shown(field: "dataclasses.Field[Any]") -> dict[Any, str]:
    """The choices of a field as the user writes them."""
    named = {value: word for word, value in field.metadata["words"].items()}
    return {choice: str(named.get(choice, choice)) for choice in field.metadata["choices"]}


def _typed(value: Any, annotation: Any, name: str) -> Any:
    """The value in the type of its field."""
    kind, optional = plain_type(annotation)
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


def plain_type(annotation: Any) -> tuple[Any, bool]:
    """The type behind ``X | None``, and whether None is allowed."""
    if typing.get_origin(annotation) in (Union, types.UnionType):
        inner = [a for a in typing.get_args(annotation) if a is not type(None)]
        if len(inner) == 1:
            return inner[0], True
    return annotation, False
