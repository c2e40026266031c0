"""Run folders with known physics, written without any model: what run_nvt.py leaves behind, for tests of the analysis.

`python tests/stand_ins/fake_run.py DIR [ps]` writes harmonic ethanol to look at.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import mdtraj
import numpy as np
from ase.data import atomic_masses, chemical_symbols
from numpy.typing import NDArray

KB = 8.31446261815324e-3  # kJ/mol/K


def summary_of(
    numbers: Sequence[int], frames: int, *, temperature: float, interval_fs: float, **extra: object
) -> dict[str, object]:
    """A summary.json as run_nvt.py writes it."""
    return {
        "exit_reason": "completed",
        "steps": frames * 2,
        "time_ps": frames * interval_fs * 1e-3,
        "timestep_fs": interval_fs / 2,
        "temperature_K": temperature,
        "friction_per_ps": 1.0,
        "report_interval_fs": interval_fs,
        "ns_per_day": 1.5,
        "ms_per_step": 28.8,
        "backend": "torch",
        "platform": "Reference",
        "precision": "double",
        "frames": 12,
        "offset": "hashed",
        "seed": 1,
        "charge": 0,
        "multiplicity": 1,
        "model": {"name": "springs", "sha256": "0" * 64},
        "atomic_numbers": list(numbers),
        "thermostat": "langevin",
        "versions": {"openmm": "8.6.1"},
    } | extra


def gamma_temperatures(rng: np.random.Generator, rows: int, atoms: int, target: float) -> NDArray[np.float64]:
    """Canonical kinetic temperatures in K, from the squares of 3n normal velocities each."""
    return target * (rng.normal(size=(rows, 3 * atoms)) ** 2).mean(axis=1)


def write_run(
    folder: Path,
    numbers: Sequence[int],
    positions: NDArray[np.float64],
    *,
    temperature: float = 300.0,
    interval_fs: float = 1.0,
    temperatures: Mapping[str, NDArray[np.float64]] | None = None,
    stretch: NDArray[np.float64] | None = None,
    seed: int = 0,
    **extra: object,
) -> Path:
    """Write positions (f, n, 3) in Å as a finished run; canonical temperatures are drawn unless given."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = len(positions)
    topology = mdtraj.Topology()
    residue = topology.add_residue("MOL", topology.add_chain())
    for i, number in enumerate(numbers):
        symbol = chemical_symbols[number]
        topology.add_atom(f"{symbol}{i + 1}", mdtraj.element.get_by_symbol(symbol), residue)
    trajectory = mdtraj.Trajectory(np.asarray(positions, dtype=np.float32) / 10, topology)
    trajectory[:1].save_pdb(str(folder / "topology.pdb"))
    trajectory.save_dcd(str(folder / "trajectory.dcd"))

    rng = np.random.default_rng(seed)
    symbols = [chemical_symbols[z] for z in sorted(set(numbers))]
    if temperatures is None:
        counts = {symbol: sum(chemical_symbols[z] == symbol for z in numbers) for symbol in symbols}
        parts = {symbol: gamma_temperatures(rng, frames, count, temperature) for symbol, count in counts.items()}
        total = sum(parts[symbol] * counts[symbol] for symbol in symbols) / len(numbers)
        temperatures = {"": total} | parts
    with (folder / "log.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        columns = [f"temperature_{s}_K" for s in symbols]
        writer.writerow(["step", "time_ps", "temperature_K", *columns, "max_force_kJ_mol_nm", "max_bond_stretch_A"])
        for i in range(frames):
            row = [2 * (i + 1), (i + 1) * interval_fs * 1e-3, temperatures[""][i]]
            row += [temperatures[symbol][i] for symbol in symbols]
            writer.writerow([*row, 1000.0, 0.0 if stretch is None else stretch[i]])
    summary = summary_of(numbers, frames, temperature=temperature, interval_fs=interval_fs, **extra)
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def thermal_spring(
    rng: np.random.Generator,
    frames: int,
    *,
    length: float,
    wavenumber: float,
    reduced_mass: float,
    temperature: float,
) -> tuple[NDArray[np.float64], float]:
    """Independent bond lengths in Å of a classical harmonic spring, and their exact standard deviation √(k_B T/μω²)."""
    omega = 2 * np.pi * wavenumber * 2.99792458e-2  # 1/ps
    sigma = np.sqrt(KB * temperature / reduced_mass) / omega * 10
    return length + sigma * rng.normal(size=frames), float(sigma)


def random_rotations(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """(count, 3, 3) uniform rotations."""
    from scipy.spatial.transform import Rotation

    return Rotation.random(count, rng=rng).as_matrix()


ETHANOL_NUMBERS = (6, 6, 8, 1, 1, 1, 1, 1, 1)
ETHANOL = np.array(
    [
        [-1.168, -0.399, 0.000],
        [0.000, 0.558, 0.000],
        [1.193, -0.218, 0.000],
        [-2.115, 0.150, 0.000],
        [-1.136, -1.040, 0.886],
        [-1.136, -1.040, -0.886],
        [-0.042, 1.205, 0.886],
        [-0.042, 1.205, -0.886],
        [1.945, 0.386, 0.000],
    ]
)
ETHANOL_BONDS = ((0, 1), (1, 2), (0, 3), (0, 4), (0, 5), (1, 6), (1, 7), (2, 8))


def harmonic_ethanol(
    folder: Path,
    *,
    time_ps: float = 2.0,
    interval_fs: float = 2.0,
    temperature: float = 300.0,
    seed: int = 3,
    length_shift: float = 0.0,
) -> Path:
    """Langevin dynamics of ethanol with harmonic bonds and angles and threefold torsions, on the Reference platform.

    `length_shift` in Å lengthens the C–O bond, to make a reference that differs.
    """
    import openmm
    from openmm import unit

    from mdet_openmm.molecules.bonds import angle_triples, dihedral_quadruples

    xyz = ETHANOL / 10
    system = openmm.System()
    for number in ETHANOL_NUMBERS:
        system.addParticle(atomic_masses[number])
    bonds, angles, torsions = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce(), openmm.PeriodicTorsionForce()
    for i, j in ETHANOL_BONDS:
        light = 1 in (ETHANOL_NUMBERS[i], ETHANOL_NUMBERS[j])
        extra = length_shift / 10 if (i, j) == (1, 2) else 0.0
        bonds.addBond(i, j, float(np.linalg.norm(xyz[i] - xyz[j])) + extra, 284512.0 if light else 259408.0)
    table = np.array(sorted(map(sorted, ETHANOL_BONDS)))
    for i, j, k in angle_triples(table):
        a, b = xyz[i] - xyz[j], xyz[k] - xyz[j]
        angles.addAngle(i, j, k, float(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))), 420.0)
    for i, j, k, m in dihedral_quadruples(table):
        torsions.addTorsion(i, j, k, m, 3, 0.0, 0.65)
    for force in (bonds, angles, torsions):
        system.addForce(force)
    integrator = openmm.LangevinMiddleIntegrator(temperature, 1.0, 0.0005)
    integrator.setRandomNumberSeed(seed)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(xyz)
    context.setVelocitiesToTemperature(temperature, seed)
    integrator.step(2000)
    masses = atomic_masses[list(ETHANOL_NUMBERS)]
    frames, rates = [], []
    for _ in range(round(time_ps * 1000 / interval_fs)):
        integrator.step(round(interval_fs / 0.5))
        state = context.getState(getPositions=True, getVelocities=True)
        frames.append(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
        rates.append(state.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond))
    squares = masses * (np.array(rates) ** 2).sum(axis=2) / (3 * KB)
    temperatures = {"": squares.mean(axis=1)}
    for number in set(ETHANOL_NUMBERS):
        temperatures[chemical_symbols[number]] = squares[:, np.array(ETHANOL_NUMBERS) == number].mean(axis=1)
    write_run(
        folder,
        ETHANOL_NUMBERS,
        np.array(frames),
        temperature=temperature,
        interval_fs=interval_fs,
        temperatures=temperatures,
    )
    return folder


if __name__ == "__main__":
    import sys

    harmonic_ethanol(Path(sys.argv[1]), time_ps=float(sys.argv[2]) if len(sys.argv) > 2 else 20.0)
