"""Settings in files: YAML that a user writes, and the keys under which a run keeps them."""

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from mdet_openmm.errors import InputError
from mdet_openmm.settings import Checked, plain_type

T = TypeVar("T", bound=Checked)


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
    kind, optional = plain_type(annotation)
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
