"""The compiled triangular attention as an operator that TorchScript calls, with its derivative, where they work."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mdet_openmm.export.torchscript import once, refuse_second_derivative
from mdet_openmm.network.attention import attention_of_projections
from mdet_openmm.network.attention_operator import LIBRARY, fuse_attention, problem_of
from mdet_openmm.network.edge_transformer import EdgeTransformer


class _Differentiable(torch.autograd.Function):
    """The kernel and its derivative, which cannot be differentiated again."""

    @staticmethod
    def forward(ctx: Any, qkvv: Tensor, n_heads: int) -> Tensor:
        from mdet_openmm.export.attention_kernel import compiled_attention

        ctx.save_for_backward(qkvv)
        ctx.n_heads = n_heads
        return compiled_attention(qkvv, n_heads)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        from mdet_openmm.export.attention_gradient import attention_gradient

        refuse_second_derivative()
        return attention_gradient(ctx.saved_tensors[0], grad, ctx.n_heads), None


@once
def kernel_problem() -> str:
    """Why the compiled kernel does not work here; empty if it does. The first call compiles it, or reads it in."""

    def trial() -> None:
        from mdet_openmm.export.attention_kernel import compiled_attention

        _compare(compiled_attention, lambda given: attention_of_projections(given, 2, None))
        LIBRARY.impl("triangular_attention", compiled_attention, "CPU")
        LIBRARY.impl("triangular_attention", _Differentiable.apply, "AutogradCPU")

    return problem_of(trial, "attention runs without its compiled kernel")


@once
def derivative_problem() -> str:
    """The same of the kernel and its derivative."""

    def trial() -> None:
        from mdet_openmm.export.attention_gradient import attention_gradient

        def expected(given: Tensor) -> Tensor:
            with torch.enable_grad():
                x = given.detach().requires_grad_(True)
                return torch.autograd.grad(attention_of_projections(x, 2, None).square().sum() / 2, x)[0]

        _compare(lambda x, heads: attention_gradient(x, attention_of_projections(x, heads, None), heads), expected)

    return kernel_problem() or problem_of(trial, "the gradient of an energy runs without its compiled kernel")


def _compare(compiled: Callable[[Tensor, int], Tensor], expected: Callable[[Tensor], Tensor]) -> None:
    """Try a kernel on three atoms with two heads, in both precisions."""
    generator = torch.Generator().manual_seed(0)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        given = torch.randn(1, 3, 3, 48, dtype=dtype, generator=generator)
        if not torch.allclose(compiled(given, 2), expected(given), rtol=tolerance, atol=tolerance):
            raise ArithmeticError("its result is wrong")


def compile_attention(network: EdgeTransformer, differentiable: bool = False) -> bool:
    """Let every layer of a network use the operator, in place; whether that works on a CPU here.

    Where it does not, and there is no GPU either, nothing is replaced.

    Parameters
    ----------
    network
        It keeps no derivative by its parameters.
    differentiable
        It must keep the one by the positions, once.
    """
    on_cpu = not (derivative_problem() if differentiable else kernel_problem())
    if on_cpu or torch.cuda.is_available():
        fuse_attention(network, on_cpu)
    return on_cpu
