"""The joint denoiser: a transformer over all blocks of an adapter at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from initzoo.generator.encoders import ENCODERS, Context
from initzoo.generator.layers import (
    Attention,
    FeedForward,
    TimeEmbedding,
    draw_normal,
)
from initzoo.generator.shape import DenoiserShape

__all__ = ["JointDenoiser"]


class JointDenoiser(nn.Module):
    """Denoises all blocks of an adapter together, so that they agree with each other.

    A block is a token. It attends to the other blocks and to the context. Each block has its own input and
    output projection, since value 7 of one block and value 7 of another are unrelated weights.

    Args:
        shape: sizes of the denoiser.

    Example:
        >>> denoiser = JointDenoiser(DenoiserShape(n_blocks=2, block_size=8, n_word_values=4, width=24))
        >>> context = Context(torch.zeros(3, 5, 4), torch.ones(3, 5, dtype=torch.bool))
        >>> denoiser(torch.zeros(3, 2, 8), torch.ones(3), context).shape
        torch.Size([3, 2, 8])
    """

    def __init__(self, shape: DenoiserShape) -> None:
        super().__init__()
        self.shape = shape
        width, per_block = shape.width, (shape.n_blocks, shape.block_size)
        self.words = ENCODERS[shape.encoder].reader(shape)
        self.time = TimeEmbedding(width)
        # One input projection per block, a batched matmul: (n_blocks, block_size, width).
        self.enter = nn.Parameter(draw_normal(*per_block, width, scale=1 / math.sqrt(shape.block_size)))
        self.places = nn.Parameter(draw_normal(shape.n_blocks, width))  # embeds the block index
        self.between = nn.ModuleList(Attention(width, shape.n_heads) for _ in range(shape.n_layers))
        self.to_words = nn.ModuleList(Attention(width, shape.n_heads) for _ in range(shape.n_layers))
        self.forwards = nn.ModuleList(FeedForward(width) for _ in range(shape.n_layers))
        self.norm = nn.LayerNorm(width)
        # Zeros at first: an untrained denoiser predicts the mean adapter, which is the residual 0.
        self.leave = nn.Parameter(torch.zeros(shape.n_blocks, width, shape.block_size))
        self.leave_bias = nn.Parameter(torch.zeros(per_block))

    def forward(self, noised: Tensor, timesteps: Tensor, context: Context) -> Tensor:
        """Predict the clean weights.

        Args:
            noised: noised blocks, shape `(batch, n_blocks, block_size)`.
            timesteps: shape `(batch,)`, 0 to 1.
            context: the encoded request of each row.

        Returns:
            Predicted clean blocks, shape of `noised`.
        """
        seen, bias = self.words(context)  # (batch, 1 + n_tokens, width)
        entered = torch.bmm(noised.transpose(0, 1), self.enter).transpose(0, 1)  # (batch, n_blocks, width)
        tokens = entered + self.places + self.time(timesteps)[:, None]
        # In each layer a block attends to all blocks, then to the words, then passes a feed-forward layer.
        for between, to_words, forward in zip(self.between, self.to_words, self.forwards, strict=True):
            tokens = tokens + between(tokens)
            tokens = tokens + to_words(tokens, seen, bias)
            tokens = tokens + forward(tokens)
        predicted = torch.bmm(self.norm(tokens).transpose(0, 1), self.leave).transpose(0, 1)
        return predicted + self.leave_bias  # (batch, n_blocks, block_size)
