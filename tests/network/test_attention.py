"""The triangular attention against the formula of the paper, written with einsum."""

import pytest
import torch

from mdet_openmm.network.attention import triangular_attention


def plain(q: torch.Tensor, k: torch.Tensor, v1: torch.Tensor, v2: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    scores = torch.einsum("bilhd,bljhd->biljh", q, k) / q.shape[-1] ** 0.5
    scores = scores.masked_fill(~keep[:, None, :, None, None], -torch.inf)
    return torch.einsum("biljh,bilhd,bljhd->bijhd", scores.softmax(dim=2), v1, v2)


def inputs(n: int, heads: int = 3, d: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    return [torch.randn(2, n, n, heads, d, dtype=torch.float64, generator=generator) for _ in range(4)]


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


def test_gradients() -> None:
    tensors = [t.requires_grad_(True) for t in inputs(3, 2, 2)]
    keep = torch.tensor([[True, True, False], [True, True, True]])
    assert torch.autograd.gradcheck(lambda *a: triangular_attention(*a, keep, most_scores=1), tensors)


def test_compiled_training_path() -> None:
    # under torch.compile the sum over paths is written differently
    tensors = inputs(4)
    compiled = torch.compile(triangular_attention, backend="aot_eager")
    torch.testing.assert_close(compiled(*tensors, None), triangular_attention(*tensors, None), rtol=1e-12, atol=1e-12)
