"""The conditions of an ablation: a precision, a rotation offset, how many orientations, whether the energy is held."""

from dataclasses import dataclass
from typing import Any

from mdet_openmm.errors import InputError
from mdet_openmm.export.options import OFFSETS, ORIENTATIONS, PRECISIONS
from mdet_openmm.settings import Checked, option

WRITTEN = {"double": "fp64"}
"""What the paper calls a precision."""
DEFAULT = ",".join(
    (
        "fp32",
        "fp64",
        "fp32+random",
        "fp64+random",
        "mixed+hashed",
        "mixed+hashed+12",
        "mixed+hashed+60",
        "fp64+hashed+12",
        "fp64+hashed+60",
    )
)
"""The paper's four, and ours."""
HELD = "held"
HOLD_PS = 0.1
"""Time constant of a condition whose energy is held."""


@dataclass(frozen=True)
class Condition(Checked):
    """How the forces of a run are computed; the first three fields are those of a run's settings.

    ``held``: with ``hold_energy`` of `HOLD_PS`.
    """

    precision: str = option(choices=PRECISIONS)
    offset: str = option("none", choices=OFFSETS)
    orientations: int = option(1, choices=ORIENTATIONS)
    held: bool = False

    @property
    def name(self) -> str:
        """As it is written on the command line: ``fp64+random``, ``mixed+hashed+12``, ``mixed+hashed+held``."""
        parts = [WRITTEN.get(self.precision, self.precision)]
        parts += [self.offset] if self.offset != "none" else []
        parts += [str(self.orientations)] if self.orientations > 1 else []
        parts += [HELD] if self.held else []
        return "+".join(parts)

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return self.name.replace("+", "-")


def read_conditions(text: str) -> tuple[Condition, ...]:
    """Conditions from ``PRECISION[+OFFSET][+ORIENTATIONS][+held]``, separated by commas.

    Raises
    ------
    InputError
        For a word that is none of them, and for a condition that is there twice.
    """
    conditions = tuple(_read_condition(part.strip()) for part in text.split(","))
    for condition in conditions:
        if conditions.count(condition) > 1:
            raise InputError(f"--conditions has {condition.name} twice")
    return conditions


def _read_condition(text: str) -> Condition:
    precisions = {WRITTEN.get(name, name): name for name in PRECISIONS} | {name: name for name in PRECISIONS}
    orientations = {str(n): n for n in ORIENTATIONS}
    found: dict[str, str | int | bool] = {}
    words: dict[str, dict[str, Any]] = {
        "precision": precisions,
        "offset": {offset: offset for offset in OFFSETS},
        "orientations": orientations,
        "held": {HELD: True},
    }
    for word in text.split("+"):
        for field, known in words.items():
            if word in known and field not in found:
                found[field] = known[word]
                break
        else:
            raise InputError(
                f"--conditions: '{word}' in '{text}' is not understood; a condition is a precision "
                f"({', '.join(precisions)}), and with + an offset ({', '.join(OFFSETS)}), orientations "
                f"({', '.join(orientations)}) and {HELD}, such as fp64+random or mixed+hashed+12"
            )
    if "precision" not in found:
        raise InputError(f"--conditions: '{text}' names no precision ({', '.join(precisions)})")
    return Condition(**found)  # type: ignore[arg-type]
