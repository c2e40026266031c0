"""MD17 as the paper has it: ``python benchmarks/md17.py --model models/mdet-gfn2-small --device cuda``.

Ethanol and aspirin, the original MD17 labels (PBE+vdW-TS) of the frames of rMD17 that are not in its first test split:
8,133 to train on, 500 to choose by, tested on that split's 1,000. Once from a pretrained model (2,000 steps at 5e-5),
once from scratch; then the paper's simulations (500 K, 300 ps, 0.5 fs): stability and h(r). ``--data`` is the folder of
rmd17_MOLECULE_pool.npz: arrays atomic_numbers, positions (Å), forces_md17 (eV/Å), energies_md17 (eV), test_01.

Everything lies in ``--root``; what is done is not done again, and what was stopped is gone on with. ``--minutes`` stops
in time (exit status 75: call it again). Prints a table and writes ``RESULTS/md17-DEVICE.json``.
"""

import argparse
import dataclasses
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch  # before openmm # isort: skip
import numpy as np
from numpy.typing import NDArray
from speed import processor

from mdet_openmm.data.layout import FAILURES, KINDS, SPLITS, FrameBlock, MoleculeRow, write_dataset
from mdet_openmm.errors import InputError, exit_status
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.studies.protocol import ProtocolResult, benchmark
from mdet_openmm.studies.settings import ProtocolSettings
from mdet_openmm.training.config import FINETUNE_DEFAULTS, TrainConfig

VALIDATION = 500
RECIPES = ("fine-tuned", "from scratch")


def splits_of(pool: dict[str, NDArray[Any]], validation: int, most: int | None) -> dict[str, NDArray[np.int64]]:
    """Rows of the pool: test is its first official test split; the rest is drawn once into validation and training."""
    test = np.sort(pool["test_01"].astype(np.int64))
    rest = np.random.default_rng(0).permutation(np.setdiff1d(np.arange(len(pool["positions"])), test))
    rows = {"val": np.sort(rest[:validation]), "train": np.sort(rest[validation:]), "test": test}
    return {name: part[:most] for name, part in rows.items()}


def read_pool(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a molecule."""
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the folder of rmd17_MOLECULE_pool.npz with --data")
    with np.load(path, allow_pickle=False) as archive:
        wanted = ("atomic_numbers", "positions", "forces_md17", "energies_md17", "test_01")
        missing = [name for name in wanted if name not in archive]
        if missing:
            raise InputError(f"{path} has no array {', '.join(missing)}")
        return {name: archive[name] for name in wanted}


def write_data(pool: dict[str, NDArray[Any]], name: str, path: Path, quick: bool) -> Path:
    """The data set that the package trains on."""
    if path.exists():
        return path
    rows = splits_of(pool, 20 if quick else VALIDATION, 40 if quick else None)
    numbers = pool["atomic_numbers"].astype(np.int64)
    molecule = MoleculeRow(name, "", f"rMD17 frames, original MD17 labels: {name}", 0, 1, "train", len(numbers))

    def blocks() -> Iterator[FrameBlock]:
        for task, (split, chosen) in enumerate(rows.items()):
            x, count = pool["positions"][chosen].astype(np.float64), len(chosen)
            yield FrameBlock(
                molecule=0,
                task=task,
                split=SPLITS.index(split),
                atomic_numbers=numbers,
                positions=(x - x.mean(axis=1, keepdims=True)).astype(np.float32),
                forces=pool["forces_md17"][chosen],
                energy=pool["energies_md17"][chosen].astype(np.float64),
                dipole=np.full((count, 3), np.nan, dtype=np.float32),
                temperature=np.full(count, 500.0, dtype=np.float32),
                kind=np.full(count, KINDS.index("trajectory"), dtype=np.uint8),
                failures=np.zeros(len(FAILURES), dtype=np.int64),
                message="",
            )

    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".partial")
    source = {"teacher": "PBE+vdW-TS (MD17)", "teacher_version": "original labels", "seed": 0, "config": {"md17": name}}
    write_dataset(unfinished, [molecule], blocks(), source)
    os.replace(unfinished, path)
    return path


def settings_of(recipe: str, name: str, data: Path, options: argparse.Namespace) -> TrainConfig:
    """How one of the models is trained; from scratch it has the shape of the pretrained one."""
    if recipe == "fine-tuned":
        how: dict[str, Any] = {**FINETUNE_DEFAULTS, "start_from": str(options.model), "steps": options.steps}
    else:
        network = load_model(str(options.model)).network.config
        plain = dataclasses.replace(network, force_scale=1.0, energy_head=False, dipole_head=False)
        how = {"network": plain, "steps": options.scratch_steps, "learning_rate": 5e-4, "warmup_steps": 500}
    return TrainConfig(
        name=name,
        data=data,
        batch_size=options.batch_size,
        accelerator=options.device,
        compile=options.device == "cuda",
        description=f"MD17, {recipe}.",
        **{**how, "warmup_steps": min(how["warmup_steps"], how["steps"] // 10), "validate_every": 500},
    )


def trained(recipe: str, molecule: str, options: argparse.Namespace) -> Path:
    """The model folder, after training it or what is left of that."""
    from mdet_openmm.training.fit import run_training

    data = options.root / f"{molecule}.h5"
    config = settings_of(recipe, f"{molecule}-{recipe.replace(' ', '-')}", data, options)
    model, run = options.root / "models" / config.name, options.root / config.name
    if not model.exists():
        run_training(config, model_folder=model, run_folder=run, restart=run.exists())
    return model


def simulated(model: Path, reference: Path, options: argparse.Namespace) -> list[ProtocolResult]:
    """The paper's simulations, or what is left of them."""
    output = options.root / "nvt" / model.name
    return benchmark(
        ProtocolSettings(
            model=str(model),
            time=options.time,
            precision="mixed",
            replicas=options.replicas,
            workers=options.workers,
            platform="CUDA" if options.device == "cuda" else "Reference",
            output=output,
            restart=output.exists(),
        ),
        [reference],
    )


def row_of(molecule: str, recipe: str, model: Path, runs: list[ProtocolResult]) -> dict[str, Any]:
    """What came of one model."""
    errors = json.loads((model / "metrics.json").read_text())["test"]["all"]
    density = [r.score.density_error for r in runs if r.score.density_error is not None]
    return {
        "molecule": molecule,
        "recipe": recipe,
        "mae_meV_A": errors["mae"],
        "mae_12_meV_A": errors["mae_12"],
        "e_eq_kcal_mol_A": errors["e_eq_kcal_mol_A"],
        "runs": len(runs),
        "kept_their_bonds": sum(not r.score.collapsed for r in runs),
        "stable_ps": [r.score.stable_ps for r in runs],
        "density_error": density,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    head = ["molecule", "", "force MAE, meV/Å", "12 frames", "E_eq, kcal/mol/Å", "runs that kept their bonds"]
    head += ["stability, ps", "h(r) error"]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for r in rows:
        cells = [r["molecule"], r["recipe"], f"{r['mae_meV_A']:.1f}", f"{r['mae_12_meV_A']:.1f}"]
        cells += [f"{r['e_eq_kcal_mol_A']:.3f}", f"{r['kept_their_bonds']} of {r['runs']}"]
        cells += [f"{np.mean(r['stable_ps']):.4g}", f"{np.mean(r['density_error']):.3f}" if r["density_error"] else "–"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def run(options: argparse.Namespace) -> None:
    """All of it."""
    pools = {m: options.data / f"rmd17_{m}_pool.npz" for m in options.molecules}
    read = {molecule: read_pool(path) for molecule, path in pools.items()}
    if not (options.model / "manifest.json").is_file():
        raise InputError(f"{options.model} is not a model folder; give one with --model")
    device = torch.cuda.get_device_name() if options.device == "cuda" else processor()
    about = {"device": device, "torch": torch.__version__, "model": options.model.name, "quick": options.quick}
    about |= {key: getattr(options, key) for key in ("steps", "scratch_steps", "time")}
    rows = []
    for molecule, path in pools.items():
        write_data(read[molecule], molecule, options.root / f"{molecule}.h5", options.quick)
        for recipe in options.recipes:
            model = trained(recipe, molecule, options)
            rows.append(row_of(molecule, recipe, model, simulated(model, path, options)))
            name = "md17-" + re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
            options.results.mkdir(parents=True, exist_ok=True)
            text = json.dumps({"about": about, "rows": rows}, indent=1) + "\n"
            (options.results / f"{name}.json").write_text(text)
    if options.quick:
        print("a rehearsal: 40 structures, a few steps")
    print(table(rows))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="MD17: fine-tuned and from scratch, errors and simulations")
    parser.add_argument("--model", type=Path, default=Path("models/mdet-gfn2-small"))
    parser.add_argument("--molecules", nargs="+", default=["ethanol", "aspirin"])
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--steps", type=int, default=2000, help="of fine-tuning")
    parser.add_argument("--scratch-steps", type=int, default=10_000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--time", type=float, default=300.0, help="ps of each simulation")
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="simulations side by side")
    parser.add_argument("--minutes", type=float, help="stop after these")
    parser.add_argument("--root", type=Path, default=Path("runs/md17"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--quick", action="store_true", help="rehearse it: few structures, steps and ps")
    options = parser.parse_args()
    if options.quick:
        options.steps, options.scratch_steps, options.time, options.batch_size = 4, 4, 0.02, 4
    late = threading.Event()
    if options.minutes:

        def stop() -> None:
            late.set()
            os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C: a checkpoint is written

        timer = threading.Timer(60 * options.minutes, stop)
        timer.daemon = True
        timer.start()
    status = exit_status(lambda: run(options))
    return 75 if status == 130 and late.is_set() else status


if __name__ == "__main__":
    sys.exit(main())
