"""What a PythonForce calls, and what is left of it where a System is copied or stored."""

import copy
import uuid
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openmm
import torch
from numpy.typing import NDArray

from mdet_openmm.errors import InputError
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.export.torchscript import MAKING, inline
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.system.cuda_graph import ForceCall, GraphedCall
from mdet_openmm.system.placed import Placement, place


@dataclass(frozen=True)
class Origin:
    """Where a force comes from: enough to make it again in another process, and to notice if it would be another one.

    Attributes
    ----------
    path
        Of the model folder.
    sha256
        Of its weights.
    species, options, placement
        As they were bound.
    """

    path: Path
    sha256: str
    species: Species
    options: ForceOptions
    placement: Placement | None = None

    def module(self) -> torch.jit.ScriptModule:
        """The force, made anew.

        Raises
        ------
        InputError
            If the model is not there any more, or has other weights.
        """
        model = load_model(self.path)
        if model.sha256 != self.sha256:
            raise InputError(
                f"the model in {self.path} has other weights (SHA-256 {model.sha256[:12]}…) than the one that the "
                f"force was made of ({self.sha256[:12]}…)"
            )
        return place(bind(model, self.species, self.options), self.placement)


class PythonCompute:
    """What a PythonForce calls: the module on a State's positions.

    OpenMM turns any exception raised here into a bare OpenMMException, Ctrl-C included, so the first one is kept in
    `error`; `original_errors` raises it again. OpenMM copies and serialises a PythonForce by pickling this, which
    gives a name and where the force comes from, not the weights: a copy in this process calls this same object, and a
    System that is read in another process makes the force anew at its first call, from the model folder with the
    same hash.

    Parameters
    ----------
    module
        As for `add_force`.
    device
        Where it computes.
    cuda_graph
        Capture its calls; the device must be a CUDA one.
    periodic
        Give the module the box vectors too.
    origin
        Where the module comes from; None: a copy works in this process only.

    Attributes
    ----------
    error
        None, or the first exception of a call.
    """

    def __init__(
        self,
        module: torch.jit.ScriptModule,
        device: str = "cpu",
        cuda_graph: bool = False,
        periodic: bool = False,
        origin: Origin | None = None,
    ) -> None:
        self._name = uuid.uuid4().hex
        _COMPUTES[self._name] = self
        self._has_energy = bool(getattr(module, "has_energy", True))
        self._periodic = periodic
        self.origin = origin
        with MAKING:
            # Frozen as TorchForce does it, in a copy: both backends then run the same graph.
            self.module: ForceCall = torch.jit.freeze(copy.deepcopy(module).to(device).eval())
        self.device = torch.device(device)
        if cuda_graph:
            self.module = GraphedCall(self.module, self.device)
        self.error: BaseException | None = None

    def __call__(self, state: Any) -> tuple[float, NDArray[np.float64]]:
        """Energy in kJ/mol and forces (n, 3) in kJ/mol/nm."""
        try:
            given = [torch.tensor(_in_nm(state.getPositions(asNumpy=True)), dtype=torch.float64, device=self.device)]
            if self._periodic:
                box = _in_nm(state.getPeriodicBoxVectors(asNumpy=True))
                given.append(torch.tensor(box, dtype=torch.float64, device=self.device))
            energy, forces = self.module(*given)
            # to the host one after the other, which waits for the device: not for an energy that is always 0
            return float(energy) if self._has_energy else 0.0, forces.cpu().numpy()
        except BaseException as error:
            if self.error is None:
                self.error = error
            raise

    def __reduce__(self) -> Any:
        """A name by which this process finds it again, and what another process makes it of."""
        return _compute_named, (self._name, self.origin, str(self.device), self._periodic)


class Remade:
    """A force in a process that did not make it: made at its first call, where an error can be raised."""

    def __init__(self, origin: Origin | None, device: str, periodic: bool) -> None:
        self._how = (origin, device, periodic)
        self._compute: PythonCompute | None = None

    def __call__(self, state: Any) -> tuple[float, NDArray[np.float64]]:
        """As `PythonCompute`."""
        if self._compute is None:
            origin, device, periodic = self._how
            if origin is None:
                raise InputError(
                    "the force of a model is stored with its System by name only, for copies in the process that made "
                    "it; make the System anew and put the force in with add_force"
                )
            where = device if torch.cuda.is_available() else "cpu"
            self._compute = PythonCompute(inline(origin.module()), where, periodic=periodic, origin=origin)
        return self._compute(state)

    def __reduce__(self) -> Any:
        """What it is made of."""
        return Remade, self._how


_COMPUTES: "weakref.WeakValueDictionary[str, PythonCompute]" = weakref.WeakValueDictionary()


def _compute_named(name: str, origin: Origin | None, device: str, periodic: bool) -> PythonCompute | Remade:
    # not an error yet: OpenMM 8.6 dies of one that is raised while it reads a force
    return _COMPUTES.get(name) or Remade(origin, device, periodic)


def _in_nm(quantity: Any) -> NDArray[np.float64]:
    value: NDArray[np.float64] = quantity.value_in_unit(openmm.unit.nanometer)
    return value
