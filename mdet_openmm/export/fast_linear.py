"""Linear layers by oneDNN: in fp32 on an AMD processor half as fast again as by the library that PyTorch prefers."""

from typing import Any, Final

import torch
from torch import Tensor, nn

from mdet_openmm.export.torchscript import once, refuse_second_derivative
from mdet_openmm.signal_stack import separate_signal_stack

_LIBRARY: Final = torch.library.Library("mdet_openmm", "FRAGMENT")
_LIBRARY.define("linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor")


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class _Differentiable(torch.autograd.Function):
    """oneDNN's linear layer, and the derivative by what it is given."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _onednn(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        refuse_second_derivative()
        (weight,) = ctx.saved_tensors
        return _onednn(grad, weight.t(), None), None, None


_LIBRARY.impl("linear", _Differentiable.apply, "AutogradCPU")


@once
def onednn_problem() -> str:
    """Why oneDNN's linear layer does not work here; empty if it does."""
    try:
        generator = torch.Generator().manual_seed(0)
        x, weight, bias = (torch.randn(shape, generator=generator) for shape in ((5, 7), (3, 7), (3,)))
        got = _onednn(x, weight, bias)
        if not torch.allclose(got, nn.functional.linear(x, weight, bias), rtol=1e-5, atol=1e-5):
            raise ArithmeticError("its result is wrong")
    except Exception as error:  # PyTorch was built without it
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return ""


class FastLinear(nn.Module):
    """`nn.Linear` without its parameters' gradients: by oneDNN for fp32 on a CPU.

    oneDNN could take in the GELU behind it, and is slower at it than PyTorch.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = linear.weight
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        if x.device.type == "cpu" and x.dtype == torch.float32:
            if x.requires_grad:
                return torch.ops.mdet_openmm.linear(x, self.weight, self.bias)
            return _onednn(x, self.weight, self.bias)
        return nn.functional.linear(x, self.weight, self.bias)


def use_onednn(module: nn.Module) -> bool:
    """Replace all fp32 linear layers inside a module, in place; whether oneDNN works here."""
    if onednn_problem():
        return False
    separate_signal_stack()  # a signal on the stack of oneDNN's code would damage the heap
    for name, child in list(module.named_children()):
        if not isinstance(child, nn.Linear):
            use_onednn(child)
        elif child.weight.dtype == torch.float32:
            setattr(module, name, FastLinear(child))
    return True
