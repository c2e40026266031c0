"""oneDNN's linear layers against PyTorch's."""

import copy

import pytest
import torch
from torch import nn

from mdet_openmm.export import fast_linear
from mdet_openmm.export.fast_linear import FastLinear, onednn_problem, use_onednn


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 7), (2, 3, 3, 7), (1, 1, 1, 7)])
def test_it_is_the_same_layer(shape: tuple[int, ...], bias: bool) -> None:
    linear = nn.Linear(7, 5, bias=bias).requires_grad_(False)
    x = torch.randn(shape)
    for module in (FastLinear(linear), torch.jit.freeze(torch.jit.script(FastLinear(linear).eval()))):
        torch.testing.assert_close(module(x), linear(x), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(FastLinear(linear.double())(x.double()), linear(x.double()), rtol=0, atol=0)


def test_only_fp32_layers_inside_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    module = nn.Sequential(nn.Linear(2, 2), inner, nn.Linear(2, 2).double())
    assert use_onednn(module)
    assert isinstance(module[0], FastLinear) and isinstance(inner[0], FastLinear)
    assert isinstance(inner[1], nn.ReLU) and isinstance(module[2], nn.Linear)
    monkeypatch.setattr(fast_linear, "onednn_problem", lambda: "not here")
    other = nn.Sequential(nn.Linear(2, 2))
    assert not use_onednn(other) and isinstance(other[0], nn.Linear)
    assert onednn_problem() == ""


@pytest.mark.parametrize("bias", [True, False])
def test_its_derivative_is_that_of_the_layer(bias: bool) -> None:
    linear = nn.Linear(7, 5, bias=bias).requires_grad_(False)
    exact = copy.deepcopy(linear).double()
    x, grad = torch.randn(2, 3, 3, 7, requires_grad=True), torch.randn(2, 3, 3, 5)
    wide = x.detach().double().requires_grad_(True)
    expected = torch.autograd.grad(exact(wide), wide, grad.double())[0].float()
    for module in (FastLinear(linear), torch.jit.freeze(torch.jit.script(FastLinear(linear).eval()))):
        torch.testing.assert_close(module(x), exact(wide).float(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(torch.autograd.grad(module(x), x, grad)[0], expected, rtol=1e-5, atol=1e-6)
        with torch.no_grad():
            assert not module(x).requires_grad
