"""Time the triangular attention on a GPU: the formula, the formula under torch.compile, and the Triton kernels.

    python benchmarks/attention.py [--quick] [--compiled] [--output attention.json]

The kernels are tried with several numbers of warps and of channels to a thread; the table has the best of each shape.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from mdet_openmm.network import attention_operator
from mdet_openmm.network.attention import attention_of_projections

BF16, FP32, FP64 = torch.bfloat16, torch.float32, torch.float64
SHAPES: Final = [
    (256, 20, 6, 16, BF16),
    (256, 20, 10, 16, BF16),
    (128, 30, 10, 16, BF16),
    *((b, n, 12, 16, dtype) for dtype in (FP32, FP64) for b in (1, 12) for n in (21, 84)),
]
"""b, n, heads, their width, dtype."""
CHOICES: Final = [(1, 1.0), (2, 1.0), (4, 1.0), (8, 1.0), (4, 0.5), (4, 2.0)]
"""Warps of a program, and channels to a thread as a multiple of the usual."""


def median_us(call: Callable[[], Any], milliseconds: int) -> float:
    """Median time of a call, with cold L2, in microseconds."""
    from triton.testing import do_bench

    return 1e3 * float(do_bench(call, warmup=milliseconds // 4, rep=milliseconds, return_mode="median"))


def calls(attention: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor) -> dict[str, Callable[[], Any]]:
    """The call by itself and with its derivative."""

    def alone() -> Tensor:
        with torch.no_grad():
            return attention(x.detach())

    return {"forward": alone, "both": lambda: torch.autograd.grad(attention(x), x, grad)}


def time_row(
    row: dict[str, Any], name: str, attention: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor, only: str = ""
) -> None:
    """Write the times of one way into a row; what fails is said there, and the rest goes on."""
    for what, call in calls(attention, x, grad).items():
        if only and what != only:
            continue
        try:
            row[f"{name} {what}"] = median_us(call, 20 if name == "kernel" else 40)
        except Exception as error:
            row[f"{name} {what}"] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            print(f"{row['shape']} {name} {what}: {row[f'{name} {what}']}", flush=True)


def time_kernels(row: dict[str, Any], attention: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor) -> None:
    """The kernels with every choice; the best of each in the row, all under "tried"."""
    from mdet_openmm.network import attention_triton as kernels

    usual, size = (dict(kernels.WARPS), dict(kernels.ELEMENTS)), x.element_size()
    time_row(row, "kernel", attention, x, grad)
    row["tried"] = {}
    for warps, multiple in CHOICES:
        elements = int(multiple * usual[1][size])
        kernels.WARPS.update(attend=warps, differentiate=warps)
        kernels.ELEMENTS[size] = elements
        tried: dict[str, Any] = {"shape": f"{row['shape']} {warps} warps {elements} elements"}
        time_row(tried, "kernel", attention, x, grad)
        row["tried"][f"{warps} warps, {elements} elements"] = tried
    kernels.WARPS.update(usual[0])
    kernels.ELEMENTS.update(usual[1])
    for what in ("forward", "both"):
        times = {c: t[f"kernel {what}"] for c, t in row["tried"].items() if isinstance(t[f"kernel {what}"], float)}
        if times:
            best = min(times, key=lambda c: times[c])
            row[f"best {what}"], row[f"best {what} by"] = times[best], best


def shown(value: Any) -> str:
    """A cell of the table: whole microseconds, or a dash."""
    return f"{value:.0f}" if isinstance(value, float) else "–"


def main() -> None:
    """Time all shapes; a Markdown table on the terminal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the usual choice of the kernels only")
    parser.add_argument("--compiled", action="store_true", help="also torch.compile, of training; 10 s for each shape")
    parser.add_argument("--output", type=Path, help="also write everything as JSON")
    args = parser.parse_args()
    problem = attention_operator.gpu_problem()
    print(torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU", torch.__version__, problem)
    ways = ["formula", *["compiled"] * args.compiled, "kernel", *["best"] * (not args.quick)]
    columns = [f"{way} {what}" for what in ("forward", "both") for way in ways]
    print("| b, n, H, d, dtype |", " | ".join(f"{c}, µs" for c in columns), "| best by |")
    print("|---" * (len(columns) + 2) + "|")
    rows = []
    for b, n, heads, d, dtype in SHAPES:
        row: dict[str, Any] = {"shape": f"{b}, {n}, {heads}, {d}, {str(dtype).removeprefix('torch.')}"}
        rows.append(row)
        try:
            x = torch.randn(b, n, n, 4 * heads * d, device="cuda", dtype=dtype).requires_grad_(True)
            grad = torch.randn(b, n, n, heads * d, device="cuda", dtype=dtype)

            def formula(x: Tensor, heads: int = heads) -> Tensor:
                return attention_of_projections(x, heads, None)

            def fused(x: Tensor, heads: int = heads) -> Tensor:
                return torch.ops.mdet_openmm.triangular_attention(x, heads)

            time_row(row, "formula", formula, x, grad)
            if args.compiled and dtype == BF16:
                torch._dynamo.reset()
                time_row(row, "compiled", torch.compile(formula, dynamic=False), x, grad, only="both")
            if problem:
                row["kernel forward"] = row["kernel both"] = problem
            elif args.quick or heads == 6:  # every choice is compiled for every number of heads: one of them will do
                time_row(row, "kernel", fused, x, grad)
            else:
                time_kernels(row, fused, x, grad)
        except Exception as error:  # no memory, above all
            print(f"{row['shape']}: {type(error).__name__}: {' '.join(str(error).split())[:200]}", flush=True)
        best = "; ".join(row[f"best {what} by"] for what in ("forward", "both") if f"best {what} by" in row)
        print(f"| {row['shape']} |", " | ".join(shown(row.get(c)) for c in columns), f"| {best} |", flush=True)
    if args.output:
        args.output.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
