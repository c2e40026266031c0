"""Triangular attention as one compiled loop, for inference on a CPU.

The formula of `mdet_openmm.network.attention`, with two differences in how it is computed: scores, weights and outputs
of four rows i live in the cache and never in main memory, and the last atom j is the innermost index of everything,
along which the processor computes eight or sixteen numbers at once (`mdet_openmm.export.vector_code`). Compiled by
numba at first use, and kept in its cache; no compiler is needed for that. Every output is summed by one thread in one
order: the number of threads changes no bit. The threads are Python's, with the interpreter's lock released: unlike
OpenMP's they sleep when they have nothing to do, and PyTorch's need their cores.
"""

import functools
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import torch
from numba import njit, types
from numba.extending import intrinsic, overload
from torch import Tensor, nn

from mdet_openmm.export.vector_code import GROUP, ROWS, lanes, prefetch, scores, transpose, values

OPTIONS: Any = {
    "fastmath": {"contract", "nsz"},
    "error_model": "numpy",
    "nogil": True,
    "cache": True,
}
_F = np.float32
_LOG2E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 6.93147180369123816490e-01, 1.90821492927058770002e-10
_LOG2E_F, _LN2_HIGH_F, _LN2_LOW_F, _LOWEST_F = map(_F, (_LOG2E, 0.693359375, -2.12194440e-4, -87.0))
_ROUND, _ROUND_F = 1.5 * 2.0**52, _F(1.5 * 2.0**23)  # added to a small number, its integer stands in the last bits
# 1/k!, written out below because a loop over them would not be vectorised
_C2, _C3, _C4, _C5, _C6, _C7, _C8, _C9, _C10, _C11, _C12, _C13 = (1.0 / math.factorial(k) for k in range(2, 14))
_ONE_F, _D2, _D3, _D4, _D5, _D6, _D7 = (_F(1.0 / math.factorial(k)) for k in range(1, 8))


@intrinsic
def _as_int64(typing_context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(types.int64))

    return types.int64(types.float64), generate


@intrinsic
def _as_int32(typing_context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(types.int32))

    return types.int32(types.float32), generate


@intrinsic
def _as_float64(typing_context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(types.float64))

    return types.float64(types.int64), generate


@intrinsic
def _as_float32(typing_context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(types.float32))

    return types.float32(types.int32), generate


def exponential(x: Any) -> Any:
    """exp(x) for x <= 0 as 2^k times a Taylor polynomial in abs(r) <= ln(2)/2; unlike libm's, it is vectorised."""
    raise NotImplementedError


@overload(exponential, inline="always")
def _typed_exponential(x: Any) -> Any:
    def double(x: Any) -> Any:
        t = max(x, -700.0) * _LOG2E + _ROUND
        k = t - _ROUND
        r = max(x, -700.0) - k * _LN2_HIGH - k * _LN2_LOW
        p = (((_C13 * r + _C12) * r + _C11) * r + _C10) * r + _C9
        p = (((p * r + _C8) * r + _C7) * r + _C6) * r + _C5
        p = ((((p * r + _C4) * r + _C3) * r + _C2) * r + 1.0) * r + 1.0
        return p * _as_float64((_as_int64(t) + 1023) << 52)

    def single(x: Any) -> Any:
        t = max(x, _LOWEST_F) * _LOG2E_F + _ROUND_F
        k = t - _ROUND_F
        r = max(x, _LOWEST_F) - k * _LN2_HIGH_F - k * _LN2_LOW_F
        p = (((_D7 * r + _D6) * r + _D5) * r + _D4) * r + _D3
        p = ((p * r + _D2) * r + _ONE_F) * r + _ONE_F
        return p * _as_float32(np.int32((np.int32(_as_int32(t)) + np.int32(127)) << np.int32(23)))

    return single if x == types.float32 else double


@njit(**OPTIONS)
def _attend(first: int, last: int, qkvv: Any, scale: Any, step: int, out: Any) -> None:
    """Outputs (f, n, n, H, d), of the heads from ``first`` to ``last`` of all f H; ``step`` numbers are one vector.

    K and V2 of a head are first copied to (l, d, j). Rows of Q and V1, and of what is copied next, lie far apart in
    memory, where the processor does not foresee them: they are asked for one step ahead.
    """
    _, n, _, _, heads, d = qkvv.shape
    kind, size = qkvv.dtype, qkvv.itemsize
    zero, one = kind.type(0.0), kind.type(1.0)
    width, pair, blocks = (n + step - 1) // step * step, 4 * heads * d, (n + ROWS - 1) // ROWS
    line, plane = size * n * pair, size * d * width
    to_k, to_v1, to_v2 = size * heads * d, 2 * size * heads * d, 3 * size * heads * d
    keys, others = np.empty((n, d, width), kind), np.empty((n, d, width), kind)
    weights, sums = np.empty((n, ROWS * width), kind), np.empty((ROWS, width, d), kind)
    highest, total = np.empty(ROWS * width, kind), np.empty(ROWS * width, kind)
    for task in range(first * blocks, last * blocks):
        s, h, i = task // (heads * blocks), task // blocks % heads, ROWS * (task % blocks)
        start = qkvv.ctypes.data + s * n * line + size * h * d
        if i == 0:
            for l in range(n):
                row = start + l * line
                if l + 1 < n:
                    for j in range(n):
                        prefetch(row + line + size * j * pair + to_k)
                        prefetch(row + line + size * j * pair + to_v2)
                transpose(row + to_k, pair, n, scale, keys.ctypes.data + l * plane, width, d)
                transpose(row + to_v2, pair, n, one, others.ctypes.data + l * plane, width, d)
        # of the last block, atoms beyond the last are the last again
        i1, i2, i3 = min(i + 1, n - 1), min(i + 2, n - 1), min(i + 3, n - 1)
        q0, q1, q2, q3 = start + i * line, start + i1 * line, start + i2 * line, start + i3 * line
        highest[:] = -np.inf
        for l in range(n):
            o = size * l * pair
            for r in range(ROWS):
                if i + ROWS + r < n:
                    prefetch(start + (i + ROWS + r) * line + o)
                    prefetch(start + (i + ROWS + r) * line + o + to_v1)
            row = weights.ctypes.data + size * l * ROWS * width
            scores(
                zero, (q0 + o, q1 + o, q2 + o, q3 + o), keys.ctypes.data + l * plane, row, highest.ctypes.data, width, d
            )
        total[:] = zero
        for l in range(n):
            given = weights[l]
            for j in range(ROWS * width):
                w = exponential(given[j] - highest[j])
                given[j] = w
                total[j] += w
        for j in range(ROWS * width):
            total[j] = one / total[j]
        v = (q0 + to_v1, q1 + to_v1, q2 + to_v1, q3 + to_v1)
        places = weights.ctypes.data, others.ctypes.data, total.ctypes.data, sums.ctypes.data
        values(zero, v, pair, places[0], places[1], places[2], places[3], n, width, d)
        for r in range(min(ROWS, n - i)):
            target, found = out[s, i + r], sums[r]
            for j in range(n):
                for c in range(d):
                    target[j, h, c] = found[j, c]


LITTLE: Final = 300_000
"""Products n³ e up to which one thread does it faster than others can be woken."""


@functools.cache
def _others(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="attention")


def shared(threads: int, tasks: int, kernel: Any, *args: Any) -> None:
    """Run a kernel's tasks on this thread and others."""
    if threads == 1:
        kernel(0, tasks, *args)
        return
    bounds = [tasks * t // threads for t in range(threads + 1)]
    waiting = [_others(threads - 1).submit(kernel, bounds[t], bounds[t + 1], *args) for t in range(1, threads)]
    kernel(bounds[0], bounds[1], *args)
    for future in waiting:
        future.result()


def compiled_attention(qkvv: Tensor, n_heads: int) -> Tensor:
    """Triangular attention of all atoms of molecules without padding, with as many threads as PyTorch has.

    Parameters
    ----------
    qkvv
        (f, n, n, 4 e), fp64 or fp32, on the CPU: Q, K, V1 and V2 of every pair, each of n_heads heads.
    n_heads
        H.

    Returns
    -------
    Tensor
        (f, n, n, e).
    """
    f, n = qkvv.shape[:2]
    projections = qkvv.detach().contiguous().view(f, n, n, 4, n_heads, -1)
    d = projections.shape[5]
    scale = projections.numpy().dtype.type(d**-0.5)
    odd = -d % GROUP  # zeros beside a head change nothing
    given = (nn.functional.pad(projections, (0, odd)) if odd else projections).numpy()
    out = torch.empty((f, n, n, n_heads, d + odd), dtype=qkvv.dtype)
    tasks = f * n_heads
    threads = 1 if tasks * n**3 * d <= LITTLE else min(torch.get_num_threads(), tasks)
    shared(threads, tasks, _attend, given, scale, lanes(given.itemsize), out.numpy())
    return (out[..., :d] if odd else out).reshape(f, n, n, n_heads * d)
