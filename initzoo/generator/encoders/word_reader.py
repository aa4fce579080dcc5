"""The layers of a denoiser that read words."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from initzoo.generator.encoders.encoder import Context
from initzoo.generator.layers import Attention, FeedForward, draw_normal
from initzoo.generator.shape import DenoiserShape

__all__ = ["WordReader"]


class WordReader(nn.Module):
    """A small transformer over a wording, which gives static token vectors order and context.

    Static vectors cover every word, but words for different edits can be close to each other. Each token of
    the training's wordings therefore has a learned vector as well, of the width of the network. The vector of
    the whole phrase and the colours that it names are further tokens, for a shape that has them.
    """

    def __init__(self, shape: DenoiserShape) -> None:
        super().__init__()
        self.pooled = shape.pooled_words
        self.project = nn.Linear(shape.n_word_values, shape.width)
        self.learned = nn.Parameter(torch.zeros(shape.n_learned, shape.width)) if shape.n_learned else None
        self.phrase = nn.Linear(shape.n_phrase_values, shape.width) if shape.n_phrase_values else None
        self.colours = nn.Linear(shape.n_colour_values, shape.width) if shape.n_colour_values else None
        self.places = nn.Parameter(draw_normal(shape.max_tokens + 1, shape.width, scale=0.3))
        self.attentions = nn.ModuleList(
            Attention(shape.width, shape.n_heads) for _ in range(shape.n_word_layers)
        )
        self.forwards = nn.ModuleList(FeedForward(shape.width) for _ in range(shape.n_word_layers))
        self.norm = nn.LayerNorm(shape.width)

    def forward(self, context: Context) -> tuple[Tensor, Tensor]:
        """Encode wordings.

        An extra first token stands before each wording, so that attention never sees an empty row.

        Returns:
            Tokens, shape `(batch, 1 + n_tokens + n_further, width)`, and the bias of the attention scores,
            shape `(batch, 1, 1, 1 + n_tokens + n_further)`; further tokens are the phrase and the colours.
        """
        tokens, mask = self.project(context.vectors), context.mask
        if self.learned is not None and context.learned is not None:
            tokens = tokens + F.embedding(context.learned, F.pad(self.learned, (0, 0, 1, 0)))
        if self.pooled:
            tokens, mask = _pool(tokens, mask)
        tokens = F.pad(tokens, (0, 0, 1, 0)) + self.places[: 1 + tokens.shape[1]]
        tokens, mask = self._with_further(tokens, mask, context)
        batch, n_tokens = mask.shape
        bias = torch.zeros(batch, 1, 1, 1 + n_tokens, device=mask.device)
        bias[:, 0, 0, 1:].masked_fill_(~mask, -1e4)
        for attention, forward in zip(self.attentions, self.forwards, strict=True):
            tokens = tokens + attention(tokens, bias=bias)
            tokens = tokens + forward(tokens)
        return self.norm(tokens), bias

    def _with_further(self, tokens: Tensor, mask: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Append the tokens of the phrase and its colours. They have no place, so that words keep theirs.

        A row without words is unconditional, and gets none of them.
        """
        has_words = context.mask.any(dim=1, keepdim=True)
        if self.phrase is not None and context.phrase is not None:
            is_read = ~context.phrase.isnan().any(dim=1, keepdim=True)
            tokens = torch.cat([tokens, self.phrase(context.phrase.nan_to_num())[:, None]], dim=1)
            mask = torch.cat([mask, is_read & has_words], dim=1)
        if self.colours is not None and context.colours is not None:
            is_there = ~context.colours.isnan().any(dim=2)
            tokens = torch.cat([tokens, self.colours(context.colours.nan_to_num())], dim=1)
            mask = torch.cat([mask, is_there & has_words], dim=1)
        return tokens, mask


def _pool(tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Replace each wording by the mean of its tokens."""
    weights = mask[:, :, None].to(tokens.dtype)
    mean = (tokens * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp_min(1)
    return mean, mask.any(dim=1, keepdim=True)
