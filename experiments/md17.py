"""MD17 as the paper has it: ``python experiments/md17.py --model MODEL --data data/md17 --device cuda``.

Ethanol and aspirin, the original MD17 labels (PBE+vdW-TS) of the frames of rMD17 that are not in its first test split:
8,133 to train on, 500 to choose by, tested on that split's 1,000. Once from a pretrained model (2,000 steps at 5e-5),
once from scratch; then the paper's simulations (500 K, 300 ps, 0.5 fs): stability and h(r). ``--data`` is the folder of
rmd17_MOLECULE_pool.npz: arrays atomic_numbers, positions (Å), forces_md17 (eV/Å), energies_md17 (eV), test_01.

Everything lies in ``--root``; what is done is not done again, and what was stopped (Ctrl-C, SIGTERM) is gone on with.
First all errors of a way of training, then its simulations. Prints a table and writes ``ROOT/md17.json``.
"""

import argparse
import dataclasses
import functools
import hashlib
import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch  # before openmm # isort: skip
import numpy as np
import openmm
from numpy.typing import NDArray

import mdet_openmm
from mdet_openmm.cores import available_cores
from mdet_openmm.data.layout import FAILURES, KINDS, SPLITS, FrameBlock, MoleculeRow, write_dataset
from mdet_openmm.data.store import Store
from mdet_openmm.errors import InputError, exit_status
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.files import write_json
from mdet_openmm.measure.pair_distances import density_error, pair_density
from mdet_openmm.studies.estimate import Estimate
from mdet_openmm.studies.folder import STUDY
from mdet_openmm.studies.protocol import benchmark
from mdet_openmm.studies.settings import ProtocolSettings
from mdet_openmm.training.config import FINETUNE_DEFAULTS, TrainConfig

VALIDATION = 500
RECIPES = ("fine-tuned", "from scratch")
TARGETS = {("ethanol", "fine-tuned"): 5.0, ("aspirin", "fine-tuned"): 12.0}
"""Force MAE in meV/Å."""
TEMPERATURE = 500.0
MOST_REPLICAS = 6
"""Simulations of a model up to which each starts from a test frame."""
QUICK = {"steps": 4, "scratch_steps": 4, "batch_size": 4, "time": 0.02, "interval": 2.0}
OF_THE_MACHINE = ("accelerator", "compile", "data", "threads")
"""Settings of a training that may differ where it is gone on with."""


@dataclass(frozen=True)
class Case:
    """One row: a molecule, and how its model is trained.

    Attributes
    ----------
    molecule, recipe
        Its name, and one of `RECIPES`.
    pool
        The arrays of the molecule.
    sha256
        Of the file that they are from.
    options
        Of the command.
    """

    molecule: str
    recipe: str
    pool: dict[str, NDArray[Any]]
    sha256: str
    options: argparse.Namespace

    @property
    def name(self) -> str:
        """Of its model."""
        return f"{self.molecule}-{self.recipe.replace(' ', '-')}"

    @property
    def data(self) -> Path:
        """What it is trained on."""
        return Path(self.options.root) / f"{self.molecule}.h5"

    @property
    def reference(self) -> Path:
        """What it is simulated beside."""
        return Path(self.options.root) / "references" / f"{self.molecule}.npz"

    @property
    def run(self) -> Path:
        """Folder of the training."""
        return Path(self.options.root) / self.name

    @property
    def model(self) -> Path:
        """Folder of the model."""
        return Path(self.options.root) / "models" / self.name

    @property
    def nvt(self) -> Path:
        """Folder of the simulations."""
        return Path(self.options.root) / "nvt" / self.name

    @functools.cached_property
    def config(self) -> TrainConfig:
        """How it is trained; from scratch it has the shape of the pretrained model.

        The description has the hashes of what goes in: other frames or weights of the same name are another training.
        """
        options, pretrained = self.options, load_model(self.options.model)
        if self.recipe == "fine-tuned":
            how: dict[str, Any] = {**FINETUNE_DEFAULTS, "start_from": str(options.model), "steps": options.steps}
            how["learning_rate"] = options.learning_rate
            start = f"fine-tuned from {pretrained.name} ({pretrained.sha256[:12]})"
        else:
            plain = dataclasses.replace(
                pretrained.network.config, force_scale=1.0, energy_head=False, dipole_head=False
            )
            how = {"network": plain, "steps": options.scratch_steps, "learning_rate": 5e-4, "warmup_steps": 500}
            start = "from scratch"
        return TrainConfig(
            name=self.name,
            data=self.data,
            batch_size=options.batch_size,
            accelerator=options.device,
            compile=options.device == "cuda",
            checkpoint_every=min(500, how["steps"]),  # one at the end too: the evaluation may be stopped
            description=f"MD17 {self.molecule} ({self.sha256[:12]}), {start}.",
            **{**how, "warmup_steps": min(how["warmup_steps"], how["steps"] // 10), "validate_every": 500},
        )

    @functools.cached_property
    def asked(self) -> dict[str, Any]:
        """What decides its numbers: of the training, and of the simulations."""
        options = self.options
        runs = {"time": options.time, "replicas": options.replicas, "report_interval": options.interval}
        return {"training": settings_of(self.config), "quick": options.quick, "runs": runs}


def settings_of(config: TrainConfig) -> dict[str, Any]:
    """Those settings of a training that decide what comes of it."""
    from mdet_openmm.training.fit import stored

    return {key: value for key, value in stored(config).items() if key not in OF_THE_MACHINE}


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
                temperature=np.full(count, TEMPERATURE, dtype=np.float32),
                kind=np.full(count, KINDS.index("trajectory"), dtype=np.uint8),
                failures=np.zeros(len(FAILURES), dtype=np.int64),
                message="",
            )

    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".partial")
    source = {"teacher": "PBE+vdW-TS (MD17)", "teacher_version": "original labels", "seed": 0, "config": {"md17": name}}
    source |= {"package_version": mdet_openmm.__version__, "start_structures_sha256": ""}
    write_dataset(unfinished, [molecule], blocks(), source)
    os.replace(unfinished, path)
    return path


def check_data(case: Case, path: Path) -> None:
    """Refuse a data set that was made of other frames, by a rehearsal for one."""
    quick = case.options.quick
    with Store(path) as store:
        for split, rows in splits_of(case.pool, 20 if quick else VALIDATION, 40 if quick else None).items():
            if not np.array_equal(store.load(store.indices(split)).energy, case.pool["energies_md17"][rows]):
                raise InputError(f"{path} was made of other frames; remove it, or choose another --root")


def reference_order(count: int, test: NDArray[Any]) -> NDArray[np.int64]:
    """All frames, with test frames wherever a simulation starts: R of them start from the frames k·count // R.

    The order means nothing to h(r) and to mean bond lengths, which is all else that a reference gives.
    """
    starts = np.unique([k * count // r for r in range(1, MOST_REPLICAS + 1) for k in range(r)])
    order = np.empty(count, dtype=np.int64)
    order[starts] = test[: len(starts)]
    order[np.setdiff1d(np.arange(count), starts)] = np.setdiff1d(np.arange(count), test[: len(starts)])
    return order


def write_reference(pool: dict[str, NDArray[Any]], path: Path) -> Path:
    """All frames of the pool as the protocol reads them."""
    if not path.exists():
        order = reference_order(len(pool["positions"]), pool["test_01"].astype(np.int64))
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name("." + path.name)
        np.savez(unfinished, atomic_numbers=pool["atomic_numbers"], positions=pool["positions"][order])
        os.replace(unfinished, path)
    return path


def density_noise(pool: dict[str, NDArray[Any]]) -> float:
    """The h(r) error of the later half of the frames, which stand in MD17's order, against the earlier."""
    x, half = pool["positions"].astype(np.float64), len(pool["positions"]) // 2
    return density_error(pair_density(x[half:]), pair_density(x[:half]))


def trained(case: Case) -> dict[str, Any]:
    """Train the model, or what is left of that; its errors on the test split."""
    from mdet_openmm.training.fit import run_training

    if not case.model.exists():
        check_data(case, write_data(case.pool, case.molecule, case.data, case.options.quick))
        run_training(case.config, model_folder=case.model, run_folder=case.run, restart=case.run.exists())
    model = load_model(case.model)
    before, now = model.metadata["training"], settings_of(case.config)
    # The scale of the forces is measured, and a fine-tuned network is that of where it started.
    network = {key: value for key, value in now.pop("network").items() if key != "force_scale"}
    changed = [key for key, value in now.items() if before.get(key) != value]
    if not case.config.start_from and any(before["network"].get(key) != value for key, value in network.items()):
        changed.append("network")
    if changed:
        raise InputError(f"{case.model} was trained with another {', '.join(changed)}; choose another --root")
    errors: dict[str, Any] = model.metadata["metrics"]["test"]["all"]
    return errors


def simulated(case: Case) -> dict[str, Any]:
    """The paper's simulations, or what is left of them; the row of their table."""
    options = case.options
    settings = ProtocolSettings(
        model=str(case.model),
        temperature=TEMPERATURE,
        time=options.time,
        precision="mixed",
        replicas=options.replicas,
        report_interval=options.interval,
        workers=options.workers or min(options.replicas, available_cores()),
        platform="CUDA" if options.device == "cuda" else "Reference",
        output=case.nvt,
        restart=(case.nvt / STUDY).exists(),
    )
    # named, or a restart would take the stored ones wherever these are the defaults: a longer time above all
    given = {"model", "temperature", "time", "precision", "replicas", "report_interval"}
    benchmark(settings, [write_reference(case.pool, case.reference)], given=given)
    (row,) = json.loads((case.nvt / "table.json").read_text())["rows"]
    return dict(row)


class Results:
    """Rows by name, written after each change; those that are there already are kept."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path = path
        self.about = about
        self.rows: dict[str, dict[str, Any]] = json.loads(path.read_text())["rows"] if path.is_file() else {}

    def has(self, case: Case, what: str) -> bool:
        """Whether a row has its errors ("training"), or its simulations too ("runs")."""
        row, parts = self.rows.get(case.name, {}), ("training", "quick", "runs")[: 3 if what == "runs" else 2]
        return what in row and all(row["asked"][part] == case.asked[part] for part in parts)

    def add(self, case: Case, what: str, found: dict[str, Any]) -> None:
        """Add the errors or the simulations of a row; new errors leave nothing of what was there."""
        row = dict(self.rows[case.name]) if what == "runs" else {"molecule": case.molecule, "recipe": case.recipe}
        self.rows[case.name] = {**row, "asked": case.asked, what: found, "about": self.about}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = {name: self.rows[name] for name in sorted(self.rows)}
        write_json(self.path, {"about": self.about, "rows": rows})


def estimate_of(cell: dict[str, Any]) -> Estimate:
    """From JSON, where a number that is none is null."""
    mean, error = (math.nan if cell[key] is None else cell[key] for key in ("mean", "error"))
    return Estimate(mean, error, cell["count"])


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    head = ["molecule", "", "steps", "force MAE, meV/Å", "12 orientations", "target", "E_eq, kcal/mol/Å"]
    head += ["runs that kept their bonds", "stability, ps", "h(r) error", "T, K", "steps/s"]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for row in rows:
        errors, runs, target = row["training"], row.get("runs", {}), TARGETS.get((row["molecule"], row["recipe"]))
        cells = [row["molecule"], row["recipe"], str(row["asked"]["training"]["steps"])]
        cells += [f"{errors['mae']:.1f}", f"{errors['mae_12']:.1f}", f"≤ {target:g}" if target else "–"]
        cells += [f"{errors['e_eq_kcal_mol_A']:.3f}", runs.get("stable", "–")]
        numbers = ("stability_ps", "density_error", "temperature_K", "steps_per_second")
        cells += [str(estimate_of(runs[key])) if key in runs else "–" for key in numbers]
        lines.append("| " + " | ".join(cells) + " |")
    noise = {row["molecule"]: f"{row['molecule']} {row['training']['density_noise']:.3f}" for row in rows}
    lines += ["", f"h(r) error of the reference's second half against its first: {', '.join(noise.values())}"]
    return "\n".join(lines)


def measure(cases: list[Case], results: Results) -> None:
    """What is missing: for each way of training first all errors, then all simulations."""
    for recipe in RECIPES:
        missing = [case for case in cases if case.recipe == recipe and not results.has(case, "runs")]
        for case in missing:
            errors = {**trained(case), "density_noise": density_noise(case.pool)}
            if not results.has(case, "training"):
                results.add(case, "training", errors)
            print(f"{case.name}: force MAE {errors['mae']:.2f} meV/Å", file=sys.stderr, flush=True)
        for case in missing:
            results.add(case, "runs", simulated(case))


def cases_of(options: argparse.Namespace) -> list[Case]:
    """What was asked for, checked."""
    paths = {molecule: options.data / f"rmd17_{molecule}_pool.npz" for molecule in options.molecules}
    pools = {molecule: read_pool(path) for molecule, path in paths.items()}
    if not (options.model / "manifest.json").is_file():
        raise InputError(f"{options.model} is not a model folder; give one with --model")
    if not 1 <= options.replicas <= MOST_REPLICAS:
        raise InputError(f"--replicas must be from 1 to {MOST_REPLICAS}, not {options.replicas}")
    return [
        Case(m, recipe, pools[m], hashlib.sha256(paths[m].read_bytes()).hexdigest(), options)
        for m in options.molecules
        for recipe in options.recipes
    ]


def run(options: argparse.Namespace) -> None:
    """All of it."""
    cases = cases_of(options)
    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    about = {"device": device, "torch": torch.__version__, "openmm": openmm.Platform.getOpenMMVersion()}
    results = Results(options.root / "md17.json", about)
    try:
        measure(cases, results)
    finally:
        if options.quick:
            print("a rehearsal: 40 structures, a few steps")
        rows = [results.rows[case.name] for case in cases if results.has(case, "training")]
        print(table(rows) if rows else "no errors yet")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="MD17: fine-tuned and from scratch, errors and simulations")
    parser.add_argument("--model", type=Path, required=True, help="the pretrained one, a model folder")
    parser.add_argument("--molecules", nargs="+", default=["ethanol", "aspirin"])
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--data", type=Path, default=Path("data/md17"))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--steps", type=int, default=2000, help="of fine-tuning")
    parser.add_argument("--learning-rate", type=float, default=5e-5, help="of fine-tuning")
    parser.add_argument("--scratch-steps", type=int, default=10_000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--time", type=float, default=300.0, help="ps of each simulation; a later call may take more")
    parser.add_argument("--interval", type=float, default=50.0, help="fs between its frames")
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--workers", type=int, help="simulations side by side [replicas, at most one per core]")
    parser.add_argument("--root", type=Path, help="folder for everything [runs/md17; quick runs/md17-quick]")
    parser.add_argument("--quick", action="store_true", help="rehearse it: few structures, steps and ps")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(QUICK)
    options.root = options.root or Path("runs/md17-quick" if options.quick else "runs/md17")
    return exit_status(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
