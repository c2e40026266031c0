"""The force in an OpenMM System, through TorchForce or through PythonForce, with the same module."""

import importlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final

# Before OpenMM loads its plugins: openmmtorch's need libraries that come with torch.
import torch  # isort: skip
import numpy as np
import openmm
from numpy.typing import NDArray
from torch import Tensor

from mdet_openmm.errors import InputError, was_interrupted
from mdet_openmm.export.torchscript import MAKING, inline, once, run_plainly, script
from mdet_openmm.interrupt import held_back
from mdet_openmm.settings import one_of
from mdet_openmm.system.compute import Origin, PythonCompute
from mdet_openmm.system.cuda_graph import wants_graph
from mdet_openmm.system.guards import guard_serialisation
from mdet_openmm.system.placed import Placement, place
from mdet_openmm.system.platform import in_double


def _load_torch_plugins() -> None:
    """Load openmmtorch's plugins now, if OpenMM was imported before torch and could not.

    They need libraries that come with torch (libnvrtc, also on machines without a GPU).
    """
    for failure in openmm.Platform.getPluginLoadFailures():
        library = failure.removeprefix("Error loading library ").partition(": ")[0]
        if "Torch" in library:
            with suppress(openmm.OpenMMException):  # such as that of OpenCL, which is not there either
                openmm.Platform.loadPluginLibrary(library)


_load_torch_plugins()

BACKENDS: Final = ("auto", "torch", "python")
NOT_INSTALLED: Final = "openmmtorch is not installed"
log = logging.getLogger("mdet_openmm")


@contextmanager
def original_errors(*forces: Any) -> Iterator[None]:
    """Raise the exception that a PythonForce's callback met, not the OpenMMException that OpenMM makes of it.

    And a KeyboardInterrupt where Ctrl-C met Python code under TorchScript, which makes a RuntimeError of it.

    Parameters
    ----------
    forces
        From `add_force`, either backend.
    """
    try:
        yield
    except (openmm.OpenMMException, RuntimeError) as error:
        callbacks = [force.callback for force in forces if getattr(force, "callback", None) is not None]
        original = next((callback.error for callback in callbacks if callback.error is not None), None)
        if was_interrupted(error if original is None else original):
            original = KeyboardInterrupt()
        if original is None:
            raise
        for callback in callbacks:
            callback.error = None
        raise original from error


def make_system(masses: Sequence[float] | NDArray[np.float64]) -> Any:
    """A System of free particles: no forces, no constraints, no box.

    Parameters
    ----------
    masses
        (n,) in dalton, hydrogen's own for hydrogen.

    Returns
    -------
    openmm.System
        Particles in the order of the masses.
    """
    system = openmm.System()
    for mass in masses:
        system.addParticle(float(mass))
    return system


def add_force(
    system: Any,
    module: torch.jit.ScriptModule,
    backend: str = "auto",
    device: str = "cpu",
    cuda_graph: bool | None = None,
    *,
    placement: Placement | None = None,
    origin: Origin | None = None,
) -> Any:
    """Put the force of a bound module into a System.

    Parameters
    ----------
    system
        An openmm.System whose particles are the module's atoms, in the same order.
    module
        From `bind` (or any module from positions in nm to energy and forces in kJ/mol and kJ/mol/nm).
    backend
        "torch" (TorchForce), "python" (PythonForce), or "auto" (TorchForce where it works).
    device
        `PlatformChoice.device`: where the python backend computes. TorchForce goes where OpenMM is by itself.
    cuda_graph
        Capture the force calls in a CUDA graph, where the device is one of CUDA. None: the python backend does it for
        small molecules (`mdet_openmm.system.cuda_graph`); TorchForce, which ends the run where a capture fails, does
        not.
    placement
        Which particles are the module's atoms, where they are not all, and how it is made whole in a periodic box.
    origin
        Where the module comes from, so that a System with a PythonForce can be read in another process.

    Returns
    -------
    openmm.Force
        The force that was added. With the python backend, ``force.callback.error`` keeps the exception of a failed
        call (see `original_errors`).

    Raises
    ------
    InputError
        If the backend does not work here, or if the module is for another number of atoms.
    """
    chosen, why = choose_backend(backend, "CUDA" if torch.device(device).type == "cuda" else "Reference")
    log.info("%s backend: %s", chosen, why)
    bound = getattr(module, "n_atoms", 0)
    atoms = placement.atoms if placement is not None else None
    there = system.getNumParticles() if atoms is None else len(atoms)
    if bound not in (0, there):
        raise InputError(f"the force is bound to {bound} atoms, but the system has {there} particles for it")
    periodic = placement is not None and placement.parents is not None
    run_plainly()
    with MAKING:
        if chosen == "torch":
            with held_back():  # it writes the module into a buffer
                force = _openmmtorch().TorchForce(inline(place(module, placement)))
            force.setOutputsForces(True)
            if cuda_graph and torch.device(device).type == "cuda":
                force.setProperty("useCUDAGraphs", "true")
            guard_serialisation()
        else:
            # OpenMM hands over the positions of these atoms alone, in whatever box
            inner = place(module, replace(placement, atoms=None)) if placement is not None and periodic else module
            graphed = wants_graph(cuda_graph, module, there, device) and not periodic
            callback = PythonCompute(inline(inner), device, graphed, periodic, origin)
            force = openmm.PythonForce(callback)
            if atoms is not None:
                force.setParticles(list(atoms))
            force.callback = callback
        force.setUsesPeriodicBoundaryConditions(periodic)
    system.addForce(force)
    return force


def choose_backend(name: str = "auto", platform: str = "Reference") -> tuple[str, str]:
    """Choose between TorchForce and PythonForce.

    Parameters
    ----------
    name
        "torch", "python" or "auto": TorchForce where it imports and gives a right force, else PythonForce.
    platform
        OpenMM's name of the platform where a force is tried: TorchForce may work on one and not on another.

    Returns
    -------
    tuple of str
        "torch" or "python", and the reason in one sentence.

    Raises
    ------
    InputError
        For another name, and for a backend that does not work here.
    """
    one_of("backend", name, BACKENDS)
    if name != "python":
        problem = torch_problem(platform)
        if not problem:
            return "torch", "TorchForce (openmmtorch)" + (", as asked for" if name == "torch" else ": it works here")
        if name == "torch":
            raise InputError(f"the torch backend does not work here: {problem}; use --backend python")
        reason = f"PythonForce: TorchForce does not work here ({problem})"
    else:
        reason = "PythonForce, as asked for"
    problem = python_problem(platform)
    if problem:
        raise InputError(f"the python backend does not work here: {problem}")
    return "python", reason


class _Spring(torch.nn.Module):
    """Force -2 x, energy x^2: for trying a backend."""

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            energy = (positions * positions).sum()
            forces = (-2.0 * positions.detach()).contiguous()
        return energy, forces


def _openmmtorch() -> Any:
    """The module openmmtorch, imported without the warning about OpenMM's old name that it triggers itself."""

    def other(record: logging.LogRecord) -> bool:
        return "simtk.openmm" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(other)
    try:
        return importlib.import_module("openmmtorch")
    finally:
        root.removeFilter(other)


@once
def torch_problem(platform: str = "Reference") -> str:
    """Why TorchForce does not work on a platform here; empty if it does."""
    try:
        openmmtorch = _openmmtorch()
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "openmmtorch":
            return NOT_INSTALLED
        return f"openmmtorch does not import: {' '.join(str(error).split())}"

    def make() -> Any:
        with held_back():
            force = openmmtorch.TorchForce(script(_Spring()))
        force.setOutputsForces(True)
        return force

    return _trial(make, platform)


@once
def python_problem(platform: str = "Reference") -> str:
    """Why PythonForce does not work on a platform here; empty if it does."""
    version = tuple(int(p) for p in openmm.Platform.getOpenMMVersion().split(".")[:3])
    if version < (8, 6, 1)[: len(version)]:
        return f"OpenMM {openmm.Platform.getOpenMMVersion()} is older than 8.6.1"
    device = "cuda" if platform == "CUDA" else "cpu"
    return _trial(lambda: openmm.PythonForce(PythonCompute(script(_Spring()), device)), platform)


def _trial(make: Callable[[], Any], platform: str = "Reference") -> str:
    """Evaluate a spring in a Context; what is wrong with the answer, if anything."""
    # Importing is not enough: an openmmtorch built for another torch imports and fails at its first force call.
    try:
        system = make_system([1.0, 1.0])
        system.addForce(make())
        where = openmm.Platform.getPlatformByName(platform)
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), where, in_double(where))
        given = np.array([[0.1, 0.2, 0.3], [-0.4, 0.5, -0.6]])
        context.setPositions(given)
        forces = context.getState(forces=True).getForces(asNumpy=True)._value
    except Exception as error:
        return " ".join(str(error).split())[:200]
    if not np.allclose(forces, -2.0 * given, rtol=1e-6, atol=0):
        return "a trial force came back wrong"
    return ""
