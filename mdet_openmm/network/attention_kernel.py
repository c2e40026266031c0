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
def _pack(qkvv: Any, h: int, keys: Any, values: Any) -> None:
    """Copy K and V2 of one head of (n, n, 4, H, d) to (l, d, j) and, by eights of l, to (l / 8, d, 8, j)."""
    n, _, _, _, d = qkvv.shape
    for l in range(n):
        given_k, given_v = qkvv[l, :, 1, h], qkvv[l, :, 3, h]
        k, v = keys[l], values[l // 8]
        for c in range(d):
            for j in range(n):
                k[c, j] = given_k[j, c]
                v[c, l % 8, j] = given_v[j, c]


@njit(**_OPTIONS)
def _attend(first: int, last: int, qkvv: Any, scale: Any, out: Any) -> None:
    """Outputs (f, n, n, H, d), of the heads from ``first`` to ``last`` of all f H.

    Two atoms i share every key and value that is loaded, and eight terms are summed for each time that a row is loaded
    and stored: the loops are limited by the bandwidth of the cache. Terms of one loop are taken from as few arrays as
    possible, for the compiler checks all arrays of a loop for overlap each time that it runs.
    """
    _, n, _, _, heads, d = qkvv.shape
    kind = qkvv.dtype
    zero, one = kind.type(0.0), kind.type(1.0)
    step = 64 // qkvv.itemsize
    width = (n + step - 1) // step * step  # zero beyond the last atom
    keys, values = np.zeros((n, d, width), kind), np.zeros(((n + 7) // 8, d, 8, width), kind)
    weights, sums = np.empty((n, 2, width), kind), np.empty((d, 2, width), kind)
    highest, total = np.empty((2, width), kind), np.empty((2, width), kind)
    blocks = (n + 1) // 2
    for task in range(first * blocks, last * blocks):
        s, h, i = task // (heads * blocks), task // blocks % heads, 2 * (task % blocks)
        if i == 0:
            _pack(qkvv[s], h, keys, values)
        other = min(i + 1, n - 1)  # the last of an odd number of atoms is computed twice
        q, p = qkvv[s, i, :, 0, h], qkvv[s, other, :, 0, h]
        for l in range(n):
            row, k = weights[l], keys[l]
            for j in range(width):
                row[0, j] = zero
                row[1, j] = zero
            for b in range(d // 8):
                c = 8 * b
                q0, q1, q2, q3 = q[l, c] * scale, q[l, c + 1] * scale, q[l, c + 2] * scale, q[l, c + 3] * scale
                q4, q5, q6, q7 = q[l, c + 4] * scale, q[l, c + 5] * scale, q[l, c + 6] * scale, q[l, c + 7] * scale
                p0, p1, p2, p3 = p[l, c] * scale, p[l, c + 1] * scale, p[l, c + 2] * scale, p[l, c + 3] * scale
                p4, p5, p6, p7 = p[l, c + 4] * scale, p[l, c + 5] * scale, p[l, c + 6] * scale, p[l, c + 7] * scale
                kb = k[c : c + 8]
                for j in range(width):
                    k0, k1, k2, k3 = kb[0, j], kb[1, j], kb[2, j], kb[3, j]
                    k4, k5, k6, k7 = kb[4, j], kb[5, j], kb[6, j], kb[7, j]
                    row[0, j] += (q0 * k0 + q1 * k1 + q2 * k2 + q3 * k3) + (q4 * k4 + q5 * k5 + q6 * k6 + q7 * k7)
                    row[1, j] += (p0 * k0 + p1 * k1 + p2 * k2 + p3 * k3) + (p4 * k4 + p5 * k5 + p6 * k6 + p7 * k7)
            for c in range(d - d % 8, d):
                q0, p0, kc = q[l, c] * scale, p[l, c] * scale, k[c]
                for j in range(width):
                    row[0, j] += q0 * kc[j]
                    row[1, j] += p0 * kc[j]
        for r in range(2):
            m, t = highest[r], total[r]
            for j in range(width):
                m[j] = weights[0, r, j]
                t[j] = zero
            for l in range(1, n):
                row = weights[l]
                for j in range(width):
                    m[j] = max(m[j], row[r, j])
            for l in range(n):
                row = weights[l]
                for j in range(width):
                    w = _exp(row[r, j] - m[j])
                    row[r, j] = w
                    t[j] += w
        sums[:] = zero
        q, p = qkvv[s, i, :, 2, h], qkvv[s, other, :, 2, h]
        for b in range(n // 8):
            l = 8 * b
            wb = weights[l : l + 8]
            for c in range(d):
                row, vb = sums[c], values[b, c]
                q0, q1, q2, q3 = q[l, c], q[l + 1, c], q[l + 2, c], q[l + 3, c]
                q4, q5, q6, q7 = q[l + 4, c], q[l + 5, c], q[l + 6, c], q[l + 7, c]
                p0, p1, p2, p3 = p[l, c], p[l + 1, c], p[l + 2, c], p[l + 3, c]
                p4, p5, p6, p7 = p[l + 4, c], p[l + 5, c], p[l + 6, c], p[l + 7, c]
                for j in range(width):
                    v0, v1, v2, v3 = vb[0, j], vb[1, j], vb[2, j], vb[3, j]
                    v4, v5, v6, v7 = vb[4, j], vb[5, j], vb[6, j], vb[7, j]
                    row[0, j] += (
                        (q0 * (wb[0, 0, j] * v0) + q1 * (wb[1, 0, j] * v1))
                        + (q2 * (wb[2, 0, j] * v2) + q3 * (wb[3, 0, j] * v3))
                    ) + (
                        (q4 * (wb[4, 0, j] * v4) + q5 * (wb[5, 0, j] * v5))
                        + (q6 * (wb[6, 0, j] * v6) + q7 * (wb[7, 0, j] * v7))
                    )
                    row[1, j] += (
                        (p0 * (wb[0, 1, j] * v0) + p1 * (wb[1, 1, j] * v1))
                        + (p2 * (wb[2, 1, j] * v2) + p3 * (wb[3, 1, j] * v3))
                    ) + (
                        (p4 * (wb[4, 1, j] * v4) + p5 * (wb[5, 1, j] * v5))
                        + (p6 * (wb[6, 1, j] * v6) + p7 * (wb[7, 1, j] * v7))
                    )
        for l in range(n - n % 8, n):
            wl = weights[l]
            for c in range(d):
                row, vl = sums[c], values[l // 8, c, l % 8]
                q0, p0 = q[l, c], p[l, c]
                for j in range(width):
                    row[0, j] += q0 * (wl[0, j] * vl[j])
                    row[1, j] += p0 * (wl[1, j] * vl[j])
        for r in range(2):
            o = out[s, i if r == 0 else other]
            for j in range(n):
                norm = one / total[r, j]
                for c in range(d):
                    o[j, h, c] = sums[c, r, j] * norm


LITTLE: Final = 300_000
"""Products n³ e up to which one thread does it faster than others can be woken."""


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
    out = torch.empty((f, n, n, n_heads * d), dtype=qkvv.dtype)
    tasks = f * n_heads
    threads = 1 if tasks * n**3 * d <= LITTLE else min(torch.get_num_threads(), tasks)
    _shared(threads, tasks, _attend, given, given.dtype.type(d**-0.5), out.view(f, n, n, n_heads, d).numpy())
    return out
