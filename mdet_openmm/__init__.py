"""MD-ET in OpenMM: train, export, run and measure an unconstrained Edge Transformer force field.

======================  ==========================================================================
`load_model`            a model from its folder, or a shipped one by its name
`read_molecule`         a molecule from PDB, mmCIF, XYZ, SDF or a SMILES
`create_system`         an openmm.System for a topology
`add_force`             the model's force in a System of one's own
`platform`              OpenMM's platform and properties, in double precision
`MDETCalculator`        the ASE calculator
======================  ==========================================================================

Nothing heavy is imported before it is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_HOME = {
    "MDETCalculator": "calculator",
    "add_force": "system.create",
    "create_system": "system.create",
    "load_model": "export.model_folder",
    "platform": "system.create",
    "read_molecule": "molecules.readers",
}
__all__ = ["MDETCalculator", "__version__", "add_force", "create_system", "load_model", "platform", "read_molecule"]

if TYPE_CHECKING:
    from mdet_openmm.calculator import MDETCalculator
    from mdet_openmm.export.model_folder import load_model
    from mdet_openmm.molecules.readers import read_molecule
    from mdet_openmm.system.create import add_force, create_system, platform


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """With what is imported late."""
    return sorted({*globals(), *_HOME})
