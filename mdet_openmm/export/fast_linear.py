"""Linear layers by oneDNN: in fp32 on an AMD processor half as fast again as by the library that PyTorch prefers."""

from typing import Any, Final

import torch
from torch import Tensor, nn

from mdet_openmm.export.torchscript import once, refuse_second_derivative

_LIBRARY: Final = torch.library.Library("mdet_openmm", "FRAGMENT")
_LIBRARY.define("linear(Tensor x, Tensor weight, Tensor? bias, bool gelu) -> Tensor")


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "none")


class _Differentiable(torch.autograd.Function):
    """oneDNN's linear layer, perhaps with the GELU behind it, and the derivative by what it is given."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
        y = _onednn(x, weight, bias)
        ctx.save_for_backward(weight, y if gelu else None)
        return nn.functional.gelu(y) if gelu else y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        refuse_second_derivative()
        weight, y = ctx.saved_tensors
        if y is not None:
            grad = torch.ops.aten.gelu_backward(grad, y)
        return _onednn(grad, weight.t(), None), None, None, None


_LIBRARY.impl("linear", _Differentiable.apply, "AutogradCPU")


@once
def onednn_problem() -> str:
    """Why oneDNN's linear layer does not work here; empty if it does."""
    try:
        generator = torch.Generator().manual_seed(0)
        x, weight, bias = (torch.randn(shape, generator=generator) for shape in ((5, 7), (3, 7), (3,)))
        got = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        if not torch.allclose(got, nn.functional.linear(x, weight, bias), rtol=1e-5, atol=1e-5):
            raise ArithmeticError("its result is wrong")
    except Exception as error:  # PyTorch was built without it
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return ""


class FastLinear(nn.Module):
    """`nn.Linear`, perhaps with the GELU behind it, without its parameters' gradients: by oneDNN for fp32 on a CPU."""

    def __init__(self, linear: nn.Linear, gelu: bool = False) -> None:
        super().__init__()
        self.weight = linear.weight
        self.bias = linear.bias
        self.gelu = gelu
        self.then = "gelu" if gelu else "none"  # oneDNN's name; its algorithm "none" is the exact one

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        if x.device.type == "cpu" and x.dtype == torch.float32:
            if x.requires_grad:
                return torch.ops.mdet_openmm.linear(x, self.weight, self.bias, self.gelu)
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, self.then, [], "none")
        y = nn.functional.linear(x, self.weight, self.bias)
        return nn.functional.gelu(y) if self.gelu else y


def use_onednn(module: nn.Module) -> bool:
    """Replace all fp32 linear layers inside a module, in place; whether oneDNN works here."""
    if onednn_problem():
        return False
    children = list(module.named_children())
    for (name, child), (after, follower) in zip(children, [*children, ("", None)][1:], strict=True):
        if not isinstance(child, nn.Linear):
            use_onednn(child)
        elif child.weight.dtype == torch.float32:
            gelu = isinstance(module, nn.Sequential) and isinstance(follower, nn.GELU)
            setattr(module, name, FastLinear(child, gelu))
            if gelu:
                setattr(module, after, nn.Identity())
    return True
