"""Error against steps and against data, and what the next tenfold would give (docs/models.md).

``python experiments/learning_curve.py configs/NAME.train.yaml --steps 1500 6000 24000 --shares 0.04 0.2 1``

Trains the configuration with each number of steps on all training molecules, and with the largest on shares of them,
drawn once and nested. What is held out is the same for all. Everything lies in ``runs/curve``: a run that was stopped
(Ctrl-C, SIGTERM) is gone on with at the next call, one that is there is not trained again. Writes
``runs/curve/NAME.json`` and, with ``--figure``, the picture.
"""

import argparse
import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mdet_openmm.analysis.style import BLUE, ORANGE, as_png, drawing, new_figure
from mdet_openmm.configuration import read_settings
from mdet_openmm.data.layout import write_dataset
from mdet_openmm.data.merge import Part, blocks_of
from mdet_openmm.data.store import Store
from mdet_openmm.errors import InputError, exit_status
from mdet_openmm.training.config import TrainConfig

ROOT = Path("runs/curve")


@dataclass(frozen=True)
class Point:
    """One training: share of the training molecules, steps, and the structures that it had."""

    share: float
    steps: int
    molecules: int
    structures: int
    held_out_mae: float
    unseen_mae: float


def kept(store: Store, share: float) -> set[int]:
    """Training molecules of a share; smaller shares lie within larger ones."""
    trained = np.array([i for i, m in enumerate(store.molecules) if m.split == "train"])
    order = np.random.default_rng(0).permutation(trained)
    return {int(i) for i in order[: max(1, round(share * len(order)))]}


def subset(store: Store, share: float, path: Path) -> Path:
    """A data set with a share of the training molecules, and the same held-out ones."""
    if path.exists():
        return path
    chosen = kept(store, share)
    rows = [i for i, row in enumerate(store.molecules) if row.split != "train" or i in chosen]
    places = {row: place for place, row in enumerate(rows)}
    part = Part(store, tuple(places.get(i, -1) for i in range(len(store.molecules))), 0, 1)
    blocks = (block for block in blocks_of(part) if block.molecule >= 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".partial")
    same = ("teacher", "teacher_version", "package_version", "seed", "config", "start_structures_sha256")
    write_dataset(unfinished, [store.molecules[i] for i in rows], blocks, {key: store.attributes[key] for key in same})
    unfinished.rename(path)
    return path


def point(config: TrainConfig, share: float, steps: int, quiet: bool) -> Point:
    """Train one and read its errors."""
    from mdet_openmm.training.fit import run_training

    name = f"{config.name}-{share:g}-{steps}"
    model, run = ROOT / "models" / name, ROOT / name
    data = (
        config.data if share == 1 else subset(Store(config.data), share, ROOT / "data" / f"{config.name}-{share:g}.h5")
    )
    if not model.exists():
        warmup = min(config.warmup_steps, steps // 10)
        mine = dataclasses.replace(config, name=name, data=data, steps=steps, warmup_steps=warmup)
        run_training(mine, model_folder=model, run_folder=run, restart=run.exists(), quiet=quiet)
    metrics, store = json.loads((model / "metrics.json").read_text()), Store(data)
    trained = store.indices("train")
    errors = [metrics[split]["all"]["mae"] if split in metrics else float("nan") for split in ("test", "unseen")]
    return Point(share, steps, len(np.unique(store.molecule[trained])), len(trained), *errors)


def slope(x: list[float], errors: list[float]) -> float:
    """Exponent b of error = a x^-b, by least squares of the logarithms."""
    return -float(np.polyfit(np.log(x), np.log(errors), 1)[0])


def tenfold(points: list[Point], axis: str) -> dict[str, Any]:
    """What ten times the steps or the data would give, if the last of the points go on as they do."""
    along = sorted(points, key=lambda p: getattr(p, axis))
    if len(along) < 2:
        return {}
    b = slope([getattr(p, axis) for p in along], [p.unseen_mae for p in along])
    return {"exponent": b, "unseen_mae_at_tenfold": along[-1].unseen_mae * 10**-b}


def table(points: list[Point]) -> str:
    """Markdown."""
    head = "| training molecules | structures | steps | MAE, held-out conformations, meV/Å | MAE, unseen molecules |"
    rows = [
        f"| {p.molecules} | {p.structures} | {p.steps} | {p.held_out_mae:.1f} | {p.unseen_mae:.1f} |" for p in points
    ]
    return "\n".join([head, "| --- | --- | --- | --- | --- |", *rows])


def draw(points: list[Point], path: Path) -> None:
    """Both curves, logarithmic."""
    figure = new_figure(9.0, 3.4)
    most = max(p.steps for p in points)
    for axes, axis, chosen, label in zip(
        figure.subplots(1, 2, sharey=True),
        ("steps", "molecules"),
        ([p for p in points if p.share == 1], [p for p in points if p.steps == most]),
        ("optimiser steps", "training molecules"),
        strict=True,
    ):
        along = sorted(chosen, key=lambda p, axis=axis: getattr(p, axis))  # type: ignore[misc]
        x = [getattr(p, axis) for p in along]
        axes.loglog(x, [p.unseen_mae for p in along], "o-", color=ORANGE, label="unseen molecules")
        axes.loglog(
            x, [p.held_out_mae for p in along], "o-", color=BLUE, label="trained molecules, held-out conformations"
        )
        axes.set(xlabel=label)
        axes.grid(which="minor", alpha=0.3)
    figure.axes[0].set(ylabel="force MAE, meV/Å")
    figure.axes[0].legend(frameon=False, fontsize=9)
    path.write_bytes(as_png(figure))


def run(options: argparse.Namespace) -> None:
    """All points, the table, and what the next tenfold would give."""
    config = read_settings(options.config, TrainConfig)
    if any(not 0 < share <= 1 for share in options.shares):
        raise InputError("--shares must be above 0 and at most 1")
    if len(Store(config.data).indices("unseen")) == 0:
        raise InputError(f"{config.data} has no held-out molecules: the curve is about those")
    most = max(options.steps)
    wanted = [(1.0, steps) for steps in sorted(options.steps)] + [(s, most) for s in sorted(options.shares) if s < 1]
    points = []
    for share, steps in sorted(wanted, key=lambda w: w[0] * w[1]):
        points.append(point(config, share, steps, options.quiet))
        print(table(points[-1:]).splitlines()[-1], flush=True)
    found: dict[str, Any] = {
        "config": str(options.config),
        "points": [dataclasses.asdict(p) for p in points],
        "steps": tenfold([p for p in points if p.share == 1], "steps"),
        "molecules": tenfold([p for p in points if p.steps == most], "molecules"),
    }
    (ROOT / f"{config.name}.json").write_text(json.dumps(found, indent=1) + "\n")
    print(table(points))
    for axis in ("steps", "molecules"):
        if found[axis]:
            print(
                f"ten times the {axis}: {found[axis]['unseen_mae_at_tenfold']:.1f} meV/Å on unseen molecules, if the "
                f"error goes on as {axis}^-{found[axis]['exponent']:.2f}"
            )
    if options.figure:
        with drawing():
            draw(points, options.figure)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="error against steps and data")
    parser.add_argument("config", type=Path)
    parser.add_argument("--steps", type=int, nargs="+", required=True)
    parser.add_argument("--shares", type=float, nargs="+", default=[1.0])
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args()
    return exit_status(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
