"""The fused triangular attention as an operator that autograd, TorchScript and torch.compile know.

On CUDA devices it is here, by the kernels of `mdet_openmm.network.attention_triton`; its CPU half is registered by
`mdet_openmm.export.compiled_attention`, where that compiles. It can be differentiated once.
"""

import functools
import logging
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mdet_openmm.network.attention import TriangularAttention, attention_of_projections, sums_in
from mdet_openmm.network.edge_transformer import EdgeTransformer

log = logging.getLogger("mdet_openmm")
LIBRARY: Final = torch.library.Library("mdet_openmm", "DEF")
_TAGS: Final = (torch.Tag.pt2_compliant_tag,)
LIBRARY.define("triangular_attention(Tensor qkvv, int n_heads) -> Tensor", tags=_TAGS)
# what the one above is made of on a GPU, which torch.compile takes for two opaque calls
LIBRARY.define("attention_with_sums(Tensor qkvv, int n_heads) -> (Tensor, Tensor)", tags=_TAGS)
LIBRARY.define(
    "attention_derivative(Tensor grad, Tensor qkvv, Tensor out, Tensor log_sum, int n_heads) -> Tensor", tags=_TAGS
)


def _attend(qkvv: Tensor, n_heads: int) -> tuple[Tensor, Tensor]:
    from mdet_openmm.network.attention_triton import attend

    return attend(qkvv, n_heads)


def _differentiate(grad: Tensor, qkvv: Tensor, out: Tensor, log_sum: Tensor, n_heads: int) -> Tensor:
    from mdet_openmm.network.attention_triton import differentiate

    return differentiate(grad, qkvv, out, log_sum, n_heads)


class _Differentiable(torch.autograd.Function):
    """The kernels, as operators: what is traced has no memory that a kernel could run on."""

    @staticmethod
    def forward(ctx: Any, qkvv: Tensor, n_heads: int) -> Tensor:
        out, log_sum = torch.ops.mdet_openmm.attention_with_sums(qkvv, n_heads)
        ctx.save_for_backward(qkvv, out, log_sum)
        ctx.n_heads = n_heads
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return torch.ops.mdet_openmm.attention_derivative(grad, *ctx.saved_tensors, ctx.n_heads), None


def _with_graph(qkvv: Tensor, n_heads: int) -> Tensor:
    if gpu_problem():
        return attention_of_projections(qkvv, n_heads, None)
    return _Differentiable.apply(qkvv, n_heads)


def _without_graph(qkvv: Tensor, n_heads: int) -> Tensor:
    if gpu_problem():
        return attention_of_projections(qkvv, n_heads, None)
    return torch.ops.mdet_openmm.attention_with_sums(qkvv, n_heads)[0]


def _shape(qkvv: Tensor, n_heads: int) -> Tensor:
    return qkvv.new_empty(*qkvv.shape[:3], qkvv.shape[3] // 4)


def _shapes(qkvv: Tensor, n_heads: int) -> tuple[Tensor, Tensor]:
    b, n = qkvv.shape[:2]
    return _shape(qkvv, n_heads), qkvv.new_empty(b, n_heads, n, n, dtype=sums_in(qkvv.dtype))


def register(device: str) -> None:
    """Let the operator run by the Triton kernels: on "CUDA", which this module does, or by their interpreter."""
    LIBRARY.impl("triangular_attention", _without_graph, device)
    LIBRARY.impl("triangular_attention", _with_graph, f"Autograd{device}")
    LIBRARY.impl("attention_with_sums", _attend, device)
    LIBRARY.impl("attention_derivative", _differentiate, device)


register("CUDA")
torch.library.register_fake("mdet_openmm::triangular_attention", _shape, lib=LIBRARY)
torch.library.register_fake("mdet_openmm::attention_with_sums", _shapes, lib=LIBRARY)
torch.library.register_fake(
    "mdet_openmm::attention_derivative",
    lambda grad, qkvv, out, log_sum, n_heads: torch.empty_like(qkvv, memory_format=torch.contiguous_format),
    lib=LIBRARY,
)


@functools.cache
def gpu_problem() -> str:
    """Why the Triton kernels do not work here; empty if they do. The first call compiles them, in fp32.

    It computes: call it before anything is captured in a CUDA graph or traced by torch.compile.
    """
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"

    def trial() -> None:
        with torch.inference_mode(False):
            _try_kernels("cuda")

    return problem_of(trial, "attention runs without its kernel for GPUs")


def problem_of(trial: Callable[[], None], otherwise: str) -> str:
    """Why a trial of kernels fails, after a warning of what happens otherwise; empty if it does not."""
    try:
        trial()
    except Exception as error:  # a package is missing or too old for this Python or processor, or finds no C compiler
        problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        log.warning("%s, several times slower (%s)", otherwise, problem)
        return problem
    return ""


def _try_kernels(device: str) -> None:
    generator = torch.Generator().manual_seed(0)
    given = torch.randn(1, 3, 3, 48, generator=generator, dtype=torch.float64)
    grad = torch.randn(1, 3, 3, 12, generator=generator, dtype=torch.float64)
    with torch.enable_grad():
        x = given.requires_grad_(True)
        out = attention_of_projections(x, 2, None)
        (slope,) = torch.autograd.grad(out, x, grad)
    with torch.no_grad():
        x, g = given.detach().to(device, torch.float32), grad.to(device, torch.float32)
        found, log_sum = _attend(x, 2)
        for got, wanted in ((found, out), (_differentiate(g, x, found, log_sum, 2), slope)):
            if not torch.allclose(got.cpu(), wanted.detach().float(), rtol=1e-5, atol=1e-5):
                raise ArithmeticError("its result is wrong")


class FusedAttention(nn.Module):
    """`TriangularAttention` by the operator where that works, by the formula elsewhere. Same parameters, same names.

    It is differentiable once. Its TorchScript needs a process that has imported this package.

    Parameters
    ----------
    attention
        Its projections become this module's own.
    on_cpu
        Whether the operator works on CPUs. Of a GPU the first call finds out.
    """

    def __init__(self, attention: TriangularAttention, on_cpu: bool) -> None:
        super().__init__()
        self.n_heads = attention.n_heads
        self.qkvv = attention.qkvv
        self.out = attention.out
        self.on_cpu = on_cpu

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map pair features (b, n, n, e) to (b, n, n, e)."""
        qkvv = self.qkvv(x)
        if mask is None and (qkvv.device.type == "cuda" or (self.on_cpu and qkvv.device.type == "cpu")):
            return self.out(torch.ops.mdet_openmm.triangular_attention(qkvv, self.n_heads))
        return self.out(attention_of_projections(qkvv, self.n_heads, mask))


def fuse_attention(network: EdgeTransformer, on_cpu: bool) -> None:
    """Let every layer of a network use `FusedAttention`, in place."""
    for layer in network.layers:
        if isinstance(layer.attention, TriangularAttention):
            layer.attention = FusedAttention(layer.attention, on_cpu)
