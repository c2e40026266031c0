"""Clear errors where a direct force, or TorchForce under a recent OpenMM, would go wrong silently or crash."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, Final

# Before OpenMM loads its plugins: openmmtorch's need libraries that come with torch.
import torch  # noqa: F401  # isort: skip
import openmm
from openmm import app

from mdet_openmm.errors import InputError
from mdet_openmm.system.platform import PlatformChoice

_NO_MINIMIZER: Final = (
    "minimizeEnergy needs an energy and this model has none (it would silently do nothing); "
    "relax on the forces instead: run_nvt.py --minimize, or ASE's FIRE"
)
_NO_COPY: Final = (
    "a System or Force that holds a TorchForce cannot be copied, serialised or read back under OpenMM 8.6 and later "
    "with openmmtorch 1.5 (it would crash); build it again from the model, or use the python backend, whose "
    "Systems can be copied and serialised within a process"
)
_NOT_THE_GRADIENT: Final = (
    "the forces come straight from the network and are not the gradient of the energy that it also gives: "
    "minimizeEnergy may end early, and the total energy is not conserved"
)
# These compare energies to accept a move or to weight a state.
_NEEDS_ENERGY: Final = ("Barostat", "ATMForce")


def check_system(system: Any, has_energy: bool) -> None:
    """Refuse forces in a System that need an energy, for a model that has none.

    Parameters
    ----------
    system
        An openmm.System.
    has_energy
        Whether the model predicts an energy.

    Raises
    ------
    InputError
        For a Monte Carlo barostat and for an ATMForce: with an energy that is always 0 they accept moves that they
        should refuse, without a sign.
    """
    if has_energy:
        return
    for force in system.getForces():
        kind = type(force).__name__
        if any(word in kind for word in _NEEDS_ENERGY):
            raise InputError(
                f"{kind} compares energies and this model has none, so its result would be wrong; remove it"
            )


class DirectForceSimulation(app.Simulation):
    """A Simulation for a force without an energy: it refuses to minimise an energy that is not there."""

    def minimizeEnergy(self, *args: Any, **kwargs: Any) -> None:
        """Refuse, with the reason.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError(_NO_MINIMIZER)


def make_simulation(
    topology: Any, system: Any, integrator: Any, choice: PlatformChoice, has_energy: bool, conservative: bool = False
) -> app.Simulation:
    """Make the Simulation, after checking that nothing in it needs an energy that the model does not have.

    Parameters
    ----------
    topology, system, integrator
        OpenMM's.
    choice
        From `choose_platform`.
    has_energy
        Whether the model predicts an energy.
    conservative
        Whether the forces are the gradient of that energy (``module.conservative``); if they are not, a warning says
        so once.

    Returns
    -------
    openmm.app.Simulation
        Whose `minimizeEnergy` raises InputError if there is no energy.

    Raises
    ------
    InputError
        See `check_system`.
    """
    check_system(system, has_energy)
    if has_energy and not conservative:
        warnings.warn(_NOT_THE_GRADIENT, stacklevel=2)
    kind = app.Simulation if has_energy else DirectForceSimulation
    return kind(topology, system, integrator, choice.platform, choice.properties)


def _holds_torch_force(thing: Any) -> bool:
    import openmmtorch

    if isinstance(thing, str):
        return 'type="TorchForce"' in thing
    if isinstance(thing, openmm.System):
        return any(_holds_torch_force(force) for force in thing.getForces())
    if isinstance(thing, openmm.CustomCVForce):
        return any(_holds_torch_force(thing.getCollectiveVariable(i)) for i in range(thing.getNumCollectiveVariables()))
    return isinstance(thing, openmm.Force) and bool(openmmtorch.TorchForce.isinstance(thing))


def _refusing(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def guarded(thing: Any, *args: Any) -> Any:
        if _holds_torch_force(thing):
            raise InputError(_NO_COPY)
        return original(thing, *args)

    return guarded


@functools.cache
def guard_serialisation() -> bool:
    """Make copies, pickles and XML of a TorchForce an error, under OpenMM 8.6 and later.

    Reading one back, or copying it, is a segmentation fault there (openmmtorch 1.5 was built before an ABI change).
    OpenMM makes such copies by itself in places that no subclass of ours is seen, for example from
    ``context.getSystem()``, so the few functions through which all of them pass are wrapped: six of
    openmm.XmlSerializer and ``System.__copy__``. They do what they did for everything that holds no TorchForce.
    Called when the first TorchForce is added.

    Returns
    -------
    bool
        Whether the guard is needed here, and so in place.
    """
    version = tuple(int(part) for part in openmm.Platform.getOpenMMVersion().split(".")[:2])
    if version < (8, 6):
        return False
    serializer = openmm.XmlSerializer
    for name in (
        "serializeSystem",
        "deserializeSystem",
        "_cloneSystem",
        "_serializeForce",
        "_deserializeForce",
        "_cloneForce",
    ):
        setattr(serializer, name, staticmethod(_refusing(getattr(serializer, name))))
    openmm.System.__copy__ = _refusing(openmm.System.__copy__)
    return True
