"""One Edge Transformer layer."""

from torch import Tensor, nn

from mdet_openmm.network.attention import TriangularAttention
from mdet_openmm.network.config import ACTIVATIONS
from mdet_openmm.settings import one_of


def activation_module(name: str) -> nn.Module:
    """GELU (exact erf) or ReLU."""
    one_of("activation", name, ACTIVATIONS)
    return nn.GELU() if name == "gelu" else nn.ReLU()


class EdgeLayer(nn.Module):
    """Triangular attention and a feed-forward block, with the published arrangement of norms.

    o = Attention(LN(x)); z = LN(x + o); z = z + W2 act(W1 z); x' = LN(z). The residual around the attention starts
    from the un-normalised x, and the stream is normalised again at the end of every layer.
    """

    def __init__(self, embd_dim: int, n_heads: int, multiplier: int, activation: str, norm_first: bool) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(embd_dim) if norm_first else nn.Identity()
        self.attention = TriangularAttention(embd_dim, n_heads)
        self.norm_sum = nn.LayerNorm(embd_dim)
        self.feed_forward = nn.Sequential(
            nn.Linear(embd_dim, multiplier * embd_dim),
            activation_module(activation),
            nn.Linear(multiplier * embd_dim, embd_dim),
        )
        self.norm_out = nn.LayerNorm(embd_dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map pair features (b, n, n, e) to (b, n, n, e)."""
        z = self.norm_sum(x + self.attention(self.norm_attention(x), mask))
        return self.norm_out(z + self.feed_forward(z))
