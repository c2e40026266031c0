"""Error against core-seconds for networks of several sizes (docs/models.md).

``python experiments/size_study.py configs/mdet-so3lr-small.train.yaml --minutes 12``

Trains the configuration with each shape of network, one after the other, each for so many minutes of CPU time after its
first 250 steps (in which layers are compiled), and notes the error of its averaged weights on held-out conformations
and the CPU time whenever it is validated. The average is over some hundred steps: a training of minutes would else be
judged by its beginning. What other jobs take from the machine does not count, but for what they take from its caches.
Everything lies in ``runs/sizes``; a size that is there is not trained again.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from mdet_openmm.errors import RunStopped, exit_status
from mdet_openmm.side_by_side import sigterm_interrupts
from mdet_openmm.training.progress import losses_in

ROOT = Path("runs/sizes")
SIZES = ((4, 64, 4), (5, 96, 6), (6, 128, 8))
"""Layers, width and heads."""
COMPILED = 250


def validations(losses: Path) -> dict[int, float]:
    """Steps of a training, and the errors in meV/Å after them."""
    rows = [row.split(",") for _, row in losses_in(losses)] if losses.exists() else []
    return {int(step) + 1: float(error) for step, _, _, error in rows if error}


def cpu_seconds(process: int) -> float:
    """CPU time that a running process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def curve(config: dict[str, Any], name: str, minutes: float) -> list[dict[str, float]]:
    """Train for so long; step, CPU seconds and error of every validation after the first."""
    folder = ROOT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    run = folder / "run"
    command = ["train", str(folder / "config.yaml"), "--run-folder", str(run), "--output", str(folder / "model")]
    points: list[dict[str, float]] = []
    with (folder / "log.txt").open("w") as log:
        training = subprocess.Popen([sys.executable, "-m", "mdet_openmm", *command, "--quiet"], stdout=log, stderr=log)
        start = 0.0
        try:
            while training.poll() is None:
                time.sleep(0.5)
                used = cpu_seconds(training.pid)
                for step, error in validations(run / "loss.csv").items():
                    if step == COMPILED:
                        start = start or used
                    elif step not in {p["step"] for p in points}:
                        points.append({"step": step, "core_seconds": used - start, "mae": error})
                        print(f"{name}: {step} steps, {used - start:.0f} s, {error:.1f} meV/Å", flush=True)
                if start and used - start > 60 * minutes:
                    break
        finally:
            training.send_signal(signal.SIGTERM)
            training.wait()
    if not points:
        raise RunStopped(f"{name} was not validated: see {folder / 'log.txt'}")
    return points


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--output", type=Path, default=Path("experiments/results/size_study.json"))
    args = parser.parse_args()
    return exit_status(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Train the sizes, print the table and write the numbers."""
    base = yaml.safe_load(args.config.read_text())
    base |= {"validate_every": COMPILED, "ema_decay": 0.99}
    found = json.loads(args.output.read_text()) if args.output.exists() else {}
    for layers, width, heads in SIZES:
        name = f"{layers}x{width}"
        if name not in found:
            network = base["network"] | {"n_layers": layers, "embd_dim": width, "n_heads": heads}
            with sigterm_interrupts():
                found[name] = curve(base | {"network": network}, name, args.minutes)
            args.output.write_text(json.dumps(found, indent=1) + "\n")
    print("| network | steps | steps/s | " + " | ".join(f"{q} of the time" for q in ("¼", "½", "all")) + " |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, points in found.items():
        last = points[-1]
        near = [min(points, key=lambda p: abs(p["core_seconds"] - q * last["core_seconds"])) for q in (0.25, 0.5, 1)]
        speed = (last["step"] - COMPILED) / last["core_seconds"]
        print(f"| {name} | {last['step']} | {speed:.1f} | " + " | ".join(f"{p['mae']:.0f}" for p in near) + " |")


if __name__ == "__main__":
    sys.exit(main())
