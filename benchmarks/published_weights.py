"""The published network in this package beside the authors' formula: agreement and time of a force call.

``python benchmarks/published_weights.py`` prints a table for random weights of the released size (12l: 12 layers, width
192, 12 heads, direct directions, energy head). The other side is the network of tests/stand_ins/textbook.py, written
from the formulas, in fp32 and called as their ASE calculator does it: positions cast to fp32, then centred; net force
and torque removed.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import yaml
from ase import Atoms
from published_size import PUBLISHED, TextbookNetwork, random_state_dict

from mdet_openmm.export.force_module import bind, forces
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.export.net_force import remove_net_force_and_torque
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.molecules.smiles import molecule_from_smiles
from mdet_openmm.published.importing import import_model
from mdet_openmm.published.settings import ImportSettings
from mdet_openmm.units import BOHR_PER_ANGSTROM, EV_PER_ANGSTROM_PER_ATOMIC_FORCE

RELEASE = {
    **PUBLISHED,
    "target_heads": ["forces", "formation_energy"],
    "use_electronic_embeddings": False,
    "energy_conserving": False,
    "directional_embed_type": "direct",
    "distance_embed_type": "gaussian",
    "embed_edge_types": False,
}


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Median time of a call, after two that do not count."""
    call(), call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def calculator(network: TextbookNetwork, atoms: Atoms, dtype: torch.dtype) -> np.ndarray:
    """Forces in eV/Å as the authors' calculator computes them."""
    x = torch.tensor(atoms.positions * BOHR_PER_ANGSTROM, dtype=dtype)[None]
    x = x - x.mean(dim=1, keepdim=True)
    with torch.no_grad():
        raw = network(torch.tensor(atoms.numbers)[None], x, torch.tensor([0]), torch.tensor([1]))["forces"]
        return (remove_net_force_and_torque(x, raw)[0].double() * EV_PER_ANGSTROM_PER_ATOMIC_FORCE).numpy()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="the published network here and by its plain formula")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "12l"
        (run / ".hydra").mkdir(parents=True)
        (run / "ckpts").mkdir()
        (run / ".hydra" / "config.yaml").write_text(yaml.safe_dump({"train": {"model": RELEASE}}))
        state = random_state_dict(RELEASE, 0)
        torch.save({"model_state_dict": state}, run / "ckpts" / "best_model.pth")
        model = load_model(import_model(ImportSettings(str(run), Path(folder) / "model")))
    single = TextbookNetwork(state, RELEASE, torch.float32).eval()
    exact = TextbookNetwork(state, RELEASE, torch.float64).eval()
    size = sum(v.numel() for v in state.values())
    print(f"{size:,} parameters, {options.threads} threads, torch {torch.__version__}")
    print("| molecule | forces by | largest deviation from fp64 formula | ms per call | times as fast |")
    print("| --- | --- | --- | --- | --- |")
    for name, smiles in (("ethanol", "CCO"), ("aspirin", "CC(=O)Oc1ccccc1C(=O)O"), ("decane", "C" * 10)):
        molecule = molecule_from_smiles(smiles, name)
        atoms = Atoms(numbers=molecule.atomic_numbers, positions=molecule.positions)
        truth = calculator(exact, atoms, torch.float64)
        theirs = seconds(lambda: calculator(single, atoms, torch.float32), options.repeats)  # noqa: B023
        error = np.abs(calculator(single, atoms, torch.float32) - truth).max() / np.abs(truth).max()
        print(f"| {molecule.name} ({len(atoms)} atoms) | formula, fp32 | {error:.1e} | {1e3 * theirs:.1f} | 1 |")
        for precision in ("mixed", "double"):
            module = bind(model, Species(atoms.numbers), ForceOptions(precision=precision, offset="none"))
            ours = seconds(lambda: forces(module, atoms.positions), options.repeats)  # noqa: B023
            error = np.abs(forces(module, atoms.positions)[1] - truth).max() / np.abs(truth).max()
            print(f"| | here, {precision} | {error:.1e} | {1e3 * ours:.1f} | {theirs / ours:.2g} |")


if __name__ == "__main__":
    main()
