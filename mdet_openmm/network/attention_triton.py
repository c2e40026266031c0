"""The triangular attention and its derivative as Triton kernels, for CUDA devices.

The formula is that of `mdet_openmm.network.attention`. Nothing that grows with n^3 leaves a multiprocessor, and
projections are read where they lie, side by side in one tensor. In all kernels a program has one head of one structure
and some rows (`ROWS`) of its n^2 pairs, as they come: so there is next to no waste at any n, and tensors have two
dimensions, rows and channels. It goes through the third atom one by one; what it reads again and again stays in the L1
cache. Sums are in fp64 for fp64 and in fp32 for all others.

The derivative. With G that by the outputs and D_ij = sum_c G_ijc o_ijc, that by the scores is

    S_ilj = a_ilj (sum_c G_ijc V1_ilc V2_ljc - D_ij)

and by the projections of a pair (i, l)

    dQ_il = sum_j S_ilj K_lj / sqrt(d),  dV1_il = sum_j a_ilj (G_ij * V2_lj)  (elementwise)

which turn into dK_lj and dV2_lj if i and j, Q and K, V1 and V2 change places: half of the programs see the pairs
transposed. Weights come from the logarithm of their sum, which the forward kernel leaves.
"""

from typing import Any, Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from mdet_openmm.network.attention import sums_in

WARPS = {"attend": 4, "differentiate": 4}
"""Of a program of each kernel."""
ELEMENTS = {2: 8, 4: 4, 8: 4}
"""Channels that a thread has of every tensor, by the bytes of a number: one load, or two of fp64. With more, fewer
programs fit on a multiprocessor (40 registers in fp32, 91 in fp64, of the derivative with heads of 16)."""
LOG2_E: Final = tl.constexpr(1.4426950408889634)


@triton.jit
def _read(pointers: tl.tensor, inside: tl.tensor, WHOLE: tl.constexpr, KIND: tl.constexpr) -> tl.tensor:
    """Channels of some rows; those beyond the head's own, where its width is no power of two, are zeros."""
    if WHOLE:
        return tl.load(pointers).to(KIND)
    else:
        return tl.load(pointers, mask=inside, other=0.0).to(KIND)


@triton.jit(do_not_specialize=["n"])
def _attend(
    qkvv: tl.tensor,
    out: tl.tensor,
    log_sum: tl.tensor,
    n: tl.tensor,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    KIND: tl.constexpr,
) -> None:
    """Outputs (b, n, n, H, D) and, to base 2, the logarithms (b, H, n, n) of the sums of exponentials."""
    E: tl.constexpr = HEADS * D
    SCALE: tl.constexpr = D**-0.5 * LOG2_E
    tiles = tl.cdiv(n * n, ROWS)
    program = tl.program_id(0)
    head = program // tiles % HEADS
    structure = (program // (tiles * HEADS)).to(tl.int64)
    qkvv += structure * n * n * (4 * E) + head * D
    out += structure * n * n * E + head * D
    log_sum += (structure * HEADS + head) * n * n
    row = program % tiles * ROWS + tl.arange(0, ROWS)
    pair = tl.minimum(row, n * n - 1)  # rows beyond the last are the last again: what is read is always there
    channel = tl.arange(0, WIDTH)[None, :]
    inside = channel < D
    left = qkvv + (pair // n * n * (4 * E))[:, None] + channel  # of (i, 0)
    right = qkvv + (pair % n * (4 * E))[:, None] + channel  # of (0, j)
    highest = tl.full((ROWS,), float("-inf"), KIND)
    total = tl.zeros((ROWS,), KIND)
    result = tl.zeros((ROWS, WIDTH), KIND)
    for _ in range(n):
        q = _read(left, inside, WIDTH == D, KIND)
        k = _read(right + E, inside, WIDTH == D, KIND)
        v1 = _read(left + 2 * E, inside, WIDTH == D, KIND)
        v2 = _read(right + 3 * E, inside, WIDTH == D, KIND)
        score = tl.sum(q * k, axis=1) * SCALE
        # one exponential: either this score is the highest so far, or what there is keeps its weight
        above = score > highest
        smaller = tl.exp2(-tl.abs(score - highest))
        kept = tl.where(above, smaller, 1.0)
        weight = tl.where(above, 1.0, smaller)
        highest = tl.maximum(highest, score)
        total = total * kept + weight
        result = result * kept[:, None] + weight[:, None] * (v1 * v2)
        left += 4 * E
        right += n * (4 * E)
    real = row < n * n
    target = out + (pair * E)[:, None] + channel
    tl.store(target, (result / total[:, None]).to(out.dtype.element_ty), mask=real[:, None] & inside)
    tl.store(log_sum + pair, highest + tl.log2(total), mask=real)


@triton.jit(do_not_specialize=["n"])
def _share(
    grad: tl.tensor,
    out: tl.tensor,
    share: tl.tensor,
    n: tl.tensor,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    KIND: tl.constexpr,
) -> None:
    """D (b, H, n, n) from the derivative by the outputs and these, (b, n, n, H, D)."""
    tiles = tl.cdiv(n * n, ROWS)
    program = tl.program_id(0)
    head = program // tiles % HEADS
    structure = (program // (tiles * HEADS)).to(tl.int64)
    row = program % tiles * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, WIDTH)[None, :]
    pair = tl.minimum(row, n * n - 1)
    start = structure * n * n * (HEADS * D) + head * D
    place = start + (pair * (HEADS * D))[:, None] + channel
    g = _read(grad + place, channel < D, WIDTH == D, KIND)
    o = _read(out + place, channel < D, WIDTH == D, KIND)
    tl.store(share + (structure * HEADS + head) * n * n + pair, tl.sum(g * o, axis=1), mask=row < n * n)


@triton.jit(do_not_specialize=["n"])
def _differentiate(
    qkvv: tl.tensor,
    grad: tl.tensor,
    log_sum: tl.tensor,
    share: tl.tensor,
    found: tl.tensor,
    n: tl.tensor,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    KIND: tl.constexpr,
) -> None:
    """Derivatives (b, n, n, 4, H, D): dQ and dV1 of some pairs, or, turned, dK and dV2.

    Parameters are the results of the kernels above. A row is a pair (end, middle) or, turned, (middle, end).
    """
    E: tl.constexpr = HEADS * D
    SCALE: tl.constexpr = D**-0.5
    tiles = tl.cdiv(n * n, ROWS)
    program = tl.program_id(0)
    turned = program // tiles % 2
    head = program // (2 * tiles) % HEADS
    structure = (program // (2 * tiles * HEADS)).to(tl.int64)
    qkvv += structure * n * n * (4 * E) + head * D
    found += structure * n * n * (4 * E) + head * D
    grad += structure * n * n * E + head * D
    log_sum += (structure * HEADS + head) * n * n
    share += (structure * HEADS + head) * n * n
    # from pair (a, b) to (a + 1, b) and to (a, b + 1)
    long = tl.where(turned == 1, 1, n)
    short = n + 1 - long
    row = program % tiles * ROWS + tl.arange(0, ROWS)
    inner = tl.minimum(row, n * n - 1)
    # rows of one middle atom together: they read the same K and V2
    middle, end = inner // n, inner % n
    channel = tl.arange(0, WIDTH)[None, :]
    inside = channel < D
    own = ((end * long + middle * short) * (4 * E) + turned * E)[:, None] + channel
    other = qkvv + (middle * long * (4 * E) + (1 - turned) * E)[:, None] + channel
    result = end * long
    given = grad + (result * E)[:, None] + channel
    q = _read(qkvv + own, inside, WIDTH == D, KIND) * (SCALE * LOG2_E)
    v1 = _read(qkvv + own + 2 * E, inside, WIDTH == D, KIND)
    of_q = tl.zeros((ROWS, WIDTH), KIND)
    of_v1 = tl.zeros((ROWS, WIDTH), KIND)
    for _ in range(n):
        k = _read(other, inside, WIDTH == D, KIND)
        v2 = _read(other + 2 * E, inside, WIDTH == D, KIND)
        g = _read(given, inside, WIDTH == D, KIND)
        weight = tl.exp2(tl.sum(q * k, axis=1) - tl.load(log_sum + result))
        product = g * v2
        slope = weight * (tl.sum(product * v1, axis=1) - tl.load(share + result))
        of_q += slope[:, None] * k
        of_v1 += weight[:, None] * product
        other += short * (4 * E)
        given += short * E
        result += short
    real = (row < n * n)[:, None] & inside
    tl.store(found + own, (of_q * SCALE).to(found.dtype.element_ty), mask=real)
    tl.store(found + own + 2 * E, of_v1.to(found.dtype.element_ty), mask=real)


def _launch(kernel: Any, name: str, sides: int, qkvv: Tensor, n_heads: int, *tensors: Tensor) -> None:
    b, n, _, e4 = qkvv.shape
    d = e4 // (4 * n_heads)
    width, warps = triton.next_power_of_2(d), WARPS[name]
    rows = max(1, 32 * warps * ELEMENTS[qkvv.element_size()] // width)
    kind = tl.float64 if qkvv.dtype == torch.float64 else tl.float32
    programs = b * n_heads * sides * triton.cdiv(n * n, rows)
    with torch.cuda.device_of(qkvv):  # Triton launches on the current device
        kernel[(programs,)](*tensors, n, n_heads, d, width, rows, kind, num_warps=warps)


def attend(qkvv: Tensor, n_heads: int) -> tuple[Tensor, Tensor]:
    """The attention of (b, n, n, 4 e) projections, as `mdet_openmm.network.attention.attention_of_projections` has it.

    Returns
    -------
    tuple of Tensor
        The outputs (b, n, n, e) in the dtype of the projections, and the logarithms to base 2 of the sums of
        exponentials (b, H, n, n), in fp64 for fp64 and in fp32 for all others.
    """
    qkvv = qkvv.contiguous()
    b, n, _, width = qkvv.shape
    out = qkvv.new_empty(b, n, n, width // 4)
    log_sum = qkvv.new_empty(b, n_heads, n, n, dtype=sums_in(qkvv.dtype))
    _launch(_attend, "attend", 1, qkvv, n_heads, qkvv, out, log_sum)
    return out, log_sum


def differentiate(grad: Tensor, qkvv: Tensor, out: Tensor, log_sum: Tensor, n_heads: int) -> Tensor:
    """The derivative (b, n, n, 4 e) by the projections, from that by the outputs and what `attend` gave."""
    qkvv, grad = qkvv.contiguous(), grad.contiguous()
    share, found = torch.empty_like(log_sum), torch.empty_like(qkvv)
    _launch(_share, "attend", 1, qkvv, n_heads, grad, out, share)
    _launch(_differentiate, "differentiate", 2, qkvv, n_heads, qkvv, grad, log_sum, share, found)
    return found
