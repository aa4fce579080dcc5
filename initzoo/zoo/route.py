"""What a zoo answers to words. The router, which decides it, loads the phrase encoder; this does not."""

from __future__ import annotations

from dataclasses import dataclass

from initzoo.zoo.index import Match

__all__ = ["LIKELY", "MAYBE", "Route", "how_sure"]

LIKELY, MAYBE = 0.8, 0.5
"""Confidence from which a match is called likely, and maybe; below it is a guess."""


@dataclass(frozen=True)
class Route:
    """What a zoo answers to words, and why.

    Args:
        origin: `exact`, `matched` or `generated`.
        concept_id: the checkpoint; None for generated weights.
        confidence: probability that it is what the words mean, 1 for an exact answer; None for generated
            weights.
        reason: in a few words.
        nearest: the concepts nearest by meaning, the best first.
        strength: how strong the words ask for the look: 1 for as it is, less for "slightly", more for "very".
            It is 1, too, if the checkpoint itself is one of that degree.
    """

    origin: str
    concept_id: str | None
    confidence: float | None
    reason: str
    nearest: tuple[Match, ...] = ()
    strength: float = 1.0

    @property
    def sureness(self) -> str:
        """How sure the answer is, in words; empty for exact and generated ones."""
        return how_sure(self.confidence) if self.origin == "matched" and self.confidence is not None else ""


def how_sure(confidence: float) -> str:
    """Say a confidence in words.

    Example:
        >>> how_sure(0.9), how_sure(0.6), how_sure(0.3)
        ('likely', 'maybe', 'a guess')
    """
    return "likely" if confidence >= LIKELY else "maybe" if confidence >= MAYBE else "a guess"
