"""Well-tempered metadynamics of a dihedral with OpenMM's own classes, which need no energy of the model.

The bias is a force of OpenMM's beside the model's, and the height of its hills goes by the bias alone. What comes out
is −k_B T ln p of the angle, p as the dynamics has it in a bath: for conservative forces the free energy; for direct
ones that of the stationary state that bath and forces make, which `mdet diagnose` and a scan
(`mdet_openmm.simulation.scan`) say how far to trust.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.errors import RunStopped
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.torsions import Torsion
from mdet_openmm.simulation.torsion_settings import MetadynamicsSettings

GRID = 181
"""Points of the bias from −180° to 180°."""


def torsion_variable(torsion: Torsion, width: float) -> Any:
    """The angle as an ``openmm.app.BiasVariable``, with hills of a width in degrees."""
    import openmm
    from openmm import app

    force = openmm.CustomTorsionForce("theta")
    force.addTorsion(*torsion.atoms, [])
    return app.BiasVariable(force, -np.pi, np.pi, np.radians(width), periodic=True, gridWidth=GRID)


def torsion_restraint(torsion: Torsion, degrees: float, stiffness: float) -> Any:
    """A force that holds a dihedral: stiffness·(1 − cos(φ − φ₀)), which is ½·stiffness·(φ − φ₀)² near φ₀.

    Parameters
    ----------
    torsion
        Which.
    degrees
        φ₀.
    stiffness
        kJ/mol per radian².

    Returns
    -------
    openmm.PeriodicTorsionForce
        For ``system.addForce``; it needs no energy of the model's.
    """
    import openmm

    force = openmm.PeriodicTorsionForce()
    force.addTorsion(*torsion.atoms, 1, np.radians(degrees) + np.pi, stiffness)
    return force


def run_metadynamics(settings: MetadynamicsSettings) -> NDArray[np.float64]:
    """Relax, run, and write ``free_energy.csv``, ``dihedral.csv``, ``trajectory.dcd`` and ``topology.pdb``.

    Returns
    -------
    NDArray
        (GRID,) free energy in kJ/mol from −180° to 180°, 0 at its lowest.

    Raises
    ------
    InputError
        For anything that cannot work, before something is computed.
    RunStopped
        If a bond breaks or a position is not finite; what there is until then is written.
    """
    # Before OpenMM loads its plugins: openmmtorch's need libraries that come with torch.
    from mdet_openmm.system.force import add_force, choose_backend, make_system, original_errors  # isort: skip
    import openmm
    from openmm import app
    from tqdm import tqdm

    from mdet_openmm.export.force_module import bind
    from mdet_openmm.export.memory import check_memory
    from mdet_openmm.export.model_folder import load_model
    from mdet_openmm.molecules.bonds import find_bonds
    from mdet_openmm.molecules.dcd import DcdFile
    from mdet_openmm.molecules.readers import read_molecule
    from mdet_openmm.molecules.topology import made_topology
    from mdet_openmm.molecules.torsions import read_torsion
    from mdet_openmm.simulation import run_folder
    from mdet_openmm.simulation.monitor import Monitor, bond_lengths, runaway_temperature
    from mdet_openmm.simulation.relax import force_function, relax
    from mdet_openmm.simulation.state import read_phase
    from mdet_openmm.simulation.structures import atomic_masses
    from mdet_openmm.simulation.thermostat import derived_seeds, make_thermometer, starting_velocities
    from mdet_openmm.system.platform import choose_platform
    from mdet_openmm.units import NM_PER_ANGSTROM

    run_folder.check_new_folder(settings.folder)
    molecule = read_molecule(settings.system, settings.charge, settings.multiplicity)
    torsion = read_torsion(settings.dihedral, molecule)
    model = load_model(settings.model)
    options = ForceOptions(settings.precision, settings.orientations, seed=settings.seed, forces=settings.forces)
    check_memory(model, molecule.n_atoms, options)
    choice = choose_platform(None, settings.precision)
    masses, topology = atomic_masses(molecule), made_topology(molecule)
    steady = bind(
        model, molecule, ForceOptions(settings.precision, settings.orientations, "none", forces=settings.forces)
    )
    start = NM_PER_ANGSTROM * relax(molecule, force_function(steady, choice.device)).positions
    bonds = find_bonds(molecule.atomic_numbers, molecule.positions)
    thermometer = make_thermometer(molecule.atomic_numbers, masses, False)
    limit = runaway_temperature(settings.temperature, 3 * molecule.n_atoms)
    monitor = Monitor(bonds, bond_lengths(bonds, start), thermometer, limit)
    system = make_system(masses)
    backend, _ = choose_backend("auto", choice.name)
    force = add_force(system, bind(model, molecule, options), backend, choice.device)
    interval = max(1, round(settings.hills_every / settings.timestep))
    bias = app.Metadynamics(
        system, [torsion_variable(torsion, settings.width)], settings.temperature, settings.bias_factor,
        settings.height, interval,
    )  # fmt: skip
    integrator = openmm.LangevinMiddleIntegrator(settings.temperature, settings.friction, 1e-3 * settings.timestep)
    integrator.setRandomNumberSeed(derived_seeds(settings.seed)[1])
    simulation = app.Simulation(topology, system, integrator, choice.platform, choice.properties)
    simulation.context.setPositions(start)
    simulation.context.setVelocities(starting_velocities(masses, settings.temperature, settings.seed, False))
    settings.folder.mkdir(parents=True, exist_ok=True)
    run_folder.replace_pdb(settings.folder / run_folder.TOPOLOGY, topology, start)
    trajectory = DcdFile(settings.folder / run_folder.TRAJECTORY, molecule.n_atoms, 1e-3 * settings.timestep, interval)
    hills, problem = round(1000.0 * settings.time / settings.timestep) // interval, None
    seen: list[tuple[float, float]] = []
    with original_errors(force):
        for k in tqdm(range(1, hills + 1), unit="hill", leave=False):
            bias.step(simulation, interval)
            now = read_phase(simulation.context)
            problem = monitor.problem(now.positions, now.velocities)
            if problem is not None:
                break
            seen.append((k * interval * settings.timestep * 1e-3, torsion.angle(now.positions)))
            trajectory.write(now.positions)
    trajectory.close()
    free = np.asarray(bias.getFreeEnergy()._value)
    free = free - free.min()
    _write(settings.folder / "dihedral.csv", ("time_ps", "dihedral_deg"), seen)
    angles = np.linspace(-180.0, 180.0, GRID)
    _write(
        settings.folder / "free_energy.csv",
        ("dihedral_deg", "free_energy_kJ_mol"),
        list(zip(angles, free, strict=True)),
    )
    if problem is not None:
        raise RunStopped(
            f"{problem.message}, after {len(seen)} hills; what there is until then is in {settings.folder}"
        )
    span = max((a for _, a in seen)) - min((a for _, a in seen))
    barrier = f"highest barrier {free.max():.2f} kJ/mol"
    print(f"{hills} hills in {settings.time:g} ps, {barrier}, angles over {span:.0f} degrees")
    if options.resolved(model).forces == "direct":
        print("note: direct forces have no free energy; this is −kT ln p of the state that they and the bath make")
    print(f"files in {settings.folder}")
    return free


def _write(path: Path, header: tuple[str, str], rows: list[tuple[float, float]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([f"{a:.6g}", f"{b:.6f}"] for a, b in rows)
