"""What pretraining gives: ``python experiments/fine_tuning.py --model MODEL --data FOLDER``.

For each data set, number of training structures, start and number of steps: a training, and its errors on the
official test sets. From a pretrained model and from scratch with a network of the same shape, at equal steps and
batches; nothing is chosen by validation, so that all structures are trained on. ``--simulate`` adds the paper's
simulations (500 K, 300 ps, 0.5 fs; stability and h(r)) of those that have a trajectory to compare with.

FOLDER has the files that `published_sets.SETS` names, as .npz with ``positions`` (frames, atoms, 3) in Å, ``forces`` in
eV/Å, ``energies`` in eV, ``atomic_numbers``, and ``level``, the level of theory; those of rMD17 also ``train_01`` and
``test_01`` (rows of the official split), ``forces_md17`` and ``energies_md17`` (the labels of MD17 on these frames).

Everything lies in ``--root``; what is done is not done again, and what was stopped (Ctrl-C, SIGTERM) is gone on with.
A changed file, model or setting makes another row. Prints a table and writes ``ROOT/fine_tuning.json``.
"""

import argparse
import dataclasses
import functools
import hashlib
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch  # before openmm # isort: skip
import numpy as np
import openmm
from numpy.typing import NDArray
from published_sets import POOL, SETS, TEMPERATURE, Source, arrays_of, digest_of, training_rows, write_data

from mdet_openmm.cores import available_cores
from mdet_openmm.digits import shown
from mdet_openmm.errors import InputError, exit_status
from mdet_openmm.evaluation.evaluate import evaluate
from mdet_openmm.evaluation.settings import EvaluateSettings
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.files import unfinished, write_json
from mdet_openmm.measure.pair_distances import density_error, pair_density
from mdet_openmm.studies.estimate import Estimate
from mdet_openmm.studies.folder import STUDY
from mdet_openmm.studies.protocol import benchmark
from mdet_openmm.studies.settings import ProtocolSettings
from mdet_openmm.training.config import FINETUNE_DEFAULTS, TrainConfig

MOST_REPLICAS = 6
"""Simulations of a model up to which each starts from a test frame."""


STARTS: dict[str, dict[str, Any]] = {
    "as-it-is": {},
    "fine-tuned": {"learning_rate": FINETUNE_DEFAULTS["learning_rate"]},
    "fine-tuned-muon": {"optimizer": "muon", "muon_learning_rate": 2e-3, "learning_rate": 6e-4},
    "fine-tuned-lambda": {
        "optimizer": "muon", "muon_learning_rate": 2e-3, "learning_rate": 6e-4,
        "antisymmetry_weight": 30.0, "antisymmetry_structures": 3,
    },
    "fine-tuned-frozen": {
        "optimizer": "muon", "muon_learning_rate": 2e-3, "learning_rate": 6e-4, "frozen_layers": 3,
    },
    "from-scratch": {"optimizer": "muon", "muon_learning_rate": 2e-3, "learning_rate": 6e-4},
}  # fmt: skip
"""How each is trained: without a step; as the paper fine-tunes; with rates that suit few steps better; the same with a
penalty on lambda, and with all but the last two of five layers as they were; and from nothing (at 5e-3, which is faster
where it works, ethanol and malonaldehyde stay at forces of zero for all 2,000 steps)."""
QUICK = {
    "steps": [3], "sizes": [8], "batch_size": 4, "test_frames": 6, "symmetry_frames": 2, "lambda_frames": 1,
    "compile": False, "precision": "fp32", "time": 0.02, "interval": 2.0,
}  # fmt: skip
FREE = ("accelerator", "checkpoint_every", "compile", "data", "description", "name", "start_from", "threads",
        "validate_every")  # fmt: skip
"""Settings of a training that do not decide what comes of it, or that hashes stand for."""
LATER = {"frozen_layers": 0, "size_power": 0.0}
"""Settings that came when there were rows already, and what these were made with."""


@dataclass(frozen=True)
class Case:
    """One training.

    Attributes
    ----------
    name, source
        Of the data set.
    count
        Training structures.
    start, steps
        Which of `STARTS`, and for how long.
    folder
        Of the data.
    options
        Of the command.
    """

    name: str
    source: Source
    count: int
    start: str
    steps: int
    folder: Path
    options: argparse.Namespace

    @functools.cached_property
    def asked(self) -> dict[str, Any]:
        """What decides its numbers."""
        from mdet_openmm.training.fit import stored

        training = stored(dataclasses.replace(self.config, name="-"))
        decisive = {k: v for k, v in training.items() if k not in FREE and not (k in LATER and v == LATER[k])}
        options = self.options
        return {
            "training": decisive if self.steps else None,
            "structures": self.count,
            "start": self.start,
            "model": load_model(options.model).sha256,
            "files": {name: digest_of(self.folder / name) for name in (self.source.file, *self.test_files.values())},
            "evaluation": {key: getattr(options, key) for key in ("test_frames", "symmetry_frames", "lambda_frames")},
        }

    @functools.cached_property
    def label(self) -> str:
        """Name of its row, its model and its folders: no two that differ in anything share one."""
        text = json.dumps(self.asked, sort_keys=True)
        what = f"{self.name}-{self.count}-{self.start}-{self.steps}" if self.steps else f"{self.name}-{self.start}"
        return f"{what}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @property
    def test_files(self) -> dict[str, str]:
        """File of each test set that is there."""
        found = {test: self.source.file if file == POOL else file for test, file in self.source.tests.items()}
        return {test: file for test, file in found.items() if (self.folder / file).is_file()}

    @property
    def model(self) -> Path:
        """Folder of the trained model."""
        return Path(self.options.root) / "models" / self.label if self.steps else Path(self.options.model)

    @functools.cached_property
    def config(self) -> TrainConfig:
        """How it is trained; from scratch it has the shape of the pretrained model."""
        options, pretrained, how = self.options, load_model(self.options.model), dict(STARTS[self.start])
        if self.start == "from-scratch":
            how["network"] = dataclasses.replace(
                pretrained.network.config, force_scale=1.0, energy_head=False, dipole_head=False
            )
        else:
            how["start_from"] = str(options.model)
        start = "from scratch" if self.start == "from-scratch" else f"from {pretrained.name}"
        return TrainConfig(
            name="-",
            data=Path(options.root) / "data" / f"{self.name}-{self.count}.h5",
            steps=max(1, self.steps),
            batch_size=options.batch_size,
            copies=1,
            warmup_steps=min(int(FINETUNE_DEFAULTS["warmup_steps"]), self.steps // 10),
            precision=options.precision,
            compile=options.compile,
            seed=options.seed,
            accelerator=options.device,
            threads=options.threads,
            checkpoint_every=min(500, max(1, self.steps)),  # one at the end too: what follows may be stopped
            description=f"{self.count} structures of {self.name}, {start} ({self.start}).",
            **how,
        )


def trained(case: Case) -> dict[str, Any]:
    """Train the model, or what is left of that; how long it took."""
    from mdet_openmm.training.fit import run_training

    if not case.steps:
        return {}
    root, file = Path(case.options.root), case.source.file
    if not case.model.exists():
        rows = np.sort(training_rows(case.source, arrays_of(case.folder / file))[: case.count])
        name = f"{case.name}-{case.count}-{case.asked['files'][file][:8]}.h5"
        config = dataclasses.replace(case.config, name=case.label, data=root / "data" / name)
        write_data(case.name, case.folder / file, rows, config.data)
        run = root / "runs" / case.label
        run_training(config, model_folder=case.model, run_folder=run, restart=run.exists(), quiet=case.options.quiet)
    hours = load_model(case.model).metadata["training"]["hours_last_run"]
    return {"hours_since_last_start": round(hours, 4)}


def errors(case: Case) -> dict[str, dict[str, float]]:
    """By test set: errors in one and in twelve orientations, E_eq and lambda."""
    root, options = Path(case.options.root), case.options
    found: dict[str, dict[str, float]] = {}
    for test, file in case.test_files.items():
        rows = arrays_of(case.folder / file)[POOL].astype(np.int64) if case.source.tests[test] == POOL else None
        name = f"{case.name}-test-{test.replace(' ', '')}-{digest_of(case.folder / file)[:8]}.h5"
        rows = None if rows is None else np.sort(rows)
        data = write_data(case.name, case.folder / file, rows, root / "data" / name)
        found[test] = {}
        for orientations, end in ((1, ""), (12, "_12")):
            output = root / "evaluations" / f"{case.label}-{test.replace(' ', '')}-{orientations}"
            settings = EvaluateSettings(
                model=str(case.model),
                data=data,
                splits=("train",),  # the name of the only one in a file of test frames
                most_frames=options.test_frames,
                orientations=orientations,
                precision="mixed",
                symmetry_frames=0 if end else options.symmetry_frames,
                lambda_frames=0 if end else options.lambda_frames,
                workers=options.workers or 1,
                output=output,
                quiet=options.quiet,
            )
            if not (output / "evaluation.json").is_file():
                evaluate(settings)
            numbers = json.loads((output / "evaluation.json").read_text())["methods"][0]
            found[test] |= {f"mae{end}": numbers["force_mae_meV_A"], f"rmse{end}": numbers["force_rmse_meV_A"]}
            if not end:
                found[test] |= {key: numbers[key] for key in ("e_eq_kcal_mol_A", "lambda", "frames")}
    return found


def reference_order(count: int, test: NDArray[Any]) -> NDArray[np.int64]:
    """All frames, with test frames wherever a simulation starts: R of them start from the frames k·count // R.

    The order means nothing to h(r) and to mean bond lengths, which is all else that a reference gives.
    """
    starts = np.unique([k * count // r for r in range(1, MOST_REPLICAS + 1) for k in range(r)])
    order = np.empty(count, dtype=np.int64)
    order[starts] = test[: len(starts)]
    order[np.setdiff1d(np.arange(count), starts)] = np.setdiff1d(np.arange(count), test[: len(starts)])
    return order


def write_reference(case: Case) -> Path:
    """All frames of the trajectory as the protocol reads them."""
    arrays = arrays_of(case.folder / case.source.file)
    path = Path(case.options.root) / "references" / case.asked["files"][case.source.file][:8] / f"{case.name}.npz"
    if not path.exists():
        order = reference_order(len(arrays["positions"]), arrays[POOL].astype(np.int64))
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished(path) as made, made.open("wb") as file:
            np.savez(file, atomic_numbers=arrays["atomic_numbers"], positions=arrays["positions"][order])
    return path


def density_noise(positions: NDArray[np.floating]) -> float:
    """The h(r) error of the later half of the frames, which stand in MD17's order, against the earlier."""
    x, half = positions.astype(np.float64), len(positions) // 2
    return density_error(pair_density(x[half:]), pair_density(x[:half]))


def runs_asked(options: argparse.Namespace) -> dict[str, Any]:
    """What decides the numbers of simulations."""
    return {"time": options.time, "replicas": options.replicas, "report_interval": options.interval}


def simulated(case: Case) -> dict[str, Any]:
    """The paper's simulations, or what is left of them; the row of their table."""
    options, output = case.options, Path(case.options.root) / "nvt" / case.label
    settings = ProtocolSettings(
        model=str(case.model),
        temperature=TEMPERATURE,
        precision="mixed",
        workers=options.workers or min(options.replicas, available_cores()),
        platform="CUDA" if options.device == "cuda" else "Reference",
        output=output,
        restart=(output / STUDY).exists(),
        **runs_asked(options),
    )
    # named, or a restart would take the stored ones wherever these are the defaults: a longer time above all
    given = {"model", "temperature", "precision", *runs_asked(options)}
    benchmark(settings, [write_reference(case)], given=given)
    (row,) = json.loads((output / "table.json").read_text())["rows"]
    noise = density_noise(arrays_of(case.folder / case.source.file)["positions"])
    return {**row, "density_noise": noise, "asked": runs_asked(options)}


class Results:
    """Rows by name, written after each change; those that are there already are kept."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path = path
        self.about = about
        self.rows = self._stored()

    def _stored(self) -> dict[str, dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = json.loads(self.path.read_text())["rows"] if self.path.is_file() else {}
        return rows

    def add(self, case: Case, found: dict[str, Any]) -> None:
        """Add to a row, or make it; what another call has added meanwhile stays."""
        self.rows |= self._stored()
        row = {"set": case.name, "structures": case.count, "start": case.start, "steps": case.steps}
        self.rows[case.label] = {
            **row,
            "asked": case.asked,
            "about": self.about,
            **self.rows.get(case.label, {}),
            **found,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, {"rows": {name: self.rows[name] for name in sorted(self.rows)}})


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: errors, and, where there are any, simulations."""
    head = ["data set", "test", "structures", "steps", "start", "force MAE, meV/Å", "12 orientations"]
    head += ["force RMSE", "12 orientations", "MAE from scratch over this", "E_eq, kcal/mol/Å", "λ"]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]

    def place(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["set"], row["structures"], row["steps"]

    scratch = {place(row): row["errors"] for row in rows if row["start"] == "from-scratch"}
    notes = {f"{row['set']}: {SETS[row['set']].note}" for row in rows if SETS[row["set"]].note}
    for row in rows:
        for test, found in row["errors"].items():
            before = scratch.get(place(row), {}).get(test)
            cells = [row["set"], test, str(row["structures"] or "–"), str(row["steps"]), row["start"]]
            cells += [f"{found[key]:.1f}" for key in ("mae", "mae_12", "rmse", "rmse_12")]
            cells += [f"{before['mae'] / found['mae']:.2f}" if before else "–"]
            cells += [shown(found[key]) for key in ("e_eq_kcal_mol_A", "lambda")]
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *sorted(notes)] if notes else []
    runs = [row for row in rows if "runs" in row]
    return "\n".join([*lines, *(["", simulations_table(runs)] if runs else [])])


def simulations_table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    head = ["data set", "structures", "steps", "start", "ps", "runs that kept their bonds", "stability, ps"]
    head += ["h(r) error", "that of the reference's halves", "T, K", "steps/s"]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for row in rows:
        runs = row["runs"]
        cells = [row["set"], str(row["structures"]), str(row["steps"]), row["start"], f"{runs['asked']['time']:g}"]
        cells += [runs["stable"], *(str(estimate_of(runs[key])) for key in ("stability_ps", "density_error"))]
        cells += [f"{runs['density_noise']:.3f}"]
        cells += [str(estimate_of(runs[key])) for key in ("temperature_K", "steps_per_second")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def estimate_of(cell: dict[str, Any]) -> Estimate:
    """From JSON, where a number that is none is null."""
    mean, error = (math.nan if cell[key] is None else cell[key] for key in ("mean", "error"))
    return Estimate(mean, error, cell["count"])


def cases_of(options: argparse.Namespace) -> list[Case]:
    """What was asked for, checked; of more structures than a set has, all."""
    if not (options.model / "manifest.json").is_file():
        raise InputError(f"{options.model} is not a model folder; give one with --model")
    if not 1 <= options.replicas <= MOST_REPLICAS:
        raise InputError(f"--replicas must be from 1 to {MOST_REPLICAS}, not {options.replicas}")
    for flag, values in (("--sizes", options.sizes), ("--steps", options.steps)):
        if min(values) < 1:
            raise InputError(f"{flag} must be positive, not {min(values)}")
    cases = []
    for name in options.sets:
        source, path = SETS[name], options.data / SETS[name].file
        if not path.is_file():
            raise InputError(f"{path} does not exist; give the folder of the data with --data")
        wanted = ["positions", "atomic_numbers", f"forces{source.labels}", f"energies{source.labels}"]
        wanted += [POOL, *([] if source.labels else ["train_01"])] if source.is_trajectory else []
        missing = [array for array in wanted if array not in arrays_of(path)]
        if missing:
            raise InputError(f"{path} has no array {', '.join(missing)}")
        most = len(training_rows(source, arrays_of(path)))
        counts = sorted({min(count, most) for count in options.sizes})
        plans = [(count, start, steps) for count in counts for steps in options.steps for start in options.starts]
        plans = list(dict.fromkeys((0, s, 0) if s == "as-it-is" else (c, s, n) for c, s, n in plans))
        cases += [Case(name, source, c, s, n, options.data, options) for c, s, n in plans]
        if not cases[-1].test_files:
            raise InputError(f"{options.data} has none of the test sets {', '.join(source.tests.values())}")
    return cases


def measure(cases: list[Case], results: Results) -> None:
    """What is missing: first all errors, then all simulations."""
    for case in cases:
        if "errors" not in results.rows.get(case.label, {}):
            results.add(case, {**trained(case), "errors": errors(case)})
        for test, found in results.rows[case.label]["errors"].items():
            print(f"{case.label}, {test}: force MAE {found['mae']:.2f} meV/Å", file=sys.stderr, flush=True)
    for case in (case for case in cases if case.options.simulate and case.source.is_trajectory and case.steps):
        if results.rows[case.label].get("runs", {}).get("asked") != runs_asked(case.options):
            results.add(case, {"runs": simulated(case)})


def run(options: argparse.Namespace) -> None:
    """All of it."""
    cases = cases_of(options)
    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    about = {"device": device, "torch": torch.__version__, "openmm": openmm.Platform.getOpenMMVersion()}
    results = Results(options.root / "fine_tuning.json", about)
    try:
        measure(cases, results)
    finally:
        if options.quick:
            print("a rehearsal: a few structures and steps")
        rows = [results.rows[case.label] for case in cases if "errors" in results.rows.get(case.label, {})]
        print(table(rows) if rows else "no errors yet")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="What pretraining gives: errors fine-tuned and from scratch")
    parser.add_argument("--model", type=Path, required=True, help="the pretrained one, a model folder")
    parser.add_argument("--data", type=Path, default=Path("data/published"), help="folder of the .npz files")
    sets = ["aspirin", "toluene", "malonaldehyde", "ethanol", "3bpa", "acac"]
    parser.add_argument("--sets", nargs="+", choices=SETS, default=sets, metavar="SET", help=", ".join(SETS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[50, 200, 1000, 8000], help="training structures")
    starts = ["as-it-is", "fine-tuned", "fine-tuned-muon", "from-scratch"]
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=starts)
    parser.add_argument("--steps", nargs="+", type=int, default=[2000], help="of each; several make a curve")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and rotations")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16", help="of the trunk in training")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--threads", type=int, default=1, help="of a training")
    parser.add_argument("--test-frames", type=int, default=1000, help="of each test set at most, drawn at random")
    parser.add_argument("--symmetry-frames", type=int, default=50, help="of these, for E_eq")
    parser.add_argument("--lambda-frames", type=int, default=6, help="of these, for lambda")
    parser.add_argument(
        "--simulate", action="store_true", help="the paper's simulations too, where there is a trajectory"
    )
    parser.add_argument("--time", type=float, default=300.0, help="ps of each simulation; a later call may take more")
    parser.add_argument("--interval", type=float, default=50.0, help="fs between its frames")
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument(
        "--workers", type=int, help="processes [errors: 1; simulations: replicas, at most one per core]"
    )
    parser.add_argument("--root", type=Path, help="folder for everything [runs/fine-tuning; quick: -quick]")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.add_argument("--quick", action="store_true", help="rehearse it: few structures, steps and ps")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(QUICK)
    options.root = options.root or Path("runs/fine-tuning-quick" if options.quick else "runs/fine-tuning")
    return exit_status(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
