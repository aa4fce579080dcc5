"""The denoiser of pairs: refines an adapter by the loss that it has on example pairs, in a few passes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from initzoo.generator.encoders import ENCODERS, Context
from initzoo.generator.layers import Attention, FeedForward, draw_normal
from initzoo.generator.shape import DenoiserShape

__all__ = ["PairDenoiser", "PairView"]

_N_PASSES = 3
_N_FACTS = 3
_LEAST = 1e-12


@dataclass(frozen=True, eq=False)
class PairView:
    """What a pass sees of the pairs.

    Args:
        gradient: of the mean absolute error on the pairs with respect to the residuals, shape
            `(batch, n_blocks, block_size)`.
        loss: the error itself, shape `(batch,)`.
        tokens: result of `PairDenoiser.read`, shape `(batch, n_tokens, width)`.
        bias: of the attention scores of these tokens, shape `(batch, 1, 1, n_tokens)`.
    """

    gradient: Tensor
    loss: Tensor
    tokens: Tensor
    bias: Tensor


class PairDenoiser(nn.Module):
    """Predicts better adapters from current ones, the gradient of their error on pairs, the pairs and words.

    As in the joint denoiser a block is a token, which attends to the other blocks and to the context. It
    starts from its current values and from the gradient of its values, scaled to unit size, so that the
    direction counts and not the contrast of the photos. The context are the words and a token per pair.

    Args:
        shape: sizes, as those of a joint denoiser.

    Source:
        Learned optimization by unrolled gradient descent, Andrychowicz et al. (2016), arXiv:1606.04474.

    Example:
        >>> shape = DenoiserShape(n_blocks=2, block_size=8, n_word_values=4, width=24)
        >>> denoiser = PairDenoiser(shape)
        >>> pairs, blocks = torch.zeros(3, 5, 2, 3, 32, 32), torch.zeros(3, 2, 8)
        >>> context = Context(torch.zeros(3, 5, 4), torch.ones(3, 5, dtype=torch.bool))
        >>> tokens, bias = denoiser.read(pairs, torch.ones(3, 5, dtype=torch.bool), context)
        >>> denoiser(blocks, PairView(blocks, torch.ones(3), tokens, bias), 0).shape
        torch.Size([3, 2, 8])
    """

    def __init__(self, shape: DenoiserShape) -> None:
        super().__init__()
        self.shape = shape
        width, per_block = shape.width, (shape.n_blocks, shape.block_size)
        self.words = ENCODERS[shape.encoder].reader(shape)
        self.pairs = PairReader(width)
        spread = 1 / math.sqrt(shape.block_size)
        self.enter = nn.Parameter(draw_normal(*per_block, width, scale=spread))
        self.enter_gradient = nn.Parameter(draw_normal(*per_block, width, scale=spread))
        # The gradient enters as it is and as its signed square root, in which small values count, too.
        self.gates = nn.Parameter(torch.full((2, *per_block), 0.7))
        self.facts = nn.Linear(_N_FACTS, width)
        self.passes = nn.Parameter(draw_normal(_N_PASSES, width))
        self.places = nn.Parameter(draw_normal(shape.n_blocks, width))
        self.between = nn.ModuleList(Attention(width, shape.n_heads) for _ in range(shape.n_layers))
        self.to_context = nn.ModuleList(Attention(width, shape.n_heads) for _ in range(shape.n_layers))
        self.forwards = nn.ModuleList(FeedForward(width) for _ in range(shape.n_layers))
        self.norm = nn.LayerNorm(width)
        # Zeros at first: an untrained denoiser leaves the adapter as it is.
        self.leave = nn.Parameter(torch.zeros(shape.n_blocks, width, shape.block_size))

    @property
    def n_passes(self) -> int:
        """Number of passes that it is trained for."""
        return len(self.passes)

    def read(self, pairs: Tensor, mask: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Read pairs and words, which all passes see.

        Args:
            pairs: before and after, values -1 to 1, shape `(batch, n_pairs, 2, 3, size, size)`.
            mask: which pairs there are, bool, shape `(batch, n_pairs)`.
            context: the words.

        Returns:
            Tokens, shape `(batch, n_tokens, width)`, and the bias of their attention scores.
        """
        words, bias = self.words(context)
        seen = self.pairs(pairs)
        of_pairs = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, -1e4)
        return torch.cat([words, seen], dim=1), torch.cat([bias, of_pairs[:, None, None]], dim=3)

    def forward(self, residuals: Tensor, view: PairView, number: int) -> Tensor:
        """Predict better residuals.

        Args:
            residuals: current ones, shape `(batch, n_blocks, block_size)`.
            view: the pairs as they look with these.
            number: number of the pass, from 0.
        """
        entered = _by_block(residuals, self.enter)
        sizes = view.gradient.square().mean(dim=2).add(_LEAST).sqrt()  # (batch, n_blocks)
        direction = view.gradient / sizes[:, :, None]
        roots = direction.sign() * direction.abs().add(_LEAST).sqrt()
        entered = entered + _by_block(self.gates[0] * direction + self.gates[1] * roots, self.enter_gradient)
        overall = sizes.square().mean(dim=1, keepdim=True).sqrt()
        loss = view.loss[:, None].clamp_min(1e-4)
        # Logarithms of the gradient's size in this block and in all, and of the error: three facts a block.
        facts = [
            (sizes / overall).log(),
            (overall / loss).log().expand_as(sizes),
            loss.log().expand_as(sizes),
        ]
        tokens = entered + self.places + self.passes[number] + self.facts(torch.stack(facts, dim=2))
        for between, to_context, forward in zip(self.between, self.to_context, self.forwards, strict=True):
            tokens = tokens + between(tokens)
            tokens = tokens + to_context(tokens, view.tokens, view.bias)
            tokens = tokens + forward(tokens)
        return residuals + _by_block(self.norm(tokens), self.leave)


class PairReader(nn.Module):
    """Turns each pair into a token: a small convolution over photo and change, then mean and spread."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = (6, 48, 96, width)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(n_in, n_out, 3, stride=2, padding=1) for n_in, n_out in pairwise(sizes)
        )
        self.join = nn.Linear(2 * width, width)

    def forward(self, pairs: Tensor) -> Tensor:
        """Tokens of pairs of shape `(batch, n_pairs, 2, 3, size, size)`: `(batch, n_pairs, width)`."""
        batch, n_pairs = pairs.shape[:2]
        before, after = pairs.flatten(0, 1).unbind(1)
        x = torch.cat([before, after - before], dim=1)
        for convolution in self.convolutions:
            x = F.silu(convolution(x))
        mean = x.mean(dim=(2, 3))
        spread = (x - mean[:, :, None, None]).square().mean(dim=(2, 3)).add(1e-6).sqrt()
        return self.join(torch.cat([mean, spread], dim=1)).view(batch, n_pairs, -1)


def _by_block(x: Tensor, weights: Tensor) -> Tensor:
    """Apply to each block its own matrix: `(batch, n_blocks, n)` by `(n_blocks, n, m)`."""
    return torch.bmm(x.transpose(0, 1), weights).transpose(0, 1)
