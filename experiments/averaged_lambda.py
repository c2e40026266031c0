"""lambda of a force, and of the same averaged over orientations, on held-out structures (docs/trust.md).

``python experiments/averaged_lambda.py mdet-gfn2-alkanes --data data/mdet-gfn2-alkanes.h5 --atoms 26``

With A_k v = (J_k - J_k^T) v in K random orientations, turned back, the mean of A_j v . A_k v over pairs j != k is
|A v|^2 of the average over all orientations, without the 1/K of their spread that |mean A_k v|^2 has.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from mdet_openmm.data.store import Store
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.training.batches import Batch, load_batch, random_orthogonal
from mdet_openmm.units import EV_PER_ANGSTROM_PER_ATOMIC_FORCE

STEP_BOHR = 1e-5


def products(model: str, batch: Batch, orientations: int) -> tuple[Tensor, Tensor, Tensor]:
    """(K, b, n, 3) each, turned back: (J - J^T) v and (J + J^T) v of one Gaussian v, and the forces' errors."""
    network = load_model(model).network.double().eval()
    generator = torch.Generator().manual_seed(3)
    b = len(batch.positions)
    v = torch.randn(batch.positions.shape, dtype=torch.float64, generator=generator)
    turns = random_orthogonal(orientations * b, generator).view(orientations, b, 3, 3)

    def forces(x: Tensor) -> Tensor:
        return network(batch.atomic_numbers, x, batch.charge, batch.multiplicity)[1]

    antisymmetric, symmetric, errors = [], [], []
    for turn in turns:
        back, along = turn.transpose(1, 2), v @ turn
        x = (batch.positions @ turn).requires_grad_(True)
        with torch.no_grad():
            ahead, behind = forces(x + STEP_BOHR * along), forces(x - STEP_BOHR * along)
        here = forces(x)
        (transposed,) = torch.autograd.grad(here, x, along)
        straight = (ahead - behind) / (2.0 * STEP_BOHR)
        antisymmetric.append((straight - transposed) @ back)
        symmetric.append((straight + transposed) @ back)
        errors.append(here.detach() @ back - batch.forces)
    return torch.stack(antisymmetric), torch.stack(symmetric), torch.stack(errors)


def main() -> None:
    """Print a row for each model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", help="names of shipped models, or model folders")
    parser.add_argument("--data", type=Path, required=True, help="labelled data, HDF5")
    parser.add_argument("--atoms", type=int, required=True, help="structures of this size")
    parser.add_argument("--structures", type=int, default=6)
    parser.add_argument("--orientations", type=int, default=24)
    options = parser.parse_args()
    torch.set_num_threads(1)
    store = Store(options.data)
    frames = store.by_size("test")[options.atoms]
    batch = load_batch(store, frames[:: max(1, len(frames) // options.structures)][: options.structures])
    print("| model | lambda | lambda, averaged | force MAE, raw, one orientation, meV/Å |\n| --- | --- | --- | --- |")
    k = options.orientations
    for model in options.models:
        a, s, errors = products(model, batch, k)
        norm = (a.square().sum() + s.square().sum()) / k
        single = float((a.square().sum() / k / norm).sqrt())
        pairs = (a.sum(dim=0).square().sum() - a.square().sum()) / (k * (k - 1))
        mae = 1e3 * EV_PER_ANGSTROM_PER_ATOMIC_FORCE * float(errors.abs().mean())
        print(f"| {model} | {single:.4f} | {float((pairs / norm).clamp(min=0).sqrt()):.4f} | {mae:.1f} |", flush=True)


if __name__ == "__main__":
    main()
