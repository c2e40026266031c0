"""The fused attention at real shapes, against the formula in fp64."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from mdet_openmm.export.compiled_attention import derivative_problem
from mdet_openmm.network import attention_operator
from mdet_openmm.network.attention import TriangularAttention, attention_of_projections
from mdet_openmm.network.attention_operator import FusedAttention

TOLERANCES = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 2e-2}


@pytest.fixture
def where(device: str) -> Iterator[str]:
    """A device on which the operator works, also without the formula."""
    problem = attention_operator.gpu_problem() if device == "cuda" else derivative_problem()
    assert problem == ""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield device


def fused(x: Tensor, heads: int) -> Tensor:
    return torch.ops.mdet_openmm.triangular_attention(x, heads)


def plain(x: Tensor, heads: int) -> Tensor:
    return attention_of_projections(x, heads, None)


def both(function: Callable[[Tensor, int], Tensor], x: Tensor, grad: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Outputs and the derivative by the projections."""
    x = x.clone().requires_grad_(True)
    out = function(x, heads)
    return out.detach(), torch.autograd.grad(out, x, grad)[0]


def apart(got: Tensor, wanted: Tensor) -> float:
    return float((got.double() - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(
    ("b", "n", "heads", "d"),
    [(2, 9, 2, 16), (64, 20, 6, 16), (16, 36, 10, 16), (3, 21, 12, 16), (1, 84, 4, 12), (2, 30, 3, 24), (4, 2, 4, 32)],
)
def test_outputs_and_derivatives(where: str, dtype: torch.dtype, b: int, n: int, heads: int, d: int) -> None:
    if where == "cpu" and dtype == torch.bfloat16:
        pytest.skip("the compiled attention of CPUs has no bf16")
    x = torch.randn(b, n, n, 4 * heads * d, device=where).to(dtype)
    grad = torch.randn(b, n, n, heads * d, device=where).to(dtype)
    for got, wanted in zip(both(fused, x, grad, heads), both(plain, x.double(), grad.double(), heads), strict=True):
        assert got.dtype == dtype
        # sums of n terms in the dtype itself, on a CPU
        assert apart(got, wanted) < TOLERANCES[dtype] * (5 if where == "cpu" else 1)


def test_a_large_batch_is_addressed_beyond_32_bits(where: str) -> None:
    if where == "cpu":
        pytest.skip("4 GB of projections")
    b, n, heads, d = 60, 220, 12, 16
    assert b * n * n * 4 * heads * d > 2**31
    x = torch.randn(b, n, n, 4 * heads * d, device=where, dtype=torch.bfloat16)
    with torch.no_grad():
        out, alone = fused(x, heads)[-1:], fused(x[-1:].clone(), heads)
    assert torch.equal(out, alone)


def test_it_is_compiled_once_for_all_sizes(where: str) -> None:
    if where == "cpu":
        pytest.skip("compiled for a GPU alone")
    torch._dynamo.reset()
    # of half the projections: with twice as large ones scores of 30 cost the formula itself 9e-6 in fp32
    step = torch.compile(lambda x, heads: fused(0.5 * x, heads).sin(), dynamic=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for b, n in ((8, 12), (6, 20)):
            x, grad = torch.randn(b, n, n, 4 * 32, device=where), torch.randn(b, n, n, 32, device=where)
            got = both(step, x, grad, 2)
            wanted = both(lambda x, heads: plain(0.5 * x, heads).sin(), x.double(), grad.double(), 2)
            assert max(apart(one, other) for one, other in zip(got, wanted, strict=True)) < 2e-6


def test_it_is_captured_in_a_graph(where: str) -> None:
    if where == "cpu":
        pytest.skip("graphs are CUDA's")
    x = torch.randn(1, 21, 21, 4 * 32, device=where, dtype=torch.float64).requires_grad_(True)

    def call() -> tuple[Tensor, Tensor]:
        out = fused(x, 2)
        return out.detach(), torch.autograd.grad(out.square().sum(), x)[0]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = call()
    with torch.no_grad():
        x.copy_(torch.randn_like(x))
    graph.replay()
    wanted = plain(x, 2)
    assert apart(got[0], wanted.detach()) < 1e-12
    assert apart(got[1], torch.autograd.grad(wanted.square().sum(), x)[0]) < 1e-12


def test_a_scripted_layer(where: str) -> None:
    attention = TriangularAttention(64, 4).double().requires_grad_(False).to(where)
    module = torch.jit.freeze(torch.jit.script(FusedAttention(attention, on_cpu=True).eval()))
    assert "mdet_openmm::triangular_attention" in str(module.graph)
    x = torch.randn(2, 14, 14, 64, device=where, dtype=torch.float64).requires_grad_(True)
    got, wanted = module(x, None), attention(x, None)
    assert apart(got.detach(), wanted.detach()) < 1e-12
    got, wanted = (torch.autograd.grad(out.square().sum(), x)[0] for out in (got, wanted))
    assert apart(got, wanted) < 1e-12
