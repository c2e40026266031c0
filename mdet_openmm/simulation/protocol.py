"""Public protocols that a run can follow, so that its numbers stand beside other people's."""

from collections.abc import Mapping
from typing import Any, Final

ML_PEG_NVE: Final = "ml-peg-nve"
"""Constant energy: 50 ps from the structure as it is given, with velocities drawn at 300 K; the drift in meV/atom/ps
and over the standard deviation of the kinetic energy (ML-PEG, https://github.com/ddmms/ml-peg/issues/851)."""
MLIPAUDIT_STABILITY: Final = "mlipaudit-stability"
"""A bath of 300 K for 100,000 steps: the temperature does not explode, and no hydrogen is alone at the end (MLIPAudit,
https://instadeepai.github.io/mlipaudit/)."""

_START: Final = {"temperature": 300.0, "timestep": 1.0, "equilibrate": 0.0, "minimize": False}
PROTOCOLS: Final[Mapping[str, Mapping[str, Any]]] = {
    ML_PEG_NVE: {**_START, "steps": 50_000},
    # the protocol's own criteria are looked at when the run has ended
    MLIPAUDIT_STABILITY: {**_START, "steps": 100_000, "watch": False},
}
"""What each fixes of the settings of a run."""

SOFT_LIMIT: Final = 1.0
"""Of the drift ratio of ML-PEG: there the drift is as large as the kinetic energy fluctuates."""
FARTHEST_HYDROGEN_A: Final = 2.5
"""Of MLIPAudit: a hydrogen farther from every heavier atom has left."""
EXPLOSION_K: Final = 10_000.0
"""Of MLIPAudit, above the temperature of the bath."""


def fixed(protocol: str | None) -> Mapping[str, Any]:
    """What a protocol fixes; nothing without one."""
    return {} if protocol is None else PROTOCOLS[protocol]
