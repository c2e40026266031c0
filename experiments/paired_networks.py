"""Small networks that differ in one thing, trained and measured: ``python experiments/paired_networks.py --workers 3``.

Ethanol with GFN2-xTB labels (``mdet label configs/pairs-ethanol.label.yaml --output data/pairs-ethanol.h5``), three
seeds each. Everything lies in ``runs/pairs`` and nothing that is there is computed again. Prints the tables of
docs/trust.md and writes ``runs/pairs/pairs.json`` (those of the page are ``experiments/results/pairs.json``).
"""

import argparse
import contextlib
import copy
import functools
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mdet_openmm.data.store import Store
from mdet_openmm.errors import RunStopped, exit_status
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.export.net_force import remove_net_force_and_torque
from mdet_openmm.export.rotations import rotation_group
from mdet_openmm.measure.definitions import antisymmetric_ratio, equivariance_error, langevin_heating
from mdet_openmm.measure.field import uniform_rotations
from mdet_openmm.measure.turned import rotated
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.side_by_side import run_side_by_side
from mdet_openmm.training.antisymmetry import force_jacobian
from mdet_openmm.training.batches import Batch, load_batch
from mdet_openmm.training.config import TrainConfig
from mdet_openmm.training.error_table import MEV_PER_ANGSTROM
from mdet_openmm.training.evaluate import KCAL_PER_MOL_ANGSTROM
from mdet_openmm.units import KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE

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
    "equivariance-0.1": (
        "harmonics, 0.1 × force change between copies in the loss",
        HARMONICS,
        {"equivariance_weight": 0.1},
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
        antisymmetry_structures=4,
        seed=seed,
        threads=1,
        validate_every=1000,
        checkpoint_every=500,
        description=VARIANTS[variant][0],
        **penalties,
    )


ORIENTATIONS = (1, 12, 60)
HYDROGEN, TIMESTEP, FRICTION = 1.008, 5e-4, 1.0  # dalton, ps, 1/ps
NVE = {"1 frame": 1, "12 frames": 12}
"""NVE runs, by how many orientations they average; mixed precision, random offsets."""
MEASURED = "measured.json"


def measure(model: str) -> dict[str, Any]:
    """Errors of one trained network on the test split; forces have their net force and torque removed."""
    network = load_model(str(ROOT / "models" / model)).network.requires_grad_(False).eval()
    store = Store(DATA)
    chosen = store.indices("test")
    generator = torch.Generator().manual_seed(0)
    every, few = load_batch(store, chosen), load_batch(store, chosen[::10])
    double = copy.deepcopy(network).double()
    found: dict[str, Any] = {}
    with torch.no_grad():
        offsets = uniform_rotations(len(chosen), generator)
        for orientations in ORIENTATIONS:
            turns = torch.einsum("kij,bjl->kbil", rotation_group(orientations), offsets)
            parts = [
                remove_net_force_and_torque(part.positions, rotated(double, part, turns[:, at])[1].mean(dim=0))
                for at in torch.arange(len(chosen)).split(20)
                for part in [Batch(*(t[at] for t in every))]
            ]
            found[f"mae {orientations}"] = MEV_PER_ANGSTROM * float((torch.cat(parts) - every.forces).abs().mean())
            e_eq, noise = turned_error(double, few, orientations, 32 if orientations == 1 else 8, generator)
            found[f"e_eq {orientations}"] = KCAL_PER_MOL_ANGSTROM * e_eq
            # of one component of a hydrogen's force
            sigma = KJ_PER_MOL_PER_NM_PER_ATOMIC_FORCE * noise[few.atomic_numbers[0] == 1].square().mean().sqrt()
            found[f"heating {orientations}"] = langevin_heating(float(sigma), TIMESTEP, HYDROGEN, FRICTION)
        for name, other, dtype in (
            ("mixed", copy.deepcopy(network).to_mixed(), torch.float64),
            ("fp32", copy.deepcopy(network).float(), torch.float32),
        ):
            given = few._replace(positions=few.positions.to(dtype))
            found[f"e_eq {name}"] = KCAL_PER_MOL_ANGSTROM * turned_error(other, given, 1, 32, generator)[0]
        found["turned by 1e-3"] = KCAL_PER_MOL_ANGSTROM * change(double, few, 1e-3)
    ratios = [
        float(antisymmetric_ratio(force_jacobian(double, Batch(*(t[i : i + 1] for t in few))))) for i in range(20)
    ]
    found["lambda"] = statistics.mean(ratios)
    return found


def turned_error(
    network: EdgeTransformer, batch: Batch, orientations: int, count: int, generator: torch.Generator
) -> tuple[float, Tensor]:
    """E_eq over ``count`` uniform offsets of the group, Ha/bohr, and the noise of each atom's components, (n,)."""
    group, forces = rotation_group(orientations), []
    for _ in range(max(count, 8)):
        offsets = uniform_rotations(len(batch.positions), generator)
        turns = torch.einsum("kij,bjl->kbil", group, offsets).to(batch.positions.dtype)
        forces.append(
            remove_net_force_and_torque(batch.positions.double(), rotated(network, batch, turns)[1].mean(dim=0))
        )
    stacked = torch.stack(forces)
    noise = (stacked - stacked.mean(dim=0)).square().mean(dim=(0, 1, 3)).sqrt()
    return float(equivariance_error(stacked).mean()), noise


def change(network: EdgeTransformer, batch: Batch, angle: float) -> float:
    """Mean change of an atom's force when the molecule is turned by a small angle about z, Ha/bohr."""
    c, s = float(np.cos(angle)), float(np.sin(angle))
    turn = torch.tensor([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    both = torch.stack([torch.eye(3, dtype=torch.float64), turn])
    forces = rotated(network, batch, both.unsqueeze(1).expand(2, len(batch.positions), 3, 3))[1]
    return float((forces[1] - forces[0]).norm(dim=-1).mean())


def drift(model: str, orientations: int) -> dict[str, Any]:
    """NVE of ethanol from 300 K for 10 ps, judged by GFN2-xTB's energy."""
    from mdet_openmm.simulation.nve import run_nve
    from mdet_openmm.simulation.settings import NveSettings

    folder = ROOT / "nve" / f"{model}-{orientations}"
    settings = NveSettings(
        system=Path("simulations/systems/ethanol.pdb"),
        model=str(ROOT / "models" / model),
        time=10.0,
        orientations=orientations,
        offset="random",
        precision="mixed",
        seed=7,
        threads=1,
        teacher="gfn2",
        watch_equivariance=0,
        output=folder,
        restart=folder.exists(),
        quiet=True,
    )
    with contextlib.suppress(RunStopped):
        run_nve(settings)
    summary = json.loads((folder / "summary.json").read_text())
    keys = ("exit_reason", "time_ps", "energy_drift_meV_per_atom_ps", "temperature_drift_K_per_ps")
    return {key: summary.get(key) for key in keys}


def job(task: tuple[str, int], steps: int) -> None:
    """Train and measure one, as far as it has not been."""
    from mdet_openmm.training.fit import run_training

    torch.set_num_threads(1)
    config = settings(*task, steps)
    model, folder = ROOT / "models" / config.name, ROOT / config.name
    if not model.exists():
        run_training(config, model_folder=model, run_folder=folder, restart=folder.exists(), quiet=True)
    parts: dict[str, Callable[[], dict[str, Any]]] = {"errors": functools.partial(measure, config.name)}
    parts |= {f"nve {label}": functools.partial(drift, config.name, n) for label, n in NVE.items()}
    path = folder / MEASURED
    found = json.loads(path.read_text()) if path.exists() else {}
    for part, compute in parts.items():
        if part not in found:
            found[part] = compute()
            path.write_text(json.dumps(found, indent=1))


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Means and standard deviations over the seeds, as Markdown."""
    columns = {
        "MAE, meV/Å": ("errors", "mae 1"),
        "E_eq, kcal/mol/Å": ("errors", "e_eq 1"),
        "E_eq in fp32": ("errors", "e_eq fp32"),
        "E_eq in mixed": ("errors", "e_eq mixed"),
        "λ": ("errors", "lambda"),
        "change of a force when turned by 1e-3 rad, kcal/mol/Å": ("errors", "turned by 1e-3"),
        "heating of H, K": ("errors", "heating 1"),
        "NVE: ps of 10": ("nve 1 frame", "time_ps"),
        "drift, meV/atom/ps": ("nve 1 frame", "energy_drift_meV_per_atom_ps"),
        "12 orientations: MAE": ("errors", "mae 12"),
        "E_eq": ("errors", "e_eq 12"),
        "60 orientations: MAE": ("errors", "mae 60"),
        "E_eq ": ("errors", "e_eq 60"),
        "12 orientations, NVE: ps of 10": ("nve 12 frames", "time_ps"),
        "drift": ("nve 12 frames", "energy_drift_meV_per_atom_ps"),
    }
    lines = ["| network | " + " | ".join(columns) + " |", "| --- " * (len(columns) + 1) + "|"]
    for variant, seeds in found.items():
        cells = []
        for part, key in columns.values():
            values = [s[part][key] for s in seeds if s.get(part, {}).get(key) is not None]
            spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.3g}{spread}" if values else "–")
        lines.append(f"| {VARIANTS[variant][0]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ratios(found: dict[str, list[dict[str, Any]]], base: str = "harmonics") -> str:
    """Each network over that of the same seed with harmonics alone: networks of one seed share their batches."""
    columns = {
        "MAE": ("errors", "mae 1"),
        "E_eq": ("errors", "e_eq 1"),
        "λ": ("errors", "lambda"),
        "NVE, time": ("nve 1 frame", "time_ps"),
        "NVE, drift": ("nve 1 frame", "energy_drift_meV_per_atom_ps"),
        "12 orientations: NVE, time": ("nve 12 frames", "time_ps"),
        "12 orientations: NVE, drift": ("nve 12 frames", "energy_drift_meV_per_atom_ps"),
    }
    lines = ["| network | " + " | ".join(columns) + " |", "| --- " * (len(columns) + 1) + "|"]
    for variant, seeds in found.items():
        cells = []
        for part, key in columns.values():
            pairs = [
                (mine[part][key], theirs[part][key]) for mine, theirs in zip(seeds, found.get(base, []), strict=False)
            ]
            cells.append(
                ", ".join(f"{mine / theirs:.2f}" if mine is not None and theirs else "–" for mine, theirs in pairs)
            )
        if variant != base:
            lines.append(f"| {VARIANTS[variant][0]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def show(tasks: list[tuple[str, int]]) -> None:
    """Write and print what has been measured."""
    found: dict[str, list[dict[str, Any]]] = {}
    for variant, seed in tasks:
        path = ROOT / f"{variant}-{seed}" / MEASURED
        if path.exists():
            found.setdefault(variant, []).append(json.loads(path.read_text()))
    (ROOT / "pairs.json").write_text(json.dumps(found, indent=1) + "\n")
    print(f"{table(found)}\n\nover harmonics alone, seed by seed:\n\n{ratios(found)}")


def main() -> None:
    """Train what is missing, measure what is missing, print the table."""
    parser = argparse.ArgumentParser(description="networks that differ in one thing")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--workers", type=int, help="networks at a time, one thread each [cores]")
    parser.add_argument("--only-table", action="store_true", help="of what there is")
    options = parser.parse_args()
    tasks = [(variant, seed) for seed in options.seeds for variant in options.variants]
    if not options.only_table:
        run_side_by_side(functools.partial(job, steps=options.steps), tasks, workers=options.workers, title="networks")
    show(tasks)


if __name__ == "__main__":
    sys.exit(exit_status(main))
