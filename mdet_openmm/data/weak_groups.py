"""Functional groups that a teacher itself describes badly, beside true DFT (docs/teachers.md)."""

from collections.abc import Mapping
from typing import Final

from mdet_openmm.data.teacher import NAMES

LIMIT: Final = 100.0
"""meV/Å near the minimum, in the mean over the group's molecules, from which a group is named."""

WEAK_GROUPS: Final[Mapping[str, Mapping[str, tuple[tuple[str, ...], float]]]] = {
    NAMES["so3lr"]: {
        "peroxides": (("O(C,O)", "O(H,O)", "O(O,O)"), 175.0),
        "hydroxylamines": (("N(H,H,O)", "N(C,H,O)", "N(C,C,O)"), 134.0),
        "nitro groups": (("N(C,O,O)", "N(O,O,O)"), 591.0),
        "azides": (("N(N)",), 462.0),
        "sulfoxides": (("S(C,C,O)",), 419.0),
        "sulfonamides": (("S(C,N,O,O)",), 277.0),
        "trifluoromethyl": (("C(C,F,F,F)",), 207.0),
    },
}
"""By the teacher's name and the group's: environments of the atom that makes the group, as
`mdet_openmm.molecules.environments.near_environments` writes them, and the force error near the minimum in meV/Å
(``python experiments/teacher_check/check_teachers.py report``)."""
