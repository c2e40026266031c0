"""Triangular attention as one compiled loop, for inference on a CPU.

The formula of `mdet_openmm.network.attention`, with two differences in how it is computed: scores, weights and outputs
of two rows i live in the cache and never in main memory, and the last atom j is the innermost index of everything,
along which the processor computes eight or sixteen numbers at once. Compiled by numba at first use, and kept in its
cache; no compiler is needed for that. Every output is summed by one thread in one order: the number of threads
changes no bit. The threads are Python's, with the interpreter's lock released: unlike OpenMP's they sleep when they
have nothing to do, and PyTorch's need their cores.
"""

import functools
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import torch
from numba import njit, types
from numba.extending import intrinsic, overload
from torch import Tensor

_OPTIONS: Any = {
    "fastmath": {"contract", "nsz"},
    "error_model": "numpy",
    "nogil": True,
    "cache": True,
}
_F = np.float32
_LOG2E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 6.93147180369123816490e-01, 1.90821492927058770002e-10
_LOG2E_F, _LN2_HIGH_F, _LN2_LOW_F, _LOWEST_F, _HALF_F = map(_F, (_LOG2E, 0.693359375, -2.12194440e-4, -87.0, 0.5))
# 1/k!, written out below because a loop over them would not be vectorised
_C2, _C3, _C4, _C5, _C6, _C7, _C8, _C9, _C10, _C11, _C12, _C13 = (1.0 / math.factorial(k) for k in range(2, 14))
_ONE_F, _D2, _D3, _D4, _D5, _D6, _D7 = (_F(1.0 / math.factorial(k)) for k in range(1, 8))


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


def _exp(x: Any) -> Any:
    """exp(x) for x <= 0 as 2^k times a Taylor polynomial in abs(r) <= ln(2)/2; unlike libm's, it is vectorised."""
    raise NotImplementedError


@overload(_exp, inline="always")
def _typed_exp(x: Any) -> Any:
    def double(x: Any) -> Any:
        x = max(x, -700.0)
        k = math.floor(x * _LOG2E + 0.5)
        r = x - k * _LN2_HIGH - k * _LN2_LOW
        p = (((_C13 * r + _C12) * r + _C11) * r + _C10) * r + _C9
        p = (((p * r + _C8) * r + _C7) * r + _C6) * r + _C5
        p = ((((p * r + _C4) * r + _C3) * r + _C2) * r + 1.0) * r + 1.0
        return p * _as_float64((np.int64(k) + 1023) << 52)

    def single(x: Any) -> Any:
        x = max(x, _LOWEST_F)
        k = math.floor(x * _LOG2E_F + _HALF_F)
        r = x - k * _LN2_HIGH_F - k * _LN2_LOW_F
        p = (((_D7 * r + _D6) * r + _D5) * r + _D4) * r + _D3
        p = ((p * r + _D2) * r + _ONE_F) * r + _ONE_F
        return p * _as_float32(np.int32((np.int32(k) + np.int32(127)) << np.int32(23)))

    return single if x == types.float32 else double


@njit(**_OPTIONS)
def _pack(first: int, last: int, qkvv: Any, keys: Any, values: Any) -> None:
    """Copy K and V2 of (f, n, n, 4, H, d) to (f, H, n, d, j): one task for each head and atom l."""
    _, n, _, _, heads, d = qkvv.shape
    for task in range(first, last):
        s, h, l = task // (heads * n), task // n % heads, task % n
        for j in range(n):
            for c in range(d):
                keys[s, h, l, c, j] = qkvv[s, l, j, 1, h, c]
                values[s, h, l, c, j] = qkvv[s, l, j, 3, h, c]


@njit(**_OPTIONS)
def _attend(first: int, last: int, qkvv: Any, keys: Any, values: Any, scale: Any, out: Any) -> None:
    """Outputs (f, n, n, H, d): one task for each head and first atom i."""
    _, n, _, _, heads, d = qkvv.shape
    width = keys.shape[4]
    zero = keys.dtype.type(0.0)
    weights = np.empty((n, width), keys.dtype)
    highest = np.empty(width, keys.dtype)
    total = np.empty(width, keys.dtype)
    sums = np.empty((d, width), keys.dtype)
    for task in range(first, last):
        s, h, i = task // (heads * n), task // n % heads, task % n
        for l in range(n):
            row = weights[l]
            for j in range(width):
                row[j] = zero
            c = 0
            while c + 4 <= d:  # four terms for each time that the row is loaded and stored
                q0, q1 = scale * qkvv[s, i, l, 0, h, c], scale * qkvv[s, i, l, 0, h, c + 1]
                q2, q3 = scale * qkvv[s, i, l, 0, h, c + 2], scale * qkvv[s, i, l, 0, h, c + 3]
                k0, k1, k2, k3 = keys[s, h, l, c], keys[s, h, l, c + 1], keys[s, h, l, c + 2], keys[s, h, l, c + 3]
                for j in range(width):
                    row[j] += q0 * k0[j] + q1 * k1[j] + q2 * k2[j] + q3 * k3[j]
                c += 4
            while c < d:
                q0, k0 = scale * qkvv[s, i, l, 0, h, c], keys[s, h, l, c]
                for j in range(width):
                    row[j] += q0 * k0[j]
                c += 1
            if l == 0:
                for j in range(width):
                    highest[j] = row[j]
            else:
                for j in range(width):
                    highest[j] = max(highest[j], row[j])
        for j in range(width):
            total[j] = zero
        for l in range(n):
            row = weights[l]
            for j in range(width):
                w = _exp(row[j] - highest[j])
                row[j] = w
                total[j] += w
        for c in range(d):
            row = sums[c]
            for j in range(width):
                row[j] = zero
            l = 0
            while l + 4 <= n:
                t0, t1, t2, t3 = (
                    qkvv[s, i, l, 2, h, c],
                    qkvv[s, i, l + 1, 2, h, c],
                    qkvv[s, i, l + 2, 2, h, c],
                    qkvv[s, i, l + 3, 2, h, c],
                )
                w0, w1, w2, w3 = weights[l], weights[l + 1], weights[l + 2], weights[l + 3]
                v0, v1 = values[s, h, l, c], values[s, h, l + 1, c]
                v2, v3 = values[s, h, l + 2, c], values[s, h, l + 3, c]
                for j in range(width):
                    row[j] += t0 * (w0[j] * v0[j]) + t1 * (w1[j] * v1[j]) + t2 * (w2[j] * v2[j]) + t3 * (w3[j] * v3[j])
                l += 4
            while l < n:
                t0, w0, v0 = qkvv[s, i, l, 2, h, c], weights[l], values[s, h, l, c]
                for j in range(width):
                    row[j] += t0 * (w0[j] * v0[j])
                l += 1
        for j in range(n):
            for c in range(d):
                out[s, i, j, h, c] = sums[c, j] / total[j]


LITTLE: Final = 300_000
"""Products n³ e up to which one thread does it faster than others can be woken."""
_scratch = threading.local()


@functools.cache
def _others(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="attention")


def _shared(threads: int, tasks: int, kernel: Any, *args: Any) -> None:
    """Run a kernel's tasks on this thread and others."""
    if threads == 1:
        kernel(0, tasks, *args)
        return
    bounds = [tasks * t // threads for t in range(threads + 1)]
    waiting = [_others(threads - 1).submit(kernel, bounds[t], bounds[t + 1], *args) for t in range(1, threads)]
    kernel(bounds[0], bounds[1], *args)
    for future in waiting:
        future.result()


def _packed(shape: tuple[int, ...], dtype: Any) -> Any:
    """Room for keys and values, zero beyond the last atom; the same for the next call of this thread."""
    kept = getattr(_scratch, "room", None)
    if kept is None or kept.shape != shape or kept.dtype != dtype:
        kept = _scratch.room = np.zeros(shape, dtype)
    return kept


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
    given = qkvv.detach().contiguous().view(f, n, n, 4, n_heads, -1).numpy()
    d = given.shape[5]
    # whole vectors of j: 64 bytes
    step = 64 // given.itemsize
    keys, values = _packed((2, f, n_heads, n, d, -(-n // step) * step), given.dtype)
    out = torch.empty((f, n, n, n_heads * d), dtype=qkvv.dtype)
    tasks = f * n_heads * n
    threads = 1 if f * n**3 * n_heads * d <= LITTLE else min(torch.get_num_threads(), tasks)
    _shared(threads, tasks, _pack, given, keys, values)
    scale = given.dtype.type(d**-0.5)
    _shared(threads, tasks, _attend, given, keys, values, scale, out.view(f, n, n, n_heads, d).numpy())
    return out
