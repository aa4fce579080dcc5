"""The sizes of the phrase encoder."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PhraseShape"]


@dataclass(frozen=True)
class PhraseShape:
    """The sizes of the trained part of a phrase encoder.

    Args:
        n_looks: number of looks, and one for words that ask for none.
        n_states: values of each token state of the sentence encoder.
        width: values of each token in the attention layer.
        n_heads: heads of the attention layer; they divide `width`.
        n_buckets: number of vectors for hashed letter groups.
        n_gram_values: values of each of these vectors.
        n_hidden: values of the hidden layer.
        n_values: values of a phrase's vector.
    """

    n_looks: int
    n_states: int = 384
    width: int = 64
    n_heads: int = 4
    n_buckets: int = 2**14
    n_gram_values: int = 64
    n_hidden: int = 384
    n_values: int = 256
