"""A phrase as a whole, as a denoiser reads it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from initzoo.generator.phrases import PhraseEncoder

__all__ = ["N_COLOURS", "phrase_values"]

N_COLOURS = 3
"""Number of colours that are read in a phrase."""

_SPREAD = 8.0
"""Factor of the shares: one look then counts about as much as half of the vector's values."""


def phrase_values(text: PhraseEncoder, words: str, states: NDArray[np.float32]) -> NDArray[np.float32]:
    """The phrase as a whole: its vector, and the share of each look and of none, all of about unit size.

    Args:
        text: the phrase encoder.
        words: the phrase.
        states: its token states.

    Returns:
        float32, shape `(n_values + n_looks + 1,)`.
    """
    vector, scores, _ = text.run_head(states, words)
    powers = np.exp(scores - scores.max())
    shares = powers / powers.sum()
    # Square roots have unit length, however the shares are spread over several looks.
    values: NDArray[np.float32] = np.concatenate(
        [vector / np.sqrt(np.mean(vector**2)), _SPREAD * shares**0.5]
    )
    return values.astype(np.float32)
