"""The compiled triangular attention as an operator that TorchScript calls, where it works."""

import logging
from typing import Final

import torch
from torch import Tensor, nn

from mdet_openmm.export.torchscript import once
from mdet_openmm.network.attention import TriangularAttention, attention_of_projections
from mdet_openmm.network.edge_transformer import EdgeTransformer

log = logging.getLogger("mdet_openmm")
_LIBRARY: Final = torch.library.Library("mdet_openmm", "DEF")
_LIBRARY.define("triangular_attention(Tensor qkvv, int n_heads) -> Tensor")


@once
def kernel_problem() -> str:
    """Why the compiled kernel does not work here; empty if it does. The first call compiles it, or reads it in."""
    try:
        from mdet_openmm.export.attention_kernel import compiled_attention

        generator = torch.Generator().manual_seed(0)
        for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
            given = torch.randn(1, 3, 3, 48, dtype=dtype, generator=generator)
            expected = attention_of_projections(given, 2, None)
            if not torch.allclose(compiled_attention(given, 2), expected, rtol=tolerance, atol=tolerance):
                raise ArithmeticError("its result is wrong")
        _LIBRARY.impl("triangular_attention", compiled_attention, "CPU")
    except Exception as error:  # numba is not installed, or too old for this Python or processor
        problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        log.warning("attention runs without its compiled kernel, several times slower (%s)", problem)
        return problem
    return ""


class CompiledAttention(nn.Module):
    """`TriangularAttention` without gradients: by the compiled kernel on a CPU, by the formula elsewhere."""

    def __init__(self, attention: TriangularAttention) -> None:
        super().__init__()
        self.n_heads = attention.n_heads
        self.qkvv = attention.qkvv
        self.out = attention.out

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map pair features (b, n, n, e) to (b, n, n, e)."""
        qkvv = self.qkvv(x)
        if mask is None and qkvv.device.type == "cpu":
            return self.out(torch.ops.mdet_openmm.triangular_attention(qkvv, self.n_heads))
        return self.out(attention_of_projections(qkvv, self.n_heads, mask))


def compile_attention(network: EdgeTransformer) -> bool:
    """Let every layer of a network use the compiled kernel, in place; whether it works here."""
    if kernel_problem():
        return False
    for layer in network.layers:
        if isinstance(layer.attention, TriangularAttention):
            layer.attention = CompiledAttention(layer.attention)
    return True
