"""Layers that denoisers and encoders share."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "Attention",
    "FeedForward",
    "TimeEmbedding",
    "draw_normal",
]


def draw_normal(*shape: int, scale: float = 1.0) -> Tensor:
    """Gaussian initial weights; empty ones if the default device is `meta`.

    On `meta`, torch would load its compiler to draw them, which takes almost as long as loading torch.

    Example:
        >>> draw_normal(2, 3, scale=0.1).shape
        torch.Size([2, 3])
    """
    values = torch.empty(shape)
    return values if values.is_meta else scale * torch.randn(shape)


class Attention(nn.Module):
    """Multi-head attention of a sequence to itself or to a context."""

    def __init__(self, width: int, n_heads: int, *, context_width: int | None = None) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(context_width or width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """The residual to add to `x`, shape `(batch, n, width)`.

        Args:
            x: shape `(batch, n, width)`.
            context: shape `(batch, m, context_width)`; `x` by default.
            bias: added to the scores, e.g. -inf at padding, shape `(batch, 1, 1, m)`.
        """
        normed = self.norm(x)
        seen = normed if context is None else context
        batch, n, width = x.shape
        m, head = seen.shape[1], width // self.n_heads
        query = self.query(normed).view(batch, n, self.n_heads, head).transpose(1, 2)
        both = self.key_value(seen).view(batch, m, 2, self.n_heads, head)
        key, value = both[:, :, 0].transpose(1, 2), both[:, :, 1].transpose(1, 2)  # (batch, heads, m, head)
        # In bfloat16 the backward pass of attention takes ten times as long on a CPU.
        with torch.autocast(x.device.type, enabled=False):
            mixed = F.scaled_dot_product_attention(query.float(), key.float(), value.float(), attn_mask=bias)
        return self.out(mixed.transpose(1, 2).reshape(batch, n, width))


class FeedForward(nn.Module):
    """Two linear layers, applied to each token."""

    def __init__(self, width: int, *, growth: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, growth * width)
        self.second = nn.Linear(growth * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """The residual to add to `x`, same shape."""
        return self.second(F.silu(self.first(self.norm(x))))


class TimeEmbedding(nn.Module):
    """Embeds a timestep between 0 and 1: 16 sines and cosines, then two linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(32, width)
        self.second = nn.Linear(width, width)

    def forward(self, timesteps: Tensor) -> Tensor:
        """Map timesteps of shape `(batch,)` to embeddings of shape `(batch, width)`."""
        frequencies = torch.arange(16, dtype=timesteps.dtype, device=timesteps.device)
        angles = timesteps[:, None] * math.pi * frequencies  # (batch, 16)
        return self.second(F.silu(self.first(torch.cat([angles.cos(), angles.sin()], dim=1))))
