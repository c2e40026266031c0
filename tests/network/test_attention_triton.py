"""The Triton kernels and their operator on a CPU, by Triton's interpreter; tests/gpu has real shapes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

# In a process of its own: Triton reads the variable when it is imported, and the operator's CPU half is another here.
INTERPRETED = """
import torch
from torch import Tensor
from triton.runtime import interpreter

patch = interpreter._patch_lang_tensor


def with_index(tensor):  # Triton 3.5 makes an int of an array with one element, which NumPy 2.4 refuses
    patch(tensor)
    tensor.__index__ = lambda self: int(self.handle.data.item())


interpreter._patch_lang_tensor = with_index
from mdet_openmm.network import attention_operator as operator
from mdet_openmm.network.attention import TriangularAttention, attention_of_projections as formula

operator.gpu_problem = lambda: ""
operator.register("CPU")
operator._try_kernels("cpu")
fused = torch.ops.mdet_openmm.triangular_attention
generator = torch.Generator().manual_seed(0)


def drawn(b, n, heads, d):
    shape, kind = (b, n, n), {"dtype": torch.float64, "generator": generator}
    return 1.5 * torch.randn(*shape, 4 * heads * d, **kind), torch.randn(*shape, heads * d, **kind)


def both(function, x, grad, heads):
    x = x.clone().requires_grad_(True)
    out = function(x, heads)
    return out.detach(), torch.autograd.grad(out, x, grad)[0]


def apart(got, wanted):
    return float((got.double() - wanted).abs().max() / wanted.abs().max())


def plain(x, heads):
    return formula(x, heads, None)

"""


def interpret(code: str) -> None:
    """Run code after the lines above."""
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED + code],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_outputs_and_derivatives_are_those_of_the_formula() -> None:
    interpret("""
tolerances = {torch.float64: 1e-13, torch.float32: 2e-6, torch.bfloat16: 2e-2}
for b, n, heads, d in ((2, 3, 2, 16), (1, 9, 1, 12), (2, 5, 3, 8), (1, 1, 1, 24), (1, 2, 2, 32)):
    x, grad = drawn(b, n, heads, d)
    for dtype, tolerance in tolerances.items():
        # of the same rounded numbers
        x_, grad_ = x.to(dtype), grad.to(dtype)
        wanted = both(plain, x_.double(), grad_.double(), heads)
        got = both(fused, x_, grad_, heads)
        for one, other in zip(got, wanted):
            assert one.dtype == dtype and one.is_contiguous()
            assert apart(one, other) < tolerance, (b, n, heads, d, dtype, apart(one, other))
# scores of which one outweighs all others by e^1000, in whatever order they come
x, grad = drawn(1, 4, 1, 8)
got, wanted = both(fused, 30 * x, grad, 1), both(plain, 30 * x, grad, 1)
assert all(bool(one.isfinite().all()) and apart(one, other) < 1e-11 for one, other in zip(got, wanted))
# strides that are not those of a contiguous tensor
x, grad = drawn(2, 3, 2, 8)
turned, grad_ = x.transpose(1, 2), torch.ones(()).double().expand(grad.shape)
for one, other in zip(both(fused, turned, grad_, 2), both(plain, turned, grad_, 2)):
    assert apart(one, other) < 1e-13
""")


def test_it_is_compiled_once_for_all_sizes_and_scripted_and_not_differentiated_twice() -> None:
    interpret("""
torch._dynamo.config.error_on_recompile = True
step = torch.compile(lambda x, heads: fused(2 * x, heads).sin(), backend="aot_eager", dynamic=True)
for b, n in ((2, 3), (3, 4), (4, 5)):
    x, grad = drawn(b, n, 2, 8)
    got, wanted = both(step, x, grad, 2), both(lambda x, heads: plain(2 * x, heads).sin(), x, grad, 2)
    assert all(apart(one, other) < 1e-13 for one, other in zip(got, wanted)), (b, n)

attention = TriangularAttention(16, 2).double()
module = operator.FusedAttention(attention, on_cpu=True).eval().requires_grad_(False)
assert list(module.state_dict()) == list(attention.state_dict())
for scripted in (torch.jit.script(module), torch.jit.freeze(torch.jit.script(module))):
    assert "mdet_openmm::triangular_attention" in str(scripted.inlined_graph)
    x = torch.randn(1, 3, 3, 16, generator=generator, dtype=torch.float64).requires_grad_(True)
    keep = torch.tensor([[True, True, False]])
    for mask in (None, keep):
        got, wanted = scripted(x, mask), attention(x, mask)
        assert apart(got.detach(), wanted.detach()) < 1e-13
        got, wanted = (torch.autograd.grad(out.square().sum(), x)[0] for out in (got, wanted))
        assert apart(got, wanted) < 1e-13
with torch.inference_mode():
    assert apart(module(x, None), attention(x, None)) < 1e-13

(slope,) = torch.autograd.grad(fused(x, 2).square().sum(), x, create_graph=True)
try:
    slope.sum().backward()
except RuntimeError as error:
    assert "once_differentiable" in str(error)
else:
    raise AssertionError("it was differentiated twice")
""")


def test_shapes_are_known_without_computing() -> None:
    from mdet_openmm.network import attention_operator

    assert attention_operator.LIBRARY.ns == "mdet_openmm"
    x = torch.empty(2, 7, 7, 4 * 24, device="meta", dtype=torch.bfloat16)
    out = torch.ops.mdet_openmm.triangular_attention(x, 3)
    assert out.shape == (2, 7, 7, 24) and out.dtype == torch.bfloat16
    out, sums = torch.ops.mdet_openmm.attention_with_sums(x, 3)
    assert out.shape == (2, 7, 7, 24) and sums.shape == (2, 3, 7, 7) and sums.dtype == torch.float32
    assert torch.ops.mdet_openmm.attention_derivative(out, x, out, sums, 3).shape == x.shape
