"""The sizes of a denoiser."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DenoiserShape"]


@dataclass(frozen=True)
class DenoiserShape:
    """Sizes of a denoiser.

    Args:
        n_blocks: blocks per adapter.
        block_size: values per block.
        n_word_values: values per token vector.
        width: width of the network.
        n_word_layers: layers over the words.
        n_layers: layers over the blocks (the UNet has a fixed number).
        n_heads: attention heads.
        pooled_words: read the mean of the token vectors instead of the sequence.
        max_tokens: maximum number of tokens.
        n_learned: number of tokens with a learned vector, which is added to the projected static one.
        encoder: key in `ENCODERS` of the encoder whose context is read.
        n_phrase_values: values of the vector of a whole phrase, which is one more token; 0 for none.
        n_colour_values: values of each colour that the words name, a token each: 3 for CIE Lab, 0 for none.
        window: blocks that are read at once, in overlapping windows; 0 reads all blocks at once.
        n_projections: input and output projections of the joint denoiser, each shared by a run of adjacent
            blocks; 0 gives every block its own.
    """

    n_blocks: int
    block_size: int
    n_word_values: int
    width: int = 192
    n_word_layers: int = 1
    n_layers: int = 3
    n_heads: int = 6
    pooled_words: bool = False
    max_tokens: int = 64
    n_learned: int = 0
    encoder: str = "words"
    n_phrase_values: int = 0
    n_colour_values: int = 0
    window: int = 0
    n_projections: int = 0

    @property
    def overlap(self) -> int:
        """Blocks over which a prediction passes from one window to the next."""
        return self.window // 4
