"""What the model's force costs among classical ones: ``python benchmarks/ml_mm.py`` prints its overhead in water.

Ethanol in a box of 2,000 atoms of TIP3P water (PME), one thread: the CPU time of a force evaluation of the classical
System, of the same with the model's force on the nine atoms, and of the bare call of the same module. The overhead is
what is left of the second when the other two are taken away, as a share of the first: picking the atoms, copying,
making the molecule whole, and the crossing between OpenMM and PyTorch. The three take turns, so that the bare call too
finds the caches as the classical forces leave them, and the fastest of each counts.
"""

import argparse
import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import mdet_openmm as mdet  # isort: skip
import numpy as np
import openmm
import torch
from openmm import app, unit

from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.export.options import DEFAULT_MODEL, ForceOptions

ETHANOL = Path(__file__).resolve().parents[1] / "simulations" / "systems" / "ethanol.pdb"
CHARGES = {"C1": -0.18, "C2": 0.145, "O": -0.683, **{f"H{k}": 0.06 for k in range(1, 6)}, "H6": 0.418}
SIZES = {"C": (0.35, 0.276), "O": (0.312, 0.711), "H": (0.25, 0.126)}  # nm and kJ/mol, about those of OPLS


def water_box(n_atoms: int) -> tuple[app.Topology, Any, openmm.System]:
    """Ethanol in so many atoms of water: topology, positions and the System with all that acts between molecules."""
    pdb = app.PDBFile(str(ETHANOL))
    kinds = "".join(
        f'<Type name="EOH-{name}" class="EOH-{name}" element="{name[0]}" '
        f'mass="{app.Element.getBySymbol(name[0]).mass._value}"/>'
        for name in CHARGES
    )
    atoms = "".join(f'<Atom name="{name}" type="EOH-{name}"/>' for name in CHARGES)
    bonds = "".join(f'<Bond atomName1="{a.name}" atomName2="{b.name}"/>' for a, b in pdb.topology.bonds())
    pairs = "".join(
        f'<Atom type="EOH-{name}" charge="{charge}" sigma="{SIZES[name[0]][0]}" epsilon="{SIZES[name[0]][1]}"/>'
        for name, charge in CHARGES.items()
    )
    ethanol = (
        f"<ForceField><AtomTypes>{kinds}</AtomTypes><Residues><Residue name='EOH'>{atoms}{bonds}</Residue></Residues>"
        f"<NonbondedForce coulomb14scale='0.833333' lj14scale='0.5'>{pairs}</NonbondedForce></ForceField>"
    )
    field = app.ForceField("tip3p.xml", io.StringIO(ethanol))
    modeller = app.Modeller(pdb.topology, pdb.positions)
    modeller.addSolvent(field, numAdded=(n_atoms - len(CHARGES)) // 3)
    system = field.createSystem(modeller.topology, nonbondedMethod=app.PME, nonbondedCutoff=0.9 * unit.nanometer)
    return modeller.topology, modeller.positions, system


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="the model's force among classical ones")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--atoms", type=int, default=2000)
    parser.add_argument("--platforms", nargs="+", default=["CPU", "Reference"])
    parser.add_argument("--precision", default="double")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    topology, positions, classical = water_box(options.atoms)
    atoms = list(range(len(CHARGES)))
    model = load_model(options.model)
    molecule = mdet.read_molecule(ETHANOL)
    module = torch.jit.freeze(bind(model, molecule, ForceOptions(precision=options.precision)))
    x = torch.as_tensor(np.array(positions.value_in_unit(unit.nanometer))[atoms])
    print(f"{classical.getNumParticles()} atoms, {model.name}, {options.precision}, one thread; ms of CPU time\n")
    print("| platform | backend | classical forces | with the model's | bare call | overhead |")
    print("| --- | --- | --- | --- | --- | --- |")
    for platform in options.platforms:
        properties = {"Threads": "1"} if platform == "CPU" else {}
        for backend in ("torch", "python"):
            both = openmm.XmlSerializer.clone(classical)
            mdet.add_force(both, topology, model, atoms=atoms, backend=backend, precision=options.precision)
            contexts = []
            for system in (classical, both):
                where = openmm.Platform.getPlatformByName(platform)
                contexts.append(openmm.Context(system, openmm.VerletIntegrator(0.001), where, properties))
                contexts[-1].setPositions(positions)
            alone, together = (lambda context=c: context.getState(getForces=True) for c in contexts)
            b, a, c = fastest([together, alone, lambda: module(x)], options.rounds)
            numbers = f"{1e3 * a:.2f} | {1e3 * b:.2f} | {1e3 * c:.2f} | {100 * (b - a - c) / a:.1f} %"
            print(f"| {platform} | {backend} | {numbers} |", flush=True)


def fastest(calls: list[Callable[[], Any]], rounds: int) -> list[float]:
    """Seconds of CPU time of each, in turn."""
    least = [float("inf")] * len(calls)
    for _ in range(rounds + 3):
        for k, call in enumerate(calls):
            start = time.process_time()
            call()
            least[k] = min(least[k], time.process_time() - start)
    return least


if __name__ == "__main__":
    main()
