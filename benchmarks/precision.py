"""What fp32, mixed and double precision do to the forces: ``python benchmarks/precision.py`` prints a table.

The largest error against all-fp64, and E_eq, for the shipped model and for random weights of the published size. fp32
rounds the positions and all of the geometry too, as codes do that cast the whole model. What precision does to a run
at constant energy: simulations/ablate_nve.py.
"""

import argparse
from pathlib import Path

import torch
from published_size import network

from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import Model, load_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.measure.definitions import equivariance_error
from mdet_openmm.measure.field import uniform_rotations
from mdet_openmm.molecules.molecule import Molecule, Species
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.molecules.smiles import molecule_from_smiles
from mdet_openmm.units import ANGSTROM_PER_NM, KCAL_PER_MOL_PER_EV, KJ_PER_MOL_PER_NM_PER_EV_PER_ANGSTROM

PRECISIONS = ("fp32", "mixed", "double")
KJ_NM_PER_KCAL_A = KJ_PER_MOL_PER_NM_PER_EV_PER_ANGSTROM / KCAL_PER_MOL_PER_EV
ETHANOL = Path(__file__).resolve().parents[1] / "simulations" / "systems" / "ethanol.pdb"


def errors(model: Model, molecule: Molecule, rotations: torch.Tensor) -> dict[str, tuple[float, float]]:
    """Largest force error relative to the largest fp64 force, and E_eq in kcal/mol/Å, by precision."""
    x = torch.tensor(molecule.positions) / ANGSTROM_PER_NM
    modules = {
        p: bind(model, Species(molecule.atomic_numbers), ForceOptions(precision=p, offset="none")) for p in PRECISIONS
    }
    exact = modules["double"](x)[1].detach()
    found = {}
    for precision, module in modules.items():
        error = float((module(x)[1].detach() - exact).abs().max() / exact.abs().max())
        turned = torch.stack([module(x @ r)[1].detach() @ r.T for r in rotations])[:, None]
        found[precision] = (error, float(equivariance_error(turned)[0]) / KJ_NM_PER_KCAL_A)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="what precision does to forces")
    parser.add_argument("--rotations", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rotations = uniform_rotations(options.rotations, torch.Generator().manual_seed(0))
    molecules = (read_molecule(ETHANOL), molecule_from_smiles("CC(=O)Oc1ccccc1C(=O)O", "aspirin"))
    print("| model | molecule | precision | force error | E_eq, kcal/mol/Å |\n| --- | --- | --- | --- | --- |")
    for name, model in (("mdet-gfn2-mini", load_model("mdet-gfn2-mini")), ("random, published size", network()[1])):
        for molecule in molecules:
            for precision, (error, e_eq) in errors(model, molecule, rotations).items():
                print(f"| {name} | {molecule.name} | {precision} | {error:.1e} | {e_eq:.6g} |", flush=True)


if __name__ == "__main__":
    main()
