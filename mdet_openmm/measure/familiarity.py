"""What the equivariance error of a molecule says of how well a model knows it."""

from typing import Final

KNOWN, RAISED, STRANGE = "known", "raised", "strange"

E_EQ_RAISED: Final = 1.75
"""Times the training value. The 57 own molecules of a model of 233,000 parameters reach 1.74 times their mean, and
acrolein, which it does not know and whose forces are wrong by seven times the usual error, 2.0."""
E_EQ_STRANGE: Final = 4.0
"""Times the training value: beyond what any molecule reaches that shares its bonds with the training set."""


def familiarity(e_eq: float, training: float) -> str:
    """``known``, ``raised`` or ``strange``: E_eq against its value on held-out structures of the training's molecules.

    Both with one orientation, in the same unit.
    """
    ratio = e_eq / training
    return KNOWN if ratio <= E_EQ_RAISED else RAISED if ratio <= E_EQ_STRANGE else STRANGE
