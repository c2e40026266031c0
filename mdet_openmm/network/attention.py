"""Triangular attention: every pair (i, j) attends to the paths i -> l -> j."""

from typing import Final

import torch
from torch import Tensor, nn

MOST_SCORES: Final = 2**25
"""Scores (b n^3 H) that are held at a time where no gradient asks for all of them."""
MOST_PRODUCTS: Final = 2**24
"""Products (b m l n e) of weights and values that are built at once where launching a kernel costs more than memory."""


def triangular_attention(
    q: Tensor, k: Tensor, v1: Tensor, v2: Tensor, mask: Tensor | None, most_scores: int = MOST_SCORES
) -> Tensor:
    """Attention over the middle atom.

    s_ilj = Q_il . K_lj / sqrt(d);  a = softmax of s over l;  o_ij = sum_l a_ilj (V1_il * V2_lj)  (elementwise)
    (arXiv 2503.01431; Bergen et al., arXiv 2112.00578).

    Parameters
    ----------
    q, k, v1, v2
        (b, n, n, H, d).
    mask
        (b, n) bool, True for real atoms; None if all are. Only the middle atom needs it: pairs with a padded end
        give numbers that nothing reads.
    most_scores
        Without gradients, as many atoms i at a time as have no more scores than this (one at least).

    Returns
    -------
    (b, n, n, H, d).
    """
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or q.numel() // q.shape[-1] * k.shape[2] <= most_scores:
        return _rows(q, k, v1, v2, mask)
    rows = max(1, most_scores * q.shape[1] * q.shape[-1] // (q.numel() * k.shape[2]))
    out = torch.empty_like(v1)
    for start in range(0, q.shape[1], rows):
        out[:, start : start + rows] = _rows(q[:, start : start + rows], k, v1[:, start : start + rows], v2, mask)
    return out


def _rows(
    q: Tensor, k: Tensor, v1: Tensor, v2: Tensor, mask: Tensor | None, most_products: int = MOST_PRODUCTS
) -> Tensor:
    """The outputs (b, m, n, H, d) of some atoms i, from their Q and V1 (b, m, n, H, d)."""
    n = q.shape[2]
    scale = q.shape[-1] ** -0.5
    # (b, l, H, i, d) @ (b, l, H, d, j) -> (b, l, H, i, j)
    scores = (q * scale).permute(0, 2, 3, 1, 4) @ k.permute(0, 1, 3, 4, 2)
    if mask is not None:
        scores = scores.masked_fill(~mask[:, :, None, None, None], -1e9)
    weights = torch.softmax(scores, dim=1).permute(0, 1, 3, 4, 2)  # (b, l, i, j, H)
    if torch.compiler.is_compiling():
        return (weights.unsqueeze(-1) * v1.transpose(1, 2).unsqueeze(3) * v2.unsqueeze(2)).sum(dim=1)
    if q.device.type != "cpu" and (not torch.is_grad_enabled() or v1.numel() * n <= most_products):
        return _sum_over_middle(weights, v1, v2, max(1, most_products // v1.numel()))
    # One rank-one update per middle atom: the n^3 e product is never built. Unbound, and not indexed, because the
    # derivative of an index is a whole tensor of zeros.
    by_middle, left, right = weights.unbind(1), v1.unbind(2), v2.unbind(1)
    out = by_middle[0].unsqueeze(-1) * (left[0].unsqueeze(2) * right[0].unsqueeze(1))
    for l in range(1, n):  # noqa: E741
        out = out + by_middle[l].unsqueeze(-1) * (left[l].unsqueeze(2) * right[l].unsqueeze(1))
    return out


def _sum_over_middle(weights: Tensor, v1: Tensor, v2: Tensor, most: int) -> Tensor:
    """The weighted sum over l, ``most`` middle atoms at a time: a few kernels instead of a few for each of them.

    Parameters
    ----------
    weights
        (b, l, m, n, H).
    v1, v2
        (b, m, l, H, d) and (b, l, n, H, d).
    most
        Middle atoms at a time.
    """
    out = torch.zeros_like(v1)
    for start in range(0, v2.shape[1], most):
        left = v1[:, :, start : start + most].transpose(1, 2).unsqueeze(3)  # (b, l, m, 1, H, d)
        right = v2[:, start : start + most].unsqueeze(2)  # (b, l, 1, n, H, d)
        out = out + (weights[:, start : start + most].unsqueeze(-1) * left * right).sum(dim=1)
    return out


def attention_of_projections(qkvv: Tensor, n_heads: int, mask: Tensor | None) -> Tensor:
    """`triangular_attention` of (b, n, n, 4 e): Q, K, V1 and V2 of every pair side by side; (b, n, n, e)."""
    b, n, _, width = qkvv.shape
    q, k, v1, v2 = qkvv.view(b, n, n, 4, n_heads, width // (4 * n_heads)).unbind(3)
    return triangular_attention(q, k, v1, v2, mask).reshape(b, n, n, width // 4)


def sums_in(dtype: torch.dtype) -> torch.dtype:
    """What kernels take the sums of a dtype in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


class TriangularAttention(nn.Module):
    """Projections around `triangular_attention`; none has a bias."""

    def __init__(self, embd_dim: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkvv = nn.Linear(embd_dim, 4 * embd_dim, bias=False)
        self.out = nn.Linear(embd_dim, embd_dim, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map pair features (b, n, n, e) to (b, n, n, e)."""
        return self.out(attention_of_projections(self.qkvv(x), self.n_heads, mask))
