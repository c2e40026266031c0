"""Clear errors where a direct force, or TorchForce under a recent OpenMM, would go wrong silently or crash."""

import functools
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Final

# Before OpenMM loads its plugins: openmmtorch's need libraries that come with torch.
import torch  # noqa: F401  # isort: skip
import openmm
from openmm import app

from mdet_openmm.errors import InputError

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
_NO_COLUMN: Final = (
    "the model has no energy, so that the potential energy is written as 0 and the total energy is the kinetic one; "
    "leave these columns out of the StateDataReporter"
)
_NO_EXCHANGE: Final = (
    "{sampler} accepts moves between states by their energies, which is right only if the forces are the gradient of "
    "that energy; this model's {what}, and the ensembles would be wrong without a sign. Use --forces conservative or "
    "conservative=… of a model with an energy, or independent replicas (run_nvt.py --replicas), which need no energy"
)
_NO_BAROSTAT: Final = (
    "{kind} accepts moves by energies that this model's forces are not the gradient of, so its result would be wrong; "
    "use forces='conservative', or remove it"
)
# These compare energies to accept a move or to weight a state.
_NEEDS_ENERGY: Final = ("Barostat", "ATMForce")
_SAMPLERS: Final = ("ReplicaExchangeSampler", "ExpandedEnsembleSampler")


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
    check_system_of(system.getForces(), has_energy)


def check_system_of(forces: Iterable[Any], has_energy: bool) -> None:
    """As `check_system`, of these forces."""
    if has_energy:
        return
    for force in forces:
        kind = type(force).__name__
        if any(word in kind for word in _NEEDS_ENERGY):
            raise InputError(
                f"{kind} compares energies and this model has none, so its result would be wrong; remove it"
            )


NO_ENERGY: Final = " (forces without an energy)"
NOT_GRADIENT: Final = " (forces that are not the gradient of its energy)"
"""At the end of the name of a force, where OpenMM keeps it through copies and in a Context."""


def name_of_force(model: str, has_energy: bool, conservative: bool) -> str:
    """Such as ``MDET mdet-so3lr-small (forces without an energy)``: what `guard_energies` goes by."""
    return f"MDET {model}" + ("" if conservative else NOT_GRADIENT if has_energy else NO_ENERGY)


def _named(system: Any, ending: str) -> bool:
    return any(force.getName().endswith(ending) for force in system.getForces())


@functools.cache
def guard_energies() -> None:
    """Refuse, or warn of, what needs an energy in any System that holds one of our forces without one.

    OpenMM would do these without a sign of trouble: minimise a constant, accept every move of a barostat, print a total
    energy that is the kinetic one. The places through which they pass are wrapped, and do what they did for all
    other Systems: ``LocalEnergyMinimizer.minimize``, ``System.addForce``, ``StateDataReporter.report``, and the
    constructors of the samplers that exchange states (replica exchange, expanded ensembles, simulated tempering), which
    are refused for forces that are no gradient. Called when the first of our forces is added by
    `mdet_openmm.add_force`.
    """
    minimize, add, report = openmm.LocalEnergyMinimizer.minimize, openmm.System.addForce, app.StateDataReporter.report

    @functools.wraps(minimize)
    def checked_minimize(context: Any, *args: Any, **kwargs: Any) -> Any:
        system = context.getSystem()
        if _named(system, NO_ENERGY):
            raise InputError(_NO_MINIMIZER)
        if _named(system, NOT_GRADIENT):
            warnings.warn(_NOT_THE_GRADIENT, stacklevel=3)
        return minimize(context, *args, **kwargs)

    @functools.wraps(add)
    def checked_add(system: Any, force: Any) -> Any:
        if any(word in type(force).__name__ for word in _NEEDS_ENERGY):
            check_system_of([force], not _named(system, NO_ENERGY))
            if _named(system, NOT_GRADIENT):
                raise InputError(_NO_BAROSTAT.format(kind=type(force).__name__))
        elif force.getName().endswith(NO_ENERGY):
            check_system(system, False)
        return add(system, force)

    @functools.wraps(report)
    def checked_report(self: Any, simulation: Any, state: Any) -> Any:
        if not getattr(self, "_mdet_checked", False):
            self._mdet_checked = True
            asked = self._potentialEnergy or self._totalEnergy
            if asked and _named(simulation.system, NO_ENERGY):
                warnings.warn(_NO_COLUMN, stacklevel=2)
            elif self._totalEnergy and _named(simulation.system, NOT_GRADIENT):
                warnings.warn(_NOT_THE_GRADIENT, stacklevel=2)
        return report(self, simulation, state)

    for name in _SAMPLERS:
        sampler = getattr(app, name, None)  # of OpenMM 8.4 and later
        if sampler is not None:
            sampler.__init__ = _for_gradients_only(sampler.__init__, name)
    openmm.LocalEnergyMinimizer.minimize = staticmethod(checked_minimize)
    openmm.System.addForce = checked_add
    app.StateDataReporter.report = checked_report


def _for_gradients_only(make: Callable[..., None], sampler: str) -> Callable[..., None]:
    """The constructor of a sampler, which refuses a Simulation with forces that are no gradient."""

    @functools.wraps(make)
    def checked(self: Any, states: Any, simulation: Any, *args: Any, **kwargs: Any) -> None:
        for ending, what in ((NO_ENERGY, "has no energy"), (NOT_GRADIENT, "forces are not the gradient of its energy")):
            if _named(simulation.system, ending):
                self._openedLogFile = self._openedEnergyFile = False  # which its destructor asks for
                raise InputError(_NO_EXCHANGE.format(sampler=sampler, what=what))
        make(self, states, simulation, *args, **kwargs)

    return checked


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
