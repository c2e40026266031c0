"""What fp32, mixed and double precision do to the forces and to a run at constant energy.

``python benchmarks/precision.py`` prints two tables: the force error against all-fp64 and E_eq, for the shipped model
and for random weights of the published size; and the drift of an NVE run of ethanol with the shipped model, whose true
energy is that of the teacher, GFN2-xTB, re-evaluated on saved frames (the extra ``label``). fp32 rounds the positions
and all of the geometry too, as codes do that cast the whole model.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as run_nvt.py does

import numpy as np
import openmm
import torch
from ase import Atoms
from speed import network as published
from tblite.ase import TBLite
from torch import Tensor

from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import Model, load_model
from mdet_openmm.measure.definitions import equivariance_error
from mdet_openmm.molecules.molecule import Molecule
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.molecules.smiles import molecule_from_smiles
from mdet_openmm.system.force import add_force, make_system
from mdet_openmm.training.evaluate import random_rotations
from mdet_openmm.units import ANGSTROM_PER_NM, KCAL_PER_MOL_PER_EV, KJ_PER_MOL_PER_EV

PRECISIONS = ("fp32", "mixed", "double")
KJ_NM_PER_KCAL_A = KJ_PER_MOL_PER_EV / KCAL_PER_MOL_PER_EV * ANGSTROM_PER_NM
SYSTEMS = Path(__file__).resolve().parents[1] / "simulations" / "systems"


def module_of(model: Model, molecule: Molecule, precision: str, offset: str = "none") -> torch.jit.ScriptModule:
    """A bound force."""
    return bind(model, molecule.atomic_numbers, 0, 1, precision=precision, offset=offset, seed=1)


def forces_of(module: torch.jit.ScriptModule, x: Tensor) -> Tensor:
    """Forces in kJ/mol/nm."""
    return module(x)[1].detach()


def errors(model: Model, molecule: Molecule, rotations: Tensor) -> dict[str, tuple[float, float]]:
    """Largest force error relative to the largest fp64 force, and E_eq in kcal/mol/Å, by precision."""
    x = torch.tensor(molecule.positions) / ANGSTROM_PER_NM
    modules = {p: module_of(model, molecule, p) for p in PRECISIONS}
    exact = forces_of(modules["double"], x)
    found = {}
    for precision, module in modules.items():
        error = float((forces_of(module, x) - exact).abs().max() / exact.abs().max())
        turned = torch.stack([forces_of(module, x @ r) @ r.T for r in rotations])[:, None]
        found[precision] = (error, float(equivariance_error(turned)[0]) / KJ_NM_PER_KCAL_A)
    return found


def drift(model: Model, molecule: Molecule, precision: str, offset: str, picoseconds: float) -> tuple[float, float]:
    """Drift of the true total energy in meV/atom/ps with its standard error, by a line through 100 frames."""
    masses = Atoms(numbers=molecule.atomic_numbers).get_masses()
    system = make_system(masses)
    add_force(system, module_of(model, molecule, precision, offset))
    context = openmm.Context(system, openmm.VerletIntegrator(0.0005), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(molecule.positions / ANGSTROM_PER_NM)
    context.setVelocitiesToTemperature(300.0, 1)
    atoms = Atoms(numbers=molecule.atomic_numbers)
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    times, energies = [], []
    for _ in range(100):
        context.getIntegrator().step(round(picoseconds / 0.0005 / 100))
        state = context.getState(positions=True, energy=True)
        atoms.positions = ANGSTROM_PER_NM * state.getPositions(asNumpy=True)._value
        kinetic = state.getKineticEnergy()._value / KJ_PER_MOL_PER_EV
        times.append(state.getTime()._value)
        energies.append(1e3 * (atoms.get_potential_energy() + kinetic) / len(atoms))
    (slope, _), covariance = np.polyfit(times, energies, 1, cov=True)
    return float(slope), float(covariance[0, 0] ** 0.5)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="what precision does to forces and energies")
    parser.add_argument("--time", type=float, default=5.0, help="ps of each NVE run")
    parser.add_argument("--rotations", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rotations = random_rotations(options.rotations, torch.Generator().manual_seed(0))
    shipped, random = load_model("mdet-gfn2-mini"), published()[1]
    molecules = [read_molecule(SYSTEMS / "ethanol.pdb"), molecule_from_smiles("CC(=O)Oc1ccccc1C(=O)O", "aspirin")]
    print("| model | molecule | precision | force error | E_eq, kcal/mol/Å |\n| --- | --- | --- | --- | --- |")
    for name, model in (("mdet-gfn2-mini", shipped), ("random, published size", random)):
        for molecule in molecules:
            for precision, (error, e_eq) in errors(model, molecule, rotations).items():
                print(f"| {name} | {molecule.name} | {precision} | {error:.1e} | {e_eq:.6g} |", flush=True)
    print("\n| precision | offset | drift, meV/atom/ps |\n| --- | --- | --- |")
    for offset in ("none", "hashed"):
        for precision in PRECISIONS:
            slope, error = drift(shipped, molecules[0], precision, offset, options.time)
            print(f"| {precision} | {offset} | {slope:.2f} ± {error:.2f} |", flush=True)


if __name__ == "__main__":
    main()
