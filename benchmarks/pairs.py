"""Small networks that differ in one thing, trained and measured: ``python benchmarks/pairs.py --workers 3``.

Ethanol with GFN2-xTB labels (``mdet label configs/pairs-ethanol.label.yaml --output data/pairs-ethanol.h5``), three
seeds each. Everything lies in ``runs/pairs`` and nothing that is there is computed again. Prints the table of
docs/trust.md and writes ``benchmarks/results/pairs.json``.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # one network per core: they are too small for more

import torch
from tqdm import tqdm

from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.training.config import TrainConfig

DATA = Path("data/pairs-ethanol.h5")
ROOT = Path("runs/pairs")
BASE: dict[str, Any] = {"n_layers": 3, "embd_dim": 32, "n_heads": 2, "n_radial": 32}
HARMONICS: dict[str, Any] = {"directions": "spherical_harmonics", "l_max": 4}
VARIANTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "fourier": ("Fourier as published (2e-4 rad)", {"directions": "fourier", "shortest_wavelength": 2e-4}, {}),
    "fourier-0.02": (
        "Fourier, shortest wavelength 0.02 rad",
        {"directions": "fourier", "shortest_wavelength": 0.02},
        {},
    ),
    "harmonics": ("spherical harmonics, l ≤ 4", HARMONICS, {}),
    "lambda-10": ("harmonics, 10 λ² in the loss", HARMONICS, {"antisymmetry_weight": 10.0}),
    "lambda-100": ("harmonics, 100 λ² in the loss", HARMONICS, {"antisymmetry_weight": 100.0}),
    "equivariance-1": (
        "harmonics, 1 × force change between copies in the loss",
        HARMONICS,
        {"equivariance_weight": 1.0},
    ),
}


def settings(variant: str, seed: int, steps: int) -> TrainConfig:
    """How one of them is trained."""
    _, network, penalties = VARIANTS[variant]
    return TrainConfig(
        name=f"{variant}-{seed}",
        data=DATA,
        network=NetworkConfig(**{**BASE, **network}),
        steps=steps,
        batch_size=32,
        copies=2,
        learning_rate=2e-3,
        warmup_steps=300,
        final_rate=0.005,
        ema_decay=0.995,
        calm_force=2.0,
        antisymmetry_structures=6,
        seed=seed,
        threads=1,
        validate_every=1000,
        checkpoint_every=500,
        description=VARIANTS[variant][0],
        **penalties,
    )


def train(variant: str, seed: int, steps: int) -> str:
    """Train one, unless it is there."""
    from mdet_openmm.training.fit import run_training

    torch.set_num_threads(1)
    config = settings(variant, seed, steps)
    model, run = ROOT / "models" / config.name, ROOT / config.name
    if not model.exists():
        run_training(config, model_folder=model, run_folder=run, restart=run.exists(), quiet=True)
    return config.name


def main() -> None:
    """Train what is missing, measure what is missing, print the table."""
    parser = argparse.ArgumentParser(description="networks that differ in one thing")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    jobs = [(variant, seed) for seed in options.seeds for variant in options.variants]
    with ProcessPoolExecutor(options.workers) as pool:
        futures = [pool.submit(train, *job, options.steps) for job in jobs]
        for future in tqdm(as_completed(futures), total=len(futures), desc="training"):
            tqdm.write(future.result())


if __name__ == "__main__":
    main()
