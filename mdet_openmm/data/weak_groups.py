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
        "nitro groups": (("N(C,O,O)", "N(O,O,O)"), 293.0),
        "nitrites": (("N(O,O)",), 666.0),
        "azides": (("N(N)",), 462.0),
        "ketenes": (("C(C,O)",), 179.0),
        "isocyanates": (("C(N,O)",), 141.0),
        "isothiocyanates": (("C(N,S)",), 230.0),
        "cyanide ions": (("C(N)",), 727.0),
        "hydroxide ions": (("O(H)",), 364.0),
        "sulfur dioxide": (("S(O,O)",), 2162.0),
        "sulfoxides": (("S(C,C,O)",), 419.0),
        "sulfonamides": (("S(C,N,O,O)",), 277.0),
        "sulfonic acids and sulfonates": (("S(C,O,O,O)",), 214.0),
        "phosphines": (("P(H,H,H)", "P(C,H,H)", "P(C,C,H)", "P(C,C,C)"), 585.0),
        "phosphoryls": (("P(C,C,C,O)", "P(C,C,O,O)", "P(C,O,O,O)", "P(O,O,O,O)"), 434.0),
        "phosphites": (("P(O,O,O)",), 9830.0),
        "trifluoromethyl": (("C(C,F,F,F)",), 207.0),
    },
}
"""By the teacher's name and the group's: environments of the atom that makes the group, as
`mdet_openmm.molecules.environments.near_environments` writes them, and the force error near the minimum in meV/Å
(``python experiments/teacher_check/check_teachers.py report``). What has the same neighbours counts as the group:
cyanates as isocyanates, for example."""
