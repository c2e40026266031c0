"""The derivative of the compiled triangular attention (`mdet_openmm.export.attention_kernel`), in the same language.

With G the derivative by the outputs and P_ilj = sum_c G_ijc V1_ilc V2_ljc, that by the scores is
S_ilj = a_ilj (P_ilj - sum_m a_imj P_imj), and by the projections

    dK_lj = sum_i S_ilj Q_il / sqrt(d),  dV2_lj = sum_i a_ilj (V1_il * G_ij)  (elementwise)

Weights are computed again, four rows i at a time as in the attention itself: nothing that grows with n^3 is kept. The
formula stays the same if i and j, Q and K, V1 and V2 change places, so that dQ and dV1 are dK and dV2 of the transposed
pairs: one loop finds all four, in which only addresses differ, and the last atom stays the innermost index.
"""

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn

from mdet_openmm.export.attention_kernel import LITTLE, OPTIONS, exponential, shared
from mdet_openmm.export.vector_code import (
    GROUP,
    ROWS,
    add_products,
    lanes,
    products,
    scores,
    transpose,
    transpose_back,
)


@njit(**OPTIONS)
def _differentiate(first: int, last: int, qkvv: Any, given: Any, scale: Any, step: int, out: Any) -> None:
    """Derivatives (f, n, n, 4, H, d) of the tasks from ``first`` to ``last`` of all 2 f H; ``step`` as for `_attend`.

    The first f H tasks are heads as they stand and find dK and dV2, the others transposed, dQ and dV1.
    """
    f, n, _, _, heads, d = qkvv.shape
    kind, size = qkvv.dtype, qkvv.itemsize
    zero, one = kind.type(0.0), kind.type(1.0)
    width = (n + step - 1) // step * step
    plane, rows = size * d * width, size * ROWS * width
    keys, others = np.empty((n, d, width), kind), np.empty((n, d, width), kind)
    of_keys, of_others = np.empty((n, d, width), kind), np.empty((n, d, width), kind)
    weights, slopes = np.empty((n, ROWS * width), kind), np.empty((n, ROWS * width), kind)
    g, back = np.empty((ROWS, d, width), kind), np.empty((width, d), kind)
    highest, total, mean = np.empty(ROWS * width, kind), np.empty(ROWS * width, kind), np.empty(ROWS * width, kind)
    for task in range(first, last):
        # within the loop, for numba frees an array behind the last line that names it
        k0, o0, dk0, do0 = keys.ctypes.data, others.ctypes.data, of_keys.ctypes.data, of_others.ctypes.data
        w0, s0, g0 = weights.ctypes.data, slopes.ctypes.data, g.ctypes.data
        h0, b0 = highest.ctypes.data, back.ctypes.data
        turned, s, h = task // (f * heads), task // heads % f, task % heads
        # numbers from pair (a, b) to (a + 1, b) and to (a, b + 1), of the projections and of one of them
        long, short, long_g, short_g = n * 4 * heads * d, 4 * heads * d, n * heads * d, heads * d
        slot_q, slot_k, slot_v1, slot_v2 = 0, 1, 2, 3
        if turned:
            long, short, long_g, short_g = short, long, short_g, long_g
            slot_q, slot_k, slot_v1, slot_v2 = 1, 0, 3, 2
        start = qkvv.ctypes.data + size * (s * n * n * 4 * heads + h) * d
        start_g = given.ctypes.data + size * (s * n * n * heads + h) * d
        to_q, to_k, to_v1, to_v2 = (
            size * slot_q * heads * d, size * slot_k * heads * d, size * slot_v1 * heads * d, size * slot_v2 * heads * d
        )  # fmt: skip
        for l in range(n):
            row = start + size * l * long
            transpose(row + to_k, short, n, scale, k0 + l * plane, width, d)
            transpose(row + to_v2, short, n, one, o0 + l * plane, width, d)
        of_keys[:] = zero
        of_others[:] = zero
        for i in range(0, n, ROWS):
            for r in range(ROWS):
                if i + r < n:
                    transpose(start_g + size * (i + r) * long_g, short_g, n, one, g0 + r * plane, width, d)
                else:  # rows beyond the last are the last again, and count for nothing
                    g[r] = zero
            i1, i2, i3 = min(i + 1, n - 1), min(i + 2, n - 1), min(i + 3, n - 1)
            line = size * long
            q = (start + to_q + i * line, start + to_q + i1 * line, start + to_q + i2 * line, start + to_q + i3 * line)
            v = to_v1 - to_q
            highest[:] = -np.inf
            for l in range(n):
                o = size * l * short
                at = q[0] + o, q[1] + o, q[2] + o, q[3] + o
                scores(zero, at, k0 + l * plane, w0 + l * rows, h0, width, d)
                at = q[0] + o + v, q[1] + o + v, q[2] + o + v, q[3] + o + v
                products(zero, at, g0, o0 + l * plane, s0 + l * rows, width, d)
            total[:] = zero
            mean[:] = zero
            for l in range(n):
                weight, slope = weights[l], slopes[l]
                for j in range(ROWS * width):
                    w = exponential(weight[j] - highest[j])
                    weight[j] = w
                    total[j] += w
                    mean[j] += w * slope[j]
            for j in range(ROWS * width):
                total[j] = one / total[j]
                mean[j] *= total[j]
            for l in range(n):
                weight, slope = weights[l], slopes[l]
                for j in range(ROWS * width):
                    w = weight[j] * total[j]
                    weight[j] = w
                    slope[j] = w * (slope[j] - mean[j]) * scale
                o = size * l * short
                at = q[0] + o, q[1] + o, q[2] + o, q[3] + o
                at_v = q[0] + o + v, q[1] + o + v, q[2] + o + v, q[3] + o + v
                add_products(
                    zero, at, at_v, s0 + l * rows, w0 + l * rows, g0, dk0 + l * plane, do0 + l * plane, width, d
                )
        for l in range(n):
            for slot, found in ((slot_k, dk0), (slot_v2, do0)):
                transpose_back(zero, found + l * plane, b0, width, d)
                for j in range(n):
                    target = out[s, j, l, slot, h] if turned else out[s, l, j, slot, h]
                    for c in range(d):
                        target[c] = back[j, c]


def attention_gradient(qkvv: Tensor, grad: Tensor, n_heads: int) -> Tensor:
    """The derivative by the projections of what `compiled_attention` gives, with as many threads as PyTorch has.

    Parameters
    ----------
    qkvv, n_heads
        As for `compiled_attention`.
    grad
        (f, n, n, e), the derivative by its result, of the same type.

    Returns
    -------
    Tensor
        (f, n, n, 4 e).
    """
    f, n = qkvv.shape[:2]
    projections = qkvv.detach().contiguous().view(f, n, n, 4, n_heads, -1)
    d = projections.shape[5]
    scale = projections.numpy().dtype.type(d**-0.5)
    results = grad.detach().contiguous().view(f, n, n, n_heads, d)
    odd = -d % GROUP  # zeros beside a head change nothing
    if odd:
        projections, results = nn.functional.pad(projections, (0, odd)), nn.functional.pad(results, (0, odd))
    out = torch.empty_like(projections)
    tasks = 2 * f * n_heads
    threads = 1 if tasks * n**3 * d <= LITTLE else min(torch.get_num_threads(), tasks)
    shared(
        threads, tasks, _differentiate, projections.numpy(), results.numpy(), scale, lanes(qkvv.itemsize), out.numpy()
    )
    return (out[..., :d] if odd else out).reshape(qkvv.shape)
