"""A request: the words, example pairs and seed from which weights are made."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, Unpack

from initzoo.checkpoints import check_draw

if TYPE_CHECKING:
    from initzoo.pairs import Pair

__all__ = ["ORIGINS", "Request", "RequestOptions", "as_request", "check_seconds"]

MAX_SECONDS = 3600.0
"""Maximum work of a fit to pairs, in seconds of one core."""

ORIGINS = ("exact", "matched", "generated")
"""The origins that a request can demand."""


@dataclass(frozen=True)
class Request:
    """Everything that determines the weights that a zoo returns.

    Equal requests give equal weights at any time on one kind of processor. On another kind, generated weights
    may differ slightly, since the phrase encoder computes in int8, and weights that are fitted to pairs may
    differ in their last digits.

    Args:
        words: concept id, a wording of a concept, or other words for an edit.
        pairs: example pairs of the edit. The weights are fitted to them.
        seed: seed of the noise of generated weights, 0 to 2**63 - 1.
        n_timesteps: number of denoising steps of generated weights, 1 to 1000.
        origin: `exact` to accept only a checkpoint with that id or wording, `matched` to take the checkpoint
            nearest by meaning, `generated` to generate in any case; None to let the zoo choose. With pairs,
            None fits, `generated` is for a weight generator that reads pairs, and the others are refused,
            since a checkpoint is found by words.
        seconds: work of a fit to pairs, in seconds of one core, above 0 and at most 3600. It is counted with
            a table of costs and not timed, so that it always means the same steps.

    Raises:
        TypeError: words are not a text, seed or timesteps are not integers, or seconds are not a number.
        ValueError: seed, timesteps, seconds or origin are out of range.

    Example:
        >>> Request("pencil sketch", seed=3)
        Request(words='pencil sketch', pairs=(), seed=3, n_timesteps=1, origin=None, seconds=1.0)
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
    seconds: float = 1.0

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
        object.__setattr__(self, "seconds", check_seconds(self.seconds))


class RequestOptions(TypedDict, total=False):
    """The fields of a `Request` besides its words, for functions that take words and options."""

    pairs: tuple[Pair, ...]
    seed: int
    n_timesteps: int
    origin: str | None
    seconds: float


def check_seconds(seconds: float) -> float:
    """Check the work of a fit.

    Raises:
        TypeError: it is not a number.
        ValueError: it is not above 0, or above `MAX_SECONDS`.

    Example:
        >>> check_seconds(0)
        Traceback (most recent call last):
            ...
        ValueError: seconds must be above 0 and at most 3600, found 0
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"seconds must be a number, found {seconds!r}")
    if not 0 < seconds <= MAX_SECONDS:  # also refuses NaN
        raise ValueError(f"seconds must be above 0 and at most {MAX_SECONDS:.0f}, found {seconds}")
    return float(seconds)


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
