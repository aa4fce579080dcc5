"""The joint denoiser: a transformer over all blocks of an adapter at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

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
from initzoo.generator.windows import read_in_windows

__all__ = ["JointDenoiser"]


class JointDenoiser(nn.Module):
    """Denoises all blocks of an adapter together, so that they agree with each other.

    A block is a token. It attends to the other blocks and to the context. Each block has its own input and
    output projection, since value 7 of one block and value 7 of another are unrelated weights.

    An adapter with too many blocks for that is read in windows of blocks, each with the context. Runs of
    adjacent blocks then share projections, which would take more memory than the adapter otherwise.

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
        width, n_projections = shape.width, shape.n_projections or shape.n_blocks
        self.words = ENCODERS[shape.encoder].reader(shape)
        self.time = TimeEmbedding(width)
        # One input projection per block, a batched matmul: (n_blocks, block_size, width).
        spread = 1 / math.sqrt(shape.block_size)
        self.enter = nn.Parameter(draw_normal(n_projections, shape.block_size, width, scale=spread))
        self.places = nn.Parameter(draw_normal(shape.n_blocks, width))  # embeds the block index
        self.between = nn.ModuleList(Attention(width, shape.n_heads) for _ in range(shape.n_layers))
        self.to_words = nn.ModuleList(Attention(width, shape.n_heads) for _ in range(shape.n_layers))
        self.forwards = nn.ModuleList(FeedForward(width) for _ in range(shape.n_layers))
        self.norm = nn.LayerNorm(width)
        # Zeros at first: an untrained denoiser predicts the mean adapter, which is the residual 0.
        self.leave = nn.Parameter(torch.zeros(n_projections, width, shape.block_size))
        self.leave_bias = nn.Parameter(torch.zeros(n_projections, shape.block_size))

    def forward(
        self, noised: Tensor, timesteps: Tensor, context: Context, *, first: int | None = None
    ) -> Tensor:
        """Predict the clean weights.

        Args:
            noised: noised blocks, shape `(batch, n_blocks, block_size)`.
            timesteps: shape `(batch,)`, 0 to 1.
            context: the encoded request of each row.
            first: `noised` is a single window of blocks, of which this is the first; all blocks by default.

        Returns:
            Predicted clean blocks, shape of `noised`.
        """
        seen, bias = self.words(context)  # (batch, 1 + n_tokens, width)
        read = partial(self._read, timesteps=timesteps, seen=seen, bias=bias)
        if first is not None:
            return read(noised, first)
        if not self.shape.window:
            return read(noised, 0)
        return read_in_windows(read, noised, window=self.shape.window, overlap=self.shape.overlap)

    def _read(self, noised: Tensor, first: int, *, timesteps: Tensor, seen: Tensor, bias: Tensor) -> Tensor:
        """Predict the blocks of a window, shape `(batch, n_blocks_of_window, block_size)`."""
        count = noised.shape[1]
        places = self.places if count == self.shape.n_blocks else self.places[first : first + count]
        entered = self._project(noised, first, self.enter)  # (batch, n_blocks, width)
        tokens = entered + places + self.time(timesteps)[:, None]
        # In each layer a block attends to all blocks, then to the words, then passes a feed-forward layer.
        for between, to_words, forward in zip(self.between, self.to_words, self.forwards, strict=True):
            tokens = tokens + between(tokens)
            tokens = tokens + to_words(tokens, seen, bias)
            tokens = tokens + forward(tokens)
        return self._project(self.norm(tokens), first, self.leave, self.leave_bias)

    def _project(self, x: Tensor, first: int, weights: Tensor, bias: Tensor | None = None) -> Tensor:
        """Apply to each block its projection: `(batch, n, a)` by `(n_projections, a, b)`."""
        if self.shape.n_projections:
            pieces = [
                x[:, start:end] @ weights[number] + (0 if bias is None else bias[number])
                for number, start, end in self._runs(first, x.shape[1])
            ]
            return torch.cat(pieces, dim=1)
        if x.shape[1] < len(weights):
            weights = weights[first : first + x.shape[1]]
            bias = None if bias is None else bias[first : first + x.shape[1]]
        projected = torch.bmm(x.transpose(0, 1), weights).transpose(0, 1)
        return projected if bias is None else projected + bias

    def _runs(self, first: int, count: int) -> Iterator[tuple[int, int, int]]:
        """The runs of blocks of a window that share a projection: its number, start and end in the window."""
        n_blocks, n_projections = self.shape.n_blocks, self.shape.n_projections
        start = 0
        while start < count:
            number = (first + start) * n_projections // n_blocks
            end = min(count, -(-(number + 1) * n_blocks // n_projections) - first)
            yield number, start, end
            start = end
