"""Where the time of a force call goes: ``python benchmarks/profile_call.py 21 84 --threads 4`` prints a table.

Shares of the time that PyTorch's profiler finds in operators, for random weights of the published size.
"""

import argparse
import os
from collections import Counter

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as run_nvt.py does

import numpy as np
import torch
from published_size import atoms, network
from torch.profiler import ProfilerActivity, profile

from mdet_openmm.export.force_module import bind
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.molecules.molecule import Species

PARTS = {
    "attention": ("mdet_openmm::triangular_attention",),
    "linear layers": ("aten::mm", "aten::addmm", "aten::linear", "mkldnn::_linear_pointwise", "aten::bmm"),
    "GELU, norms, residuals": ("aten::gelu", "aten::native_layer_norm", "aten::layer_norm", "aten::add"),
    "Fourier features": ("aten::sin", "aten::cos", "aten::cat", "aten::atan2", "aten::acos"),
}


def shares(n: int, precision: str, repeats: int = 5) -> Counter[str]:
    """Share of each part in the time of a call."""
    module, x = (
        torch.jit.freeze(bind(network()[1], Species(np.full(n, 6)), ForceOptions(precision=precision, offset="none"))),
        atoms(n),
    )
    for _ in range(3):
        module(x)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(repeats):
            module(x)
    found: Counter[str] = Counter()
    for event in profiler.key_averages():
        part = next((name for name, operators in PARTS.items() if event.key in operators), "everything else")
        found[part] += event.self_cpu_time_total
    total = sum(found.values())
    return Counter({part: time / total for part, time in found.items()})


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="where the time of a force call goes")
    parser.add_argument("sizes", type=int, nargs="+")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    columns = [(n, precision) for n in options.sizes for precision in ("double", "mixed")]
    measured = [shares(n, precision) for n, precision in columns]
    print("| part | " + " | ".join(f"n = {n}, {precision}" for n, precision in columns) + " |")
    print("| --- " * (len(columns) + 1) + "|")
    for part in (*PARTS, "everything else"):
        print(f"| {part} | " + " | ".join(f"{100 * found[part]:.0f} %" for found in measured) + " |")


if __name__ == "__main__":
    main()
