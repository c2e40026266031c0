"""What no force call of the published size can be faster than on a device: its arithmetic, and its bytes."""

import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from published_size import LAYERS, WIDTH

MATRIX = {"cuda": 8192, "cpu": 768}
"""Rows of the square matrices whose product gives the rate."""
COPIED = {"cuda": 2**31, "cpu": 2**27}
"""Bytes of the copy that gives the bandwidth: many times any cache."""
NUMBERS_PER_PAIR = 15
"""Numbers of a pair's e features that a layer reads or writes at least: norm and projections (1 in, 4 out), attention
(4 in, 1 out), output and sum (2 in, 1 out), feed-forward block (1 in, 1 out)."""


@dataclass(frozen=True)
class Rates:
    """Of a device, measured.

    Attributes
    ----------
    fp64, fp32
        Multiply-adds per second of a large matrix product (no TF32).
    bandwidth
        Bytes per second, read and written, of a large copy.
    """

    fp64: float
    fp32: float
    bandwidth: float


def synchronize(device: str) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds_of(call: Callable[[], object], device: str, repeats: int = 5) -> float:
    """Median time of a call, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        synchronize(device)
        start = time.perf_counter()
        call()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def measure_rates(device: str) -> Rates:
    """Measure on random numbers."""
    rates: list[float] = []
    size = MATRIX[device]
    for dtype in (torch.float64, torch.float32):
        a, b = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
        rates.append(size**3 / seconds_of(functools.partial(torch.matmul, a, b), device))
    given = torch.rand(COPIED[device] // 8, dtype=torch.float64, device=device)
    taken = torch.empty_like(given)
    return Rates(
        fp64=rates[0], fp32=rates[1], bandwidth=2 * COPIED[device] / seconds_of(lambda: taken.copy_(given), device)
    )


def floors(
    rates: Rates, n_atoms: int, orientations: int, precision: str, layers: int = LAYERS, width: int = WIDTH
) -> tuple[float, float]:
    """Seconds that the arithmetic and the bytes of one force call take.

    Linear layers have 9 n² e² multiply-adds per layer and the attention 3 n³ e; every tensor between the stages of a
    layer is written once and read once, the n³ scores never, and the weights are read once.
    """
    rate, itemsize = (rates.fp64, 8) if precision == "double" else (rates.fp32, 4)
    pairs = orientations * n_atoms**2
    operations = layers * (9 * pairs * width**2 + 3 * pairs * n_atoms * width)
    numbers = layers * (NUMBERS_PER_PAIR * pairs * width + 9 * width**2)
    return operations / rate, itemsize * numbers / rates.bandwidth
