"""Electron configurations of the elements, as the published network uses them."""

import numpy as np
from numpy.typing import NDArray

SUBSHELLS = ["1s", "2s", "2p", "3s", "3p", "4s", "3d", "4p", "5s", "4d", "5p", "6s", "4f", "5d", "6p", "7s", "5f", "6d"]
CAPACITY = {"s": 2, "p": 6, "d": 10, "f": 14}
COLUMN_MAXIMA = np.array(
    [101, 2, 2, 6, 2, 6, 2, 10, 6, 2, 10, 6, 2, 14, 10, 6, 2, 12, 2, 2, 6, 10, 14], dtype=np.float64
)
N_ROWS = 102

# Ground states that the filling order misses: element -> the subshells that differ.
EXCEPTIONS: dict[int, dict[str, int]] = {
    24: {"4s": 1, "3d": 5},
    29: {"4s": 1, "3d": 10},
    41: {"5s": 1, "4d": 4},
    42: {"5s": 1, "4d": 5},
    44: {"5s": 1, "4d": 7},
    45: {"5s": 1, "4d": 8},
    46: {"5s": 0, "4d": 10},
    47: {"5s": 1, "4d": 10},
    57: {"4f": 0, "5d": 1},
    58: {"4f": 1, "5d": 1},
    64: {"4f": 7, "5d": 1},
    78: {"6s": 1, "5d": 9},
    79: {"6s": 1, "5d": 10},
    89: {"5f": 0, "6d": 1},
    90: {"5f": 0, "6d": 2},
    91: {"5f": 2, "6d": 1},
    92: {"5f": 3, "6d": 1},
    93: {"5f": 4, "6d": 1},
    96: {"5f": 7, "6d": 1},
}
NOBLE = (2, 10, 18, 36, 54, 86)


def electron_counts() -> NDArray[np.int64]:
    """Integer table (102, 23): Z, 18 subshells, then the valence s, p, d and f occupations.

    Rows are Z = 0 to 101; row 101 is the authors' class token, whose subshells are empty. Uranium's valence d and f
    are swapped as in the authors' table, because trained weights have seen it so.
    """
    table = np.zeros((N_ROWS, 1 + len(SUBSHELLS) + 4), dtype=np.int64)
    table[101, 0] = 101
    for z in range(1, 101):
        left = z
        occupation = {}
        for shell in SUBSHELLS:
            occupation[shell] = min(left, CAPACITY[shell[1]])
            left -= occupation[shell]
        occupation.update(EXCEPTIONS.get(z, {}))
        period = 1 + sum(z > noble for noble in NOBLE)
        valence = [
            occupation.get(f"{period - offset}{kind}", 0) for kind, offset in (("s", 0), ("p", 0), ("d", 1), ("f", 2))
        ]
        if z == 92:
            valence[2], valence[3] = 3, 1
        table[z] = [z, *(occupation[s] for s in SUBSHELLS), *valence]
    return table


def electron_features() -> NDArray[np.float64]:
    """The table with every column divided by its maximum, (102, 23) float64 in [0, 1]."""
    return electron_counts() / COLUMN_MAXIMA
