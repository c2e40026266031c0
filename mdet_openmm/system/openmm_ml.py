"""OpenMM-ML: ``MLPotential('mdet', modelPath=...)``, and every shipped model by its own name."""

from collections.abc import Iterable
from typing import Any

import openmm
from openmmml.mlpotential import MLPotentialImpl, MLPotentialImplFactory

from mdet_openmm.errors import InputError
from mdet_openmm.system.create import add_force

GENERAL = "mdet"
"""The name that takes a path; others are those of shipped models."""
PRECISIONS = {"double": "double", "mixed": "mixed", "single": "mixed", None: "double"}
"""OpenMM-ML's words for a precision: a direct force in plain fp32 is for ablations only."""


class MDETPotentialFactory(MLPotentialImplFactory):
    """Registered under the entry points ``openmmml.potentials``."""

    def createImpl(self, name: str, modelPath: str | None = None, **args: Any) -> MLPotentialImpl:
        """The potential of a model folder, or of the shipped model of this name."""
        if name == GENERAL and modelPath is None:
            raise InputError("MLPotential('mdet') needs modelPath, a model folder or the name of a shipped model")
        return MDETPotential(name, modelPath or name)


class MDETPotential(MLPotentialImpl):
    """An MD-ET model as OpenMM-ML has potentials.

    ``createSystem`` and ``createMixedSystem`` take, beside OpenMM-ML's own: charge, multiplicity, precision ("double",
    "single" or "mixed", which are the same here), device, positions (of all atoms, for checks), and the fields of
    `mdet_openmm.export.options.ForceOptions` (orientations, offset, seed, forces). PythonForce is used, which OpenMM-ML
    can copy and put into other forces.
    """

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = path

    def addForces(
        self, topology: Any, system: openmm.System, atoms: Iterable[int] | None, forceGroup: int, **args: Any
    ) -> None:
        """Add the force."""
        args.pop("mlLongRange", None)
        args.pop("linkAtomDistances", None)
        precision = args.pop("precision", None)
        if precision not in PRECISIONS:
            raise InputError(f"precision must be double, single or mixed, not {precision!r}")
        add_force(
            system,
            topology,
            self.path,
            atoms=None if atoms is None else list(atoms),
            force_group=forceGroup,
            backend="python",
            precision=PRECISIONS[precision],
            **args,
        )

    def getMLLongRange(self) -> bool:
        """It describes a free molecule: nothing reaches into other images."""
        return False
