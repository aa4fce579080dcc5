"""A request: the words, example pairs and seed from which weights are made."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, Unpack

from initzoo.checkpoints import check_draw

if TYPE_CHECKING:
    from initzoo.pairs import Pair

__all__ = ["ORIGINS", "Request", "RequestOptions", "as_request"]

ORIGINS = ("exact", "matched", "generated")
"""The origins that a request can demand."""


@dataclass(frozen=True)
class Request:
    """Everything that determines the weights that a zoo returns.

    Equal requests give equal weights, at any time and on any machine.

    Args:
        words: concept id, a wording of a concept, or other words for an edit.
        pairs: example pairs of the edit. A weight generator that reads words alone, or a checkpoint that is
            found by words, refuses them instead of ignoring them.
        seed: seed of the noise of generated weights, 0 to 2**63 - 1.
        n_timesteps: number of denoising steps of generated weights, 1 to 1000.
        origin: `exact` to accept only a checkpoint with that id or wording, `matched` to take the checkpoint
            nearest by meaning, `generated` to generate in any case; None to let the zoo choose.

    Raises:
        TypeError: words are not a text, or seed or timesteps are not integers.
        ValueError: seed, timesteps or origin are out of range.

    Example:
        >>> Request("pencil sketch", seed=3)
        Request(words='pencil sketch', pairs=(), seed=3, n_timesteps=1, origin=None)
        >>> Request("pencil sketch", origin="both")
        Traceback (most recent call last):
            ...
        ValueError: origin must be exact, matched, generated or None, found 'both'
    """

    words: str = ""
    pairs: tuple[Pair, ...] = ()
    seed: int = 0
    n_timesteps: int = 1
    origin: str | None = None

    @property
    def conditions(self) -> str:
        """The conditions of the request in words, for messages and the source of generated weights.

        Example:
            >>> Request("night").conditions, Request(pairs=("a pair",)).conditions
            ('the words', '1 example pair')
        """
        n_pairs = f"{len(self.pairs)} example {'pair' if len(self.pairs) == 1 else 'pairs'}"
        if not self.pairs:
            return "the words"
        return f"the words and {n_pairs}" if self.words else n_pairs

    def __post_init__(self) -> None:
        if not isinstance(self.words, str):
            raise TypeError(f"words must be a text, found {type(self.words).__name__}")
        check_draw(seed=self.seed, n_timesteps=self.n_timesteps)
        if self.origin not in (None, *ORIGINS):
            raise ValueError(f"origin must be {', '.join(ORIGINS)} or None, found {self.origin!r}")
        # Normalise integer types and sequences, so that equal requests are equal dictionary keys.
        object.__setattr__(self, "seed", operator.index(self.seed))
        object.__setattr__(self, "n_timesteps", operator.index(self.n_timesteps))
        object.__setattr__(self, "pairs", tuple(self.pairs))


class RequestOptions(TypedDict, total=False):
    """The fields of a `Request` besides its words, for functions that take words and options."""

    pairs: tuple[Pair, ...]
    seed: int
    n_timesteps: int
    origin: str | None


def as_request(request: Request | str, **options: Unpack[RequestOptions]) -> Request:
    """Make a request from words and options; return a request unchanged.

    Args:
        request: a request, or its words.
        options: fields of the request besides its words; allowed only if `request` is a string.

    Raises:
        TypeError: options are given with a request, or a value has the wrong type.
        ValueError: a value is out of range.

    Example:
        >>> as_request("night", seed=2) == Request("night", seed=2)
        True
        >>> as_request(Request("night"), seed=2)
        Traceback (most recent call last):
            ...
        TypeError: seed is part of the request: Request(words, seed=...)
    """
    if not isinstance(request, Request):
        return Request(request, **options)
    if options:
        name = next(iter(options))
        raise TypeError(f"{name} is part of the request: Request(words, {name}=...)")
    return request
