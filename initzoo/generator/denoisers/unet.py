"""The paper's denoiser: a 1-D UNet that denoises each block separately, given its index."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
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

__all__ = ["UNetDenoiser"]

_PATCH = 8
"""Adjacent values of a block that form one position of the sequence."""


class UNetDenoiser(nn.Module):
    """Denoises each block separately with a UNet of two levels over the values of the block.

    The embeddings of block index and timestep are added and enter every residual stage; words enter
    every transformer stage by cross-attention. The channels are chosen such that it costs about as much
    as the joint denoiser of the same `width`.

    Args:
        shape: sizes of the denoiser; `block_size` must be a multiple of 32, `width` of 48.

    Source:
        Gong et al. (2024), figure 4, arXiv:2407.11966.

    Example:
        >>> denoiser = UNetDenoiser(DenoiserShape(n_blocks=2, block_size=64, n_word_values=4, width=48))
        >>> context = Context(torch.zeros(3, 5, 4), torch.ones(3, 5, dtype=torch.bool))
        >>> denoiser(torch.zeros(3, 2, 64), torch.ones(3), context).shape
        torch.Size([3, 2, 64])
    """

    def __init__(self, shape: DenoiserShape) -> None:
        super().__init__()
        self.shape = shape
        width = shape.width
        top, middle, low = width // 6, width // 4, width // 3
        self.words = ENCODERS[shape.encoder].reader(shape)
        self.time = TimeEmbedding(width)
        self.blocks = nn.Parameter(draw_normal(shape.n_blocks, width))
        # Patches of 8 shorten the sequence, so that attention over it is affordable.
        self.enter = nn.Conv1d(1, top, _PATCH, stride=_PATCH)
        self.places = nn.Parameter(draw_normal(top, shape.block_size // _PATCH, scale=0.1))
        self.down_top = _ResidualStage(top, top, width)
        self.down_middle = _ResidualStage(top, middle, width)
        self.attend_down = _TransformerStage(middle, width)
        self.low = _ResidualStage(middle, low, width)
        self.attend_low = _TransformerStage(low, width)
        self.up_middle = _ResidualStage(low + middle, middle, width)
        self.attend_up = _TransformerStage(middle, width)
        self.up_top = _ResidualStage(middle + top, top, width)
        self.norm = nn.GroupNorm(4, top)
        self.leave = nn.ConvTranspose1d(top, 1, _PATCH, stride=_PATCH)
        # Zeros at first: an untrained denoiser predicts the mean adapter, which is the residual 0.
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(
        self, noised: Tensor, timesteps: Tensor, context: Context, *, first: int | None = None
    ) -> Tensor:
        """Predict the clean weights; arguments and result as for `JointDenoiser`."""
        seen, bias = self.words(context)
        read = partial(self._read, timesteps=timesteps, seen=seen, bias=bias)
        if first is not None:
            return read(noised, first)
        if not self.shape.window:
            return read(noised, 0)
        return read_in_windows(read, noised, window=self.shape.window, overlap=0)  # blocks are independent

    def _read(self, noised: Tensor, first: int, *, timesteps: Tensor, seen: Tensor, bias: Tensor) -> Tensor:
        """Predict the blocks of a window, shape `(batch, n_blocks_of_window, block_size)`."""
        batch, n_blocks, size = noised.shape
        blocks = self.blocks if n_blocks == len(self.blocks) else self.blocks[first : first + n_blocks]
        # Blocks move into the batch: nothing below mixes values of two blocks.
        known = (self.time(timesteps)[:, None] + blocks).flatten(0, 1)  # (batch * n_blocks, width)
        x = self.enter(noised.reshape(-1, 1, size)) + self.places  # (batch * n_blocks, top, size / 8)
        top = self.down_top(x, known)
        middle = self.attend_down(self.down_middle(F.avg_pool1d(top, 2), known), seen, bias)  # size / 16
        low = self.attend_low(self.low(F.avg_pool1d(middle, 2), known), seen, bias)  # size / 32
        x = self.up_middle(torch.cat([F.interpolate(low, scale_factor=2), middle], 1), known)
        x = self.attend_up(x, seen, bias)
        x = self.up_top(torch.cat([F.interpolate(x, scale_factor=2), top], 1), known)
        predicted: Tensor = self.leave(F.silu(self.norm(x)))  # (batch * n_blocks, 1, size)
        return predicted.view(batch, n_blocks, size)


class _ResidualStage(nn.Module):
    """Two convolutions; the embedding of block index and timestep is added between them."""

    def __init__(self, n_in: int, n_out: int, n_known: int) -> None:
        super().__init__()
        self.norm_first, self.norm_second = nn.GroupNorm(4, n_in), nn.GroupNorm(4, n_out)
        self.first = nn.Conv1d(n_in, n_out, 3, padding=1)
        self.second = nn.Conv1d(n_out, n_out, 3, padding=1)
        self.tell = nn.Linear(n_known, n_out)
        self.skip = nn.Conv1d(n_in, n_out, 1) if n_in != n_out else nn.Identity()

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        change = self.first(F.silu(self.norm_first(x))) + self.tell(F.silu(known))[:, :, None]
        result: Tensor = self.skip(x) + self.second(F.silu(self.norm_second(change)))
        return result


class _TransformerStage(nn.Module):
    """Self-attention over the positions of a block, then cross-attention to the words."""

    def __init__(self, n_channels: int, context_width: int) -> None:
        super().__init__()
        self.between = Attention(n_channels, 4)
        self.to_words = Attention(n_channels, 4, context_width=context_width)
        self.forward_layer = FeedForward(n_channels, growth=2)

    def forward(self, x: Tensor, context: Tensor, bias: Tensor) -> Tensor:
        tokens = x.transpose(1, 2)  # (batch * n_blocks, places, channels)
        tokens = tokens + self.between(tokens)
        # All blocks of a row share one context, so they query it as one long sequence.
        joined = tokens.reshape(len(context), -1, tokens.shape[2])  # (batch, n_blocks * places, channels)
        tokens = (joined + self.to_words(joined, context, bias)).view_as(tokens)
        tokens = tokens + self.forward_layer(tokens)
        return tokens.transpose(1, 2)
