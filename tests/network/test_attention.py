"""The triangular attention against the formula of the paper, written with einsum."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mdet_openmm.network.attention import _sum_over_middle, triangular_attention


def plain(q: torch.Tensor, k: torch.Tensor, v1: torch.Tensor, v2: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    scores = torch.einsum("bilhd,bljhd->biljh", q, k) / q.shape[-1] ** 0.5
    scores = scores.masked_fill(~keep[:, None, :, None, None], -torch.inf)
    return torch.einsum("biljh,bilhd,bljhd->bijhd", scores.softmax(dim=2), v1, v2)


Four = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def inputs(n: int, heads: int = 3, d: int = 4) -> Four:
    generator = torch.Generator().manual_seed(n)
    q, k, v1, v2 = torch.randn(4, 2, n, n, heads, d, dtype=torch.float64, generator=generator)
    return q, k, v1, v2


@pytest.mark.parametrize("n", [1, 2, 3, 7, 12])
@pytest.mark.parametrize("padding", [0, 2])
def test_plain_formula(n: int, padding: int) -> None:
    tensors = inputs(n + padding)
    keep = torch.arange(n + padding).expand(2, -1) < n
    got = triangular_attention(*tensors, keep if padding else None)
    torch.testing.assert_close(got, plain(*tensors, keep), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", [0.5, 1, 2.5, 7])
@pytest.mark.parametrize("padding", [0, 2])
def test_in_parts(rows: float, padding: int) -> None:
    n = 7 + padding
    tensors = inputs(n)
    keep = torch.arange(n).expand(2, -1) < 7
    mask = keep if padding else None
    scripted = torch.jit.script(triangular_attention)
    with torch.no_grad():
        for attention in (triangular_attention, scripted):
            parts = attention(*tensors, mask, most_scores=int(rows * 2 * n * n * 3))
            torch.testing.assert_close(parts, plain(*tensors, keep), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("most", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("scripted", [False, True])
def test_many_middle_atoms_at_once(most: int, scripted: bool) -> None:
    # how it is done on a GPU; tests/gpu compares the forces
    q, k, v1, v2 = inputs(7)
    weights = (torch.einsum("bilhd,bljhd->blijh", q, k) / q.shape[-1] ** 0.5).softmax(dim=1)
    total = torch.jit.script(_sum_over_middle) if scripted else _sum_over_middle
    expected = plain(q, k, v1, v2, torch.ones(2, 7, dtype=torch.bool))
    torch.testing.assert_close(total(weights, v1, v2, most), expected, rtol=1e-12, atol=1e-12)
    some = total(weights[:, :, 2:5], v1[:, 2:5], v2, most)  # atoms i in parts
    torch.testing.assert_close(some, expected[:, 2:5], rtol=1e-12, atol=1e-12)


def test_few_kernels_on_an_accelerator() -> None:
    # meta stands for a GPU: what counts is how many operations are called
    class Count(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.calls += 1
            return function(*args, **(kwargs or {}))

    def calls(n: int, grad: bool) -> int:
        q, k, v1, v2 = (torch.empty(1, n, n, 12, 16, device="meta", requires_grad=grad) for _ in range(4))
        with Count() as count, torch.set_grad_enabled(grad):
            triangular_attention(q, k, v1, v2, None)
        return count.calls

    assert calls(21, False) == calls(5, False) < 30
    assert calls(5, True) < 30
    assert calls(84, False) < 100  # the products are built for 12 middle atoms at a time


def test_gradients() -> None:
    tensors = [t.requires_grad_(True) for t in inputs(3, 2, 2)]
    keep = torch.tensor([[True, True, False], [True, True, True]])
    assert torch.autograd.gradcheck(
        lambda q, k, v1, v2: triangular_attention(q, k, v1, v2, keep, most_scores=1), tensors
    )


def test_compiled_training_path() -> None:
    # under torch.compile the sum over paths is written differently
    tensors = inputs(4)
    compiled = torch.compile(triangular_attention, backend="aot_eager")
    torch.testing.assert_close(compiled(*tensors, None), triangular_attention(*tensors, None), rtol=1e-12, atol=1e-12)
