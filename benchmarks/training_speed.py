"""Samples per second of a training step, beside the textbook network in the same precision.

``python benchmarks/training_speed.py`` times forward, backward and AdamW on random molecules of 20 atoms: the textbook
network and ours as `mdet train` runs it, without and with torch.compile; of the paper's size (12 layers, width 192,
Fourier directions), or of the network of a ``--config`` for `mdet train`. ``--device cuda`` is for a GPU; ``--output``
adds each row to FOLDER/training-DEVICE.json, and goes on with what is in it. On a CPU the textbook is only compiled
with ``--compile-textbook``, which takes minutes. Data loading is not part of it: `mdet train` reads the whole data set
into memory and makes a batch of 512 in 2 ms.
"""

import argparse
import functools
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from gpu_floors import synchronize
from published_size import PUBLISHED, TextbookNetwork, processor, random_state_dict, slug
from torch import Tensor

from mdet_openmm.configuration import read_settings
from mdet_openmm.files import write_json
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.training.batches import Batch
from mdet_openmm.training.compilation import compile_network
from mdet_openmm.training.config import TrainConfig
from mdet_openmm.training.module import ForceTraining

DEFAULTS = {"cpu": (8, 5), "cuda": (256, 20)}
"""Molecules of a batch, and steps that count."""
WAYS = (("textbook", False), ("textbook", True), ("ours", False), ("ours", True))
"""Networks, and whether they are compiled."""


def shapes(config: Path | None) -> tuple[dict[str, Any], NetworkConfig]:
    """The textbook's options and our settings of the same number of layers, width and heads."""
    if config is not None:
        ours = read_settings(config, TrainConfig).network
        theirs = {"n_layers": ours.n_layers, "embd_dim": ours.embd_dim, "num_heads": ours.n_heads}
        return {**PUBLISHED, **theirs, "num_3d_kernels": ours.n_radial}, ours
    return PUBLISHED, NetworkConfig(
        n_layers=PUBLISHED["n_layers"],
        embd_dim=PUBLISHED["embd_dim"],
        n_heads=PUBLISHED["num_heads"],
        n_radial=PUBLISHED["num_3d_kernels"],
        directions="fourier",
        decomposer_activation="relu",
    )


def batch_of(size: int, n: int, device: str) -> Batch:
    """Random structures."""
    generator = torch.Generator().manual_seed(0)
    x = 2.5 * torch.randn(size, n, 3, dtype=torch.float64, generator=generator)
    numbers = torch.randint(1, 9, (size, n), generator=generator)
    zeros, ones = torch.zeros(size, dtype=torch.long), torch.ones(size, dtype=torch.long)
    energy, turns = torch.zeros(size, dtype=torch.float64), torch.eye(3, dtype=torch.float64).expand(size, 3, 3)
    dipole = torch.zeros(size, 3, dtype=torch.float64)
    batch = Batch(numbers, x, 0.05 * torch.randn_like(x), energy, zeros, ones, turns, dipole)
    return Batch(*(t.to(device) for t in batch))


def seconds_per_step(parameters: Any, forces: Callable[[], Tensor], target: Tensor, steps: int) -> dict[str, Any]:
    """Median time of a step, after three that do not count, and what memory it took on a GPU."""
    device, optimiser, times = target.device.type, torch.optim.AdamW(parameters, lr=1e-5), []
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(steps + 3):
        synchronize(device)
        start = time.perf_counter()
        optimiser.zero_grad()
        (forces() - target).norm(dim=-1).mean().backward()
        optimiser.step()
        synchronize(device)
        times.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else None
    return {"step_s": statistics.median(times[3:]), "first_step_s": times[0], "peak_bytes": peak}


def textbook(options: dict[str, Any], batch: Batch, bf16: bool, compiled: bool, steps: int) -> dict[str, Any]:
    """The textbook network with autocast around it for bf16."""
    device = batch.positions.device.type
    network = TextbookNetwork(random_state_dict(options, 0), options, torch.float32).train().to(device)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    trained = [p for p in network.parameters() if p.requires_grad]
    x = batch.positions.float()
    call: Callable[..., dict[str, Tensor]] = torch.compile(network, dynamic=False) if compiled else network

    def forces() -> Tensor:
        with torch.autocast(device, dtype=torch.bfloat16) if bf16 else nullcontext():
            return call(batch.atomic_numbers, x, batch.charge, batch.multiplicity)["forces"].float()

    return seconds_per_step(trained, forces, batch.forces.float(), steps)


def ours(config: NetworkConfig, batch: Batch, bf16: bool, compiled: bool, steps: int) -> dict[str, Any]:
    """Our network in the trainer's own step."""
    torch.manual_seed(0)
    network = EdgeTransformer(config)
    if compiled:
        compile_network(network, batch.positions.device.type == "cuda")
    settings = TrainConfig(name="speed", data=Path("none"), network=config, precision="bf16" if bf16 else "fp32")
    module = ForceTraining(network, settings, Path()).to(batch.positions.device)
    module.on_train_start()
    return seconds_per_step(
        network.parameters(), lambda: module.predict_forces(module.pair_features(batch))[1], batch.forces.float(), steps
    )


def attempt(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A row, or in its place why there is none: out of memory, or a compiler that gave up."""
    try:
        return measure()
    except Exception as error:  # torch.compile raises many kinds
        return {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
    finally:
        torch._dynamo.reset()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def stored(path: Path | None, about: dict[str, Any]) -> list[dict[str, Any]]:
    """Earlier rows of the same device and versions."""
    found = json.loads(path.read_text()) if path is not None and path.is_file() else {}
    return list(found["rows"]) if found.get("about") == about else []


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| precision | network | samples/s | times the textbook's | times the compiled textbook's | peak memory, GB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    paces = {(r["precision"], r["network"], r["compiled"]): r["samples_per_s"] for r in rows}
    for row in rows:
        pace = row["samples_per_s"]
        theirs = [paces.get((row["precision"], "textbook", compiled)) for compiled in (False, True)]
        cells = [row["precision"], f"{row['network']}, compile: {str(row['compiled']).lower()}"]
        cells += [f"{pace:.2f}" if pace else row["failed"]]
        cells += [f"{pace / base:.2f}" if pace and base else "–" for base in theirs]
        cells += [f"{row['peak_bytes'] / 1e9:.2f}" if row.get("peak_bytes") else "–"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, write it row by row, print the table."""
    parser = argparse.ArgumentParser(description="speed of training")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--config", type=Path, help="of mdet train, whose network is timed [the published size]")
    parser.add_argument("--atoms", type=int, default=20)
    parser.add_argument("--batch", type=int, help="molecules [8; cuda 256]")
    parser.add_argument("--steps", type=int, help="that count [5; cuda 20]")
    parser.add_argument("--compile-textbook", action="store_true", help="on a CPU too")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--output", type=Path, help="folder for training-DEVICE.json; what is there is not measured again"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    usual_size, usual_steps = DEFAULTS[options.device]
    size, steps = options.batch or usual_size, options.steps or usual_steps
    batch, (theirs, config) = batch_of(size, options.atoms, options.device), shapes(options.config)
    device = torch.cuda.get_device_name() if options.device == "cuda" else f"{processor()}, {options.threads} threads"
    about = {"device": device, "torch": torch.__version__, "cuda": torch.version.cuda}
    name, network_size = f"training-{slug(device)}.json", options.config.name if options.config else "published size"
    path = options.output / name if options.output else None
    kept, rows = stored(path, about), []
    for precision, (network, compiled) in itertools.product(("fp32", "bf16"), WAYS):
        if (network, compiled) == ("textbook", True) and options.device == "cpu" and not options.compile_textbook:
            continue
        what = {"size": network_size, "network": network, "precision": precision, "compiled": compiled}
        what |= {"molecules": size, "atoms": options.atoms}
        same = [r for r in kept if what.items() <= r.items()]
        if not same or "failed" in same[0]:
            step = functools.partial(textbook, theirs) if network == "textbook" else functools.partial(ours, config)
            row = attempt(functools.partial(step, batch, precision == "bf16", compiled, steps))
            same = [{**what, "samples_per_s": size / row["step_s"] if "step_s" in row else None, **row}]
            kept = [*(r for r in kept if not what.items() <= r.items()), *same]
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, {"about": about, "rows": kept})
        rows += same
        print(table(same).splitlines()[-1], file=sys.stderr, flush=True)
    print(f"{network_size}, {size} molecules of {options.atoms} atoms, {device}, torch {torch.__version__}\n")
    print(table(rows))


if __name__ == "__main__":
    main()
