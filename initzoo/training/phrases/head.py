"""The trained part of the phrase encoder, in torch; `initzoo.generator.phrases` runs the same in NumPy."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from initzoo.generator import PhraseShape

__all__ = ["PhraseHead"]


class PhraseHead(nn.Module):
    """Token states and letter groups of a phrase -> its vector, its looks, and how many looks it asks for.

    One layer of attention over the token states gives the order of words its weight; the letter groups know
    names, misspelt words and other languages, which the sentence encoder splits into pieces without meaning.

    Args:
        shape: its sizes.
        dropout: share of values that training drops.
    """

    def __init__(self, shape: PhraseShape, *, dropout: float = 0.3) -> None:
        super().__init__()
        width = shape.width
        self.shape = shape
        self.project = nn.Linear(shape.n_states, width)
        self.norm_attention = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.norm_expand = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 2 * width)
        self.contract = nn.Linear(2 * width, width)
        self.weigh = nn.Linear(width, 1)
        self.grams = nn.EmbeddingBag(shape.n_buckets, shape.n_gram_values, mode="mean")
        self.gather = nn.Linear(2 * width + shape.n_states + shape.n_gram_values, shape.n_hidden)
        self.vector = nn.Linear(shape.n_hidden, shape.n_values)
        self.looks = nn.Linear(shape.n_values, shape.n_looks)
        self.counts = nn.Linear(shape.n_hidden, 4)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.grams.weight, std=0.3)

    def forward(
        self, states: Tensor, mask: Tensor, grams: Tensor, offsets: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Read a batch of phrases.

        Args:
            states: float32, shape `(n_phrases, n_tokens, n_states)`.
            mask: bool, whether there is a token, shape `(n_phrases, n_tokens)`.
            grams: the letter groups of all phrases, one after another.
            offsets: where those of each phrase begin.

        Returns:
            Vectors `(n_phrases, n_values)`, scores of looks `(n_phrases, n_looks)` and of counts
            `(n_phrases, 4)`.
        """
        n_phrases, n_tokens, _ = states.shape
        n_heads = self.shape.n_heads
        x = self.project(states)
        qkv = self.queries_keys_values(self.norm_attention(x))
        queries, keys, values = (
            part.view(n_phrases, n_tokens, n_heads, -1).transpose(1, 2) for part in qkv.chunk(3, -1)
        )
        mixed = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask[:, None, None, :]
        )
        x = x + self.attended(mixed.transpose(1, 2).reshape(n_phrases, n_tokens, -1))
        x = x + self.contract(functional.gelu(self.expand(self.norm_expand(x))))
        scores = self.weigh(x).squeeze(-1).masked_fill(~mask, -1e9)
        weighted = torch.einsum("bt,btw->bw", scores.softmax(-1), x)
        present = mask.float() / mask.sum(-1, keepdim=True)
        mean = torch.einsum("bt,btw->bw", present, x)
        mean_states = torch.einsum("bt,btw->bw", present, states)
        letters = self.grams(grams, offsets)
        gathered = self.dropout(torch.cat([weighted, mean, mean_states, letters], dim=-1))
        hidden = self.dropout(functional.gelu(self.gather(gathered)))
        vector = self.vector(hidden)
        return vector, self.looks(self.dropout(vector)), self.counts(hidden)
