"""How fast a force call is, beside the textbook network and beside the floor that the arithmetic sets.

``make bench`` (``python benchmarks/speed.py``) measures everything in one process and prints a table; ``--output``
writes the figures as JSON. Published size: 12 layers, width 192, 12 heads, Fourier directions; random weights.

* textbook: `TextbookNetwork` of tests/stand_ins/textbook.py, the paper's formula with the n³ e product built, bare.
* double, mixed: a module of `bind`, as OpenMM calls it (net force and torque removed).
* floor: the linear layers as bare matrix products, and the attention's multiply-adds at the rate of a large matrix
  product; both measured here, in the same precision and with the same threads.
"""

import argparse
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as run_nvt.py does

import numpy as np
import openmm
import torch
from published_size import LAYERS, PUBLISHED, TEXTBOOK_TENSORS, WIDTH, TextbookNetwork, atoms, network, processor

from mdet_openmm.export.force_module import bind
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.system.force import add_force, make_system
from mdet_openmm.units import BOHR_PER_NM

DTYPES = {"double": torch.float64, "mixed": torch.float32}


def seconds(call: Callable[[], object], budget: float = 4.0) -> float:
    """Median time of a call, after two that do not count, within about this many seconds."""
    start = time.perf_counter()
    call()
    first = time.perf_counter() - start
    if first < budget:
        call()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < budget and len(times) < 30):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
        if first > budget:
            break
    return statistics.median(times)


def floor(n: int, dtype: torch.dtype) -> float:
    """Seconds of the bare products of one call."""
    x, wide = torch.randn(n * n, WIDTH, dtype=dtype), torch.randn(n * n, 2 * WIDTH, dtype=dtype)
    shapes = ((x, 4 * WIDTH), (x, WIDTH), (x, 2 * WIDTH), (wide, WIDTH))
    weights = [torch.randn(given.shape[1], out, dtype=dtype) for given, out in shapes]
    linear = sum(seconds(functools.partial(torch.matmul, g, w), 0.2) for (g, _), w in zip(shapes, weights, strict=True))
    big = torch.randn(1024, 1024, dtype=dtype)
    rate = 1024**3 / seconds(lambda: big @ big, 0.5)  # multiply-adds per second
    return LAYERS * (linear + 3 * n**3 * WIDTH / rate)  # one for the scores, two for the values


def step_seconds(module: torch.jit.ScriptModule, x: torch.Tensor, backend: str, budget: float) -> dict[str, float]:
    """Seconds of a step of OpenMM's Verlet integrator on the Reference platform: the first, and the median."""
    system = make_system([1e6] * len(x))
    add_force(system, module, backend)
    context = openmm.Context(system, openmm.VerletIntegrator(1e-6), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(x.numpy())
    step = context.getIntegrator().step
    start = time.perf_counter()
    step(1)
    return {"first": time.perf_counter() - start, "steady": seconds(lambda: step(1), budget)}


def textbook_fits(n: int, dtype: torch.dtype) -> bool:
    """Whether the textbook network's n³ e products fit into the free memory."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return TEXTBOOK_TENSORS * n**3 * WIDTH * dtype.itemsize < 0.9 * free


def peak_bytes(kind: str, n: int, threads: int) -> int | None:
    """Growth of the resident memory in one call, in a process of its own."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import speed; speed.report_peak(sys.argv[2], int(sys.argv[3]))"
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", code, str(Path(__file__).parent), kind, str(n)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return int(done.stdout.split()[-1]) if done.returncode == 0 else None


def report_peak(kind: str, n: int) -> None:
    """Print the growth of this process's peak memory by one call; after one with three atoms, which loads libraries."""

    def highest() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

    state, model = network()
    if kind == "textbook":
        other = TextbookNetwork(state, PUBLISHED, torch.float64).eval()
        call: Callable[[int], object] = lambda size: textbook_call(other, atoms(size), torch.float64)()  # noqa: E731
    else:
        options = ForceOptions(precision=kind, offset="none")
        call = lambda size: bind(model, Species(np.full(size, 6)), options)(atoms(size))  # noqa: E731
    call(3)
    before = highest()
    call(n)
    print(highest() - before)


def textbook_call(other: TextbookNetwork, x: torch.Tensor, dtype: torch.dtype) -> Callable[[], object]:
    """One forward of the textbook network."""
    given = ((x - x.mean(dim=0)) * BOHR_PER_NM)[None].to(dtype)
    numbers, charge, multiplicity = torch.full((1, len(x)), 6), torch.tensor([0]), torch.tensor([1])

    def call() -> object:
        with torch.no_grad():
            return other(numbers, given, charge, multiplicity)

    return call


def measure(sizes: list[int], orientations: list[int], threads: int, budget: float) -> dict[str, Any]:
    """All figures, in seconds and bytes."""
    state, model = network()
    results: dict[str, Any] = {}
    for n in sizes:
        x, row = atoms(n), {}
        for precision, dtype in DTYPES.items():
            entry: dict[str, Any] = {"floor": floor(n, dtype)}
            if textbook_fits(n, dtype):
                other = TextbookNetwork(state, PUBLISHED, dtype).eval()
                entry["textbook"] = seconds(textbook_call(other, x, dtype), budget)
            for count in orientations:
                options = ForceOptions(precision=precision, orientations=count, offset="none")
                module = bind(model, Species(np.full(n, 6)), options)
                entry[f"frames {count}"] = seconds(lambda m=module, y=x: m(y), budget)  # type: ignore[misc]
                if count == 1:
                    for backend in ("torch", "python"):
                        entry[backend] = step_seconds(module, x, backend, budget)
            row[precision] = entry
        if n <= 84:
            for kind in ("textbook", "double", "mixed"):
                row.setdefault("peak", {})[kind] = peak_bytes(kind, n, threads)
        results[str(n)] = row
        print(f"n = {n} done", file=sys.stderr)
    return results


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown; ms, MB, and ratios of one run."""
    lines = [
        "| n | precision | floor | textbook | one orientation | × floor | textbook fp64 ÷ this | 12 orientations | "
        "TorchForce step (first) | PythonForce step (first) | peak MB (textbook) |",
        "| --- " * 11 + "|",
    ]
    ms = lambda value: f"{1e3 * value:.1f}" if value is not None else "–"  # noqa: E731
    for n, row in results.items():
        exact = row["double"].get("textbook")
        for precision in ("double", "mixed"):
            e = row[precision]
            one, peak = e["frames 1"], row.get("peak", {})
            steps = [f"{ms(e[b]['steady'])} ({ms(e[b]['first'])})" for b in ("torch", "python")]
            memory = "–"
            if peak.get(precision):
                theirs = f"{peak['textbook'] / 1e6:.0f}" if peak.get("textbook") else "–"
                memory = f"{peak[precision] / 1e6:.0f} ({theirs})"
            ratio = f"{exact / one:.1f}" if exact else "–"
            cells = [n, precision, ms(e["floor"]), ms(e.get("textbook")), ms(one), f"{one / e['floor']:.1f}", ratio]
            cells += [ms(e.get("frames 12")), *steps, memory]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(measured: dict[str, Any], path: Path) -> None:
    """Time of a force call against the number of atoms."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    rows = {int(n): row for n, row in measured["results"].items()}
    lines = (
        ("textbook, fp64", "double", "textbook", "#9a3b26", "-"),
        ("textbook, fp32", "mixed", "textbook", "#e08a6d", "-"),
        ("here, double", "double", "frames 1", "#1f4e79", "-"),
        ("here, mixed", "mixed", "frames 1", "#5b9bd5", "-"),
        ("floor, fp64", "double", "floor", "#1f4e79", ":"),
        ("floor, fp32", "mixed", "floor", "#5b9bd5", ":"),
    )
    for label, precision, key, colour, style in lines:
        points = [(n, 1e3 * row[precision][key]) for n, row in rows.items() if key in row[precision]]
        axis.plot(*zip(*points, strict=True), style, color=colour, marker="o", markersize=4, label=label)
    axis.set(xscale="log", yscale="log", xlabel="atoms", ylabel="ms per force call")
    axis.set_xticks(list(rows), [str(n) for n in rows], minor=False)
    axis.set_xticks([], minor=True)
    axis.grid(alpha=0.25)
    axis.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="speed of a force call")
    parser.add_argument("--sizes", type=int, nargs="+", default=[9, 21, 42, 84, 168])
    parser.add_argument("--orientations", "--frames", type=int, nargs="+", default=[1, 12])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=4.0, help="for each figure")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--plot", type=Path, nargs=2, metavar=("JSON", "PNG"), help="draw figures, measure nothing")
    options = parser.parse_args()
    if options.plot:
        plot(json.loads(options.plot[0].read_text()), options.plot[1])
        return
    torch.set_num_threads(options.threads)
    results = measure(options.sizes, options.orientations, options.threads, options.seconds)
    about = {"machine": platform.machine(), "processor": processor(), "threads": options.threads}
    about |= {"torch": torch.__version__, "openmm": openmm.Platform.getOpenMMVersion()}
    print(f"{about['processor']}, {options.threads} threads, torch {about['torch']}; ms\n")
    print(table(results))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
