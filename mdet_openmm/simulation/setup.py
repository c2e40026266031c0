"""Everything that a run needs, read and checked before anything is computed or written."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

# Before OpenMM loads its plugins: openmmtorch's need libraries that come with torch.
import torch  # isort: skip
import numpy as np
import openmm
import openmm.app
from numpy.typing import NDArray

from mdet_openmm.cores import available_cores, threads_asked_for
from mdet_openmm.data.teacher import Teacher
from mdet_openmm.errors import InputError
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.memory import check_memory
from mdet_openmm.export.model_folder import Model, load_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.export.standing import sentences
from mdet_openmm.molecules.checks import check_elements
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.molecules.topology import made_topology
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.monitor import Monitor, make_monitor
from mdet_openmm.simulation.schedule import Schedule, make_schedule
from mdet_openmm.simulation.settings import (
    AUTO_CYCLE,
    AUTO_ORIENTATIONS,
    DEFAULT_LARGEST_DRIFT,
    NveSettings,
    RunSettings,
)
from mdet_openmm.simulation.teacher_energy import teacher_for
from mdet_openmm.simulation.thermostat import (
    make_integrator,
    replica_seeds,
)
from mdet_openmm.simulation.verlet import FAST, SLOW
from mdet_openmm.system.force import add_force, choose_backend, make_system
from mdet_openmm.system.guards import check_system
from mdet_openmm.system.platform import PlatformChoice, choose_platform

LONG_TIMESTEP_FS = 1.0
SMALL = 4000
"""Structures times atoms squared up to which one thread is fastest (measured: 9 atoms take 2.9 ms with one thread,
and several hundred with four on a machine that is also busy with something else)."""


Say = Callable[[str], None]
"""Takes lines for the user."""


@dataclass(frozen=True)
class Setup:
    """A run that passed every check and is ready to be computed.

    Attributes
    ----------
    settings
        Resolved, with the backend and the platform that were chosen.
    molecule, topology, model
        What is simulated, and with what.
    schedule
        When what happens.
    choice
        The platform, with the reason.
    context, forces
        OpenMM's; the forces are the model's, two with multiple time steps.
    steady
        The model's force on one molecule without an offset, unfrozen; for the relaxation.
    module
        The model's force as it runs, unfrozen; of multiple time steps the direct one.
    monitor
        With the bond lengths of the input structure.
    teacher
        Whose energy is evaluated when the run has ended, or None.
    identity
        What a restart has to find unchanged: hashes of model and structure.
    """

    settings: RunSettings
    molecule: Molecule
    topology: Any
    model: Model
    schedule: Schedule
    choice: PlatformChoice
    context: Any
    forces: tuple[Any, ...]
    steady: torch.jit.ScriptModule
    module: torch.jit.ScriptModule
    monitor: Monitor
    teacher: Teacher | None
    identity: dict[str, Any]


def prepare(settings: RunSettings, say: Say) -> Setup:
    """Read, check and build everything, without writing anything.

    Parameters
    ----------
    settings
        Resolved settings.
    say
        Takes lines for the user.

    Raises
    ------
    InputError
        For a molecule, model, platform or backend that cannot work.
    """
    molecule = read_molecule(settings.system, settings.charge, settings.multiplicity)
    if molecule.n_atoms == 1 and getattr(settings, "thermostat", "") != "langevin":
        kept = "nose-hoover keeps; use langevin" if settings.ensemble == "nvt" else "NVE keeps; use run_nvt.py"
        raise InputError(f"a single atom has no motion besides its momentum, which {kept}")
    model = load_model(settings.model)
    teacher = None
    if isinstance(settings, NveSettings):
        kind, teacher = teacher_for(settings.teacher, model, molecule, say)
        settings = replace(settings, teacher=kind)
    check_elements(molecule, model.elements, model.name)
    topology = made_topology(molecule)
    schedule = make_schedule(settings)
    run_folder.check_free_space(settings.folder, settings.replicas * _bytes_to_write(schedule, molecule))
    choice = choose_platform(settings.platform, settings.precision)
    chosen = ForceOptions(forces=settings.forces, offset=settings.offset)
    if settings.multiple_time_steps is not None:
        chosen = replace(chosen.split()[1].resolved(model), forces="conservative")
    chosen = chosen.resolved(model)
    settings = replace(settings, forces=chosen.forces, offset=chosen.offset)
    if isinstance(settings, NveSettings) and settings.hold_energy is not None:
        check_held(model, chosen)
    if settings.orientations == AUTO_ORIENTATIONS:
        settings = _with_orientations(settings, model, molecule, say)
    if settings.multiple_time_steps == AUTO_CYCLE:
        settings = _with_cycle(settings, model, molecule, say)
        schedule = make_schedule(settings)
    on_gpu = torch.cuda.mem_get_info()[0] if choice.device == "cuda" else None
    check_memory(model, molecule.n_atoms, settings.force_options, on_gpu, settings.replicas)
    backend, why = choose_backend(settings.backend, choice.name)
    settings = replace(
        settings,
        platform=choice.name,
        backend=backend,
        charge=molecule.charge,
        multiplicity=molecule.multiplicity,
        threads=settings.threads or _threads(molecule.n_atoms, settings.orientations * settings.replicas),
    )
    torch.set_num_threads(settings.threads or 1)
    say(f"{molecule.name}: {molecule.n_atoms} atoms, charge {molecule.charge}, multiplicity {molecule.multiplicity}")
    say(f"model {model.name} (sha256 {model.sha256[:12]})\n{choice.reason}\n{backend} backend: {why}")
    say(
        f"{settings.forces} forces, {settings.orientations} orientation(s), offset {settings.offset}, seed "
        f"{settings.seed}, {settings.threads} CPU thread(s)"
    )
    if settings.multiple_time_steps is not None:
        say(
            f"multiple time steps: direct forces every {settings.timestep:g} fs, corrected by the gradient every "
            f"{settings.multiple_time_steps * settings.timestep:g} fs"
        )
    if settings.replicas > 1:
        say(f"{settings.replicas} replicas, each with its own velocities, noise and rotations, in one force call")
    if settings.timestep > LONG_TIMESTEP_FS:
        say(f"note: {settings.timestep} fs is a long time step for bonds with hydrogen")
    if settings.offset == "random":
        say("note: with --offset random a restarted run is not the same as an unbroken one; --offset hashed is")
        torch.manual_seed(settings.seed or 0)
    for note in notes_on_forces(model, settings, molecule):
        say(f"note: {note}")
    options = settings.force_options
    parts = (options,) if settings.multiple_time_steps is None else options.split(settings.multiple_time_steps)
    seeds = replica_seeds(settings.seed or 0, settings.replicas) if settings.replicas > 1 else None
    modules = [bind(model, molecule, part, seeds) for part in parts]
    masses = _masses(molecule)
    system = make_system(np.tile(masses, settings.replicas))
    forces = tuple(add_force(system, module, backend, choice.device, settings.cuda_graph) for module in modules)
    for group, force in zip((FAST, SLOW), forces, strict=False):
        force.setForceGroup(group)
    integrator = make_integrator(settings, system)
    check_system(system, model.has_energy)
    context = openmm.Context(system, integrator, choice.platform, choice.properties)
    still = replace(options, offset="none")
    steady = modules[0] if parts[0] == still and seeds is None else bind(model, molecule, still)
    identity = {
        "model": {"name": model.name, "sha256": model.sha256},
        "molecule": {
            "atomic_numbers": molecule.atomic_numbers.tolist(),
            "charge": molecule.charge,
            "multiplicity": molecule.multiplicity,
            "positions_sha256": hashlib.sha256(np.ascontiguousarray(molecule.positions).tobytes()).hexdigest(),
        },
    }
    monitor = make_monitor(settings, molecule, masses)
    return Setup(
        settings, molecule, topology, model, schedule, choice, context, forces, steady, modules[0], monitor, teacher,
        identity,
    )  # fmt: skip


def check_held(model: Model, options: ForceOptions) -> None:
    """Refuse to hold an energy that is not there, or that is kept without it."""
    if not model.has_energy:
        raise InputError(f"--hold-energy needs a model with an energy head, which {model.name} does not have")
    if options.conservative:
        raise InputError("--hold-energy is for direct forces; conservative ones keep their energy without it")


def _with_orientations(
    settings: RunSettings, model: Model, molecule: Molecule, say: Callable[[str], None]
) -> RunSettings:
    """The settings with a number of orientations, measured on a few thermal structures, in place of "auto"."""
    # here because a diagnosis, of which this is a part, makes short runs of its own
    from mdet_openmm.simulation.orientations import choose_orientations

    if settings.offset == "none":
        raise InputError("--orientations auto weighs the noise of a rotation offset, and --offset none makes none")
    say("--orientations auto: measuring the noise")
    chosen = choose_orientations(
        model,
        molecule,
        temperature=settings.temperature,
        timestep=settings.timestep,
        friction=getattr(settings, "friction", None),
        time=1e-3 * settings.timestep * (settings.steps or 0),
        precision=settings.precision,
        forces=settings.forces,
        seed=settings.seed or 0,
    )
    say(chosen.reason)
    return replace(settings, orientations=chosen.orientations)


def _with_cycle(settings: RunSettings, model: Model, molecule: Molecule, say: Callable[[str], None]) -> RunSettings:
    """The settings with the multiple time steps that a drift allows, measured on short runs, in place of "auto"."""
    # here because it makes short runs of its own
    from mdet_openmm.simulation.cycles import choose_cycle

    allowed = settings.largest_drift or DEFAULT_LARGEST_DRIFT
    say(f"--multiple-time-steps auto: measuring the drift, at most {allowed:g} meV/atom/ps")
    chosen = choose_cycle(
        model,
        molecule,
        allowed=allowed,
        temperature=settings.temperature,
        timestep=settings.timestep,
        options=settings.force_options,
        dividing=settings.steps or 0,
        seed=settings.seed or 0,
    )
    say(chosen.reason)
    return replace(settings, multiple_time_steps=chosen.cycle, largest_drift=None)


def notes_on_forces(model: Model, settings: RunSettings, molecule: Molecule) -> list[str]:
    """What a user should know of the forces that were chosen, beside how the molecule stands to the training."""
    notes = sentences(model, molecule)
    if settings.forces == "direct" and model.has_energy:
        notes.append("the forces come straight from the network; they are not the gradient of the energy it gives")
    if settings.forces == "conservative" and settings.offset != "none":
        notes.append("with a rotation offset the energy jumps from step to step; --offset none conserves it")
    return notes


def _threads(n_atoms: int, orientations: int) -> int:
    """CPU threads where none were asked for."""
    if threads_asked_for() is not None:
        return int(torch.get_num_threads())
    return 1 if orientations * n_atoms**2 <= SMALL else max(1, available_cores() // 2)


def _masses(molecule: Molecule) -> NDArray[np.float64]:
    element = openmm.app.Element.getByAtomicNumber
    return np.array([element(int(z)).mass._value for z in molecule.atomic_numbers])


def _bytes_to_write(schedule: Schedule, molecule: Molecule) -> float:
    frames = (schedule.total - schedule.equilibrate) // schedule.report
    return frames * (12.0 * molecule.n_atoms + 24.0 + 100.0) + 1e6
