"""What may be chosen about a bound force, for the API and for every command."""

from typing import Final

from mdet_openmm.settings import one_of

PRECISIONS: Final = ("double", "mixed", "fp32")
PRECISION_HELP: Final = (
    "double; mixed: the network's trunk in fp32, its geometry in double; fp32: everything in single, for ablations "
    "only, not recommended"
)
FRAMES: Final = (1, 12, 24, 60)
OFFSETS: Final = ("none", "random", "hashed")
FORCES: Final = ("direct", "conservative")


def default_offset(forces: str) -> str:
    """The rotation offset where none was asked for.

    Direct forces get one, which turns their dependence on the orientation into noise that the bath takes up. The
    energy of conservative ones would jump with it, so that they get none.
    """
    one_of("forces", forces, FORCES)
    return "hashed" if forces == "direct" else "none"
