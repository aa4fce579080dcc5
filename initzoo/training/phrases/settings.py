"""How a phrase encoder is trained."""

from __future__ import annotations

from dataclasses import dataclass

from initzoo.files import check_least

__all__ = ["PhraseSettings"]


@dataclass(frozen=True)
class PhraseSettings:
    """How a phrase encoder is trained.

    Args:
        epochs: passes over all examples.
        batch_size: examples per step.
        learning_rate: the highest learning rate; it rises at first and falls to zero at the end.
        gram_rate: factor of the learning rate for the vectors of letter groups, each of which few examples
            have.
        weight_decay: weight decay of AdamW; the vectors of letter groups have none.
        dropout: share of values that a step drops.
        count_weight: weight of the loss of the number of looks.
        share: share of the lexicon to train on.
        n_colours: draws of colours per phrase with placeholders.
        n_framed: examples of phrases in a sentence.
        n_misspelt: examples of misspelt phrases.
        n_joined: examples of several looks at once.
        n_without: examples of words that ask for no look.
        seed: seed of all draws.

    Raises:
        ValueError: a number is out of range.
    """

    epochs: int = 9
    batch_size: int = 256
    learning_rate: float = 3e-3
    gram_rate: float = 30.0
    weight_decay: float = 0.02
    dropout: float = 0.15
    count_weight: float = 0.3
    share: float = 1.0
    n_colours: int = 3
    n_framed: int = 12000
    n_misspelt: int = 9000
    n_joined: int = 24000
    n_without: int = 5000
    seed: int = 1

    def __post_init__(self) -> None:
        check_least(self, epochs=1, batch_size=1, seed=0)
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, found {self.share}")
