"""Example pairs of an edit: their choice, their checks, and notes on odd ones."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidPairs
from initzoo.pairs.folders import Pair
from initzoo.pairs.halves import likeness
from initzoo.pairs.opencv import fit_short_side
from initzoo.pairs.photos import TEACHING_SIDE

__all__ = [
    "MAX_EXAMPLES",
    "check_edited",
    "choose_examples",
    "digest_examples",
    "note_on_rest",
    "notes_on_examples",
    "prepare_examples",
]

Pixels = NDArray[np.uint8]

MAX_EXAMPLES = 64
"""Maximum number of pairs that are looked at; of more, so many are taken, evenly spaced."""

_SAME = 1.0
"""Mean difference, in grey levels, up to which two images count as the same."""


_MUCH_LEFT = 0.6
"""Share of the squared change that is left, from which on pairs look like no single edit."""

_MOST_COMPARED, _UNLIKE = 16, 0.12
"""Pairs whose edges are compared, and the correlation below which they are of different things: that of two
photos is at most 0.1, that of before and after at least 0.17 for 336 looks of the zoo."""


def choose_examples(n_pairs: int) -> list[int]:
    """The numbers of the pairs that are looked at: all, or `MAX_EXAMPLES` of them, evenly spaced.

    Example:
        >>> choose_examples(3), len(choose_examples(2000)), choose_examples(2000)[:3]
        ([0, 1, 2], 64, [0, 31, 62])
    """
    count = min(n_pairs, MAX_EXAMPLES)
    return [n_pairs * number // count for number in range(count)]


def prepare_examples(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """Choose, check and shrink example pairs, so that a look of the zoo can be fitted to them.

    Args:
        pairs: the pairs, at least one.

    Returns:
        At most `MAX_EXAMPLES` pairs with a shorter side of at most `TEACHING_SIDE` pixels.

    Raises:
        InvalidPairs: there are no pairs, the sides of one have different sizes or are too small, or before
            and after are the same in all of them.
        TypeError: a pair is not a `Pair` of uint8 RGB images.

    Example:
        >>> photo = np.zeros((300, 600, 3), np.uint8)
        >>> prepare_examples([Pair("one", photo, 255 - photo)])[0].given.shape
        (256, 512, 3)
        >>> prepare_examples([Pair("one", photo, photo)])
        Traceback (most recent call last):
            ...
        initzoo.errors.InvalidPairs: before and after are the same image in the only pair, ...
    """
    if not pairs:
        raise InvalidPairs("found no example pairs. Add at least one")
    chosen = [pairs[number] for number in choose_examples(len(pairs))]
    for pair in chosen:
        if not isinstance(pair, Pair):
            raise TypeError(f"expected example pairs of class Pair, found {type(pair).__name__}")
        for image in (pair.given, pair.wanted):
            if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,):
                shape = getattr(image, "shape", ())
                raise TypeError(
                    f"pair '{pair.name}': expected uint8 (height, width, 3), "
                    f"found {getattr(image, 'dtype', type(image).__name__)} {shape}"
                )
        pair.check()
    check_edited(chosen)
    return tuple(_shrunk(pair) for pair in chosen)


def check_edited(pairs: Sequence[Pair]) -> None:
    """Check that before and after differ in a pair.

    Raises:
        InvalidPairs: they are the same image in all of them.
    """
    if all(_distance(pair.given, pair.wanted) == 0 for pair in pairs):
        which = "the only pair" if len(pairs) == 1 else f"all {len(pairs)} pairs"
        raise InvalidPairs(
            f"before and after are the same image in {which}, so there is no edit to fit. Give pairs whose "
            "second image is edited"
        )


def digest_examples(pairs: Sequence[Pair]) -> str:
    """64 hex digits that change if any pixel or the order of the pairs changes; names do not matter."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(f"{pair.given.shape} ".encode())
        for image in (pair.given, pair.wanted):
            digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def note_on_rest(left: float, *, after: str) -> str:
    """Say that pairs look like no single edit, if much of the change is left; empty otherwise.

    Args:
        left: squared error that is left, as a share of that of the unedited images.
        after: what was done to lower it, e.g. `fit`.

    Example:
        >>> note_on_rest(0.9, after="fit")[-39:]
        '90% of the change is left after the fit'
        >>> note_on_rest(0.1, after="fit")
        ''
    """
    if left <= _MUCH_LEFT:
        return ""
    return (
        "they look like no single edit, or one that this network cannot make: "
        f"{left:.0%} of the change is left after the {after}"
    )


def notes_on_examples(pairs: Sequence[Pair], *, reach: int = 0) -> tuple[str, ...]:
    """Say what is odd about example pairs, apart from how well an edit can be fitted to them.

    Args:
        pairs: result of `prepare_examples`.
        reach: distance over which a pixel has influence in the network that is fitted.

    Returns:
        Notes, each a clause; empty if nothing is odd.

    Example:
        >>> grey = np.full((64, 64, 3), 90, np.uint8)
        >>> notes_on_examples([Pair("one", grey, grey + 9), Pair("two", grey, 255 - grey)])
        ("pairs 'one' and 'two' have the same before and different afters",
         'the before images are all grey, so the edit of colours is a guess')
    """
    notes = []
    same = [pair.name for pair in pairs if _distance(pair.given, pair.wanted) == 0]
    if same:
        notes.append(f"before and after are the same image in {len(same)} of {len(pairs)} pairs")
    compared = pairs[:: math.ceil(len(pairs) / _MOST_COMPARED)]
    alike = [likeness(pair.given, pair.wanted) for pair in compared]
    n_others = sum(value is not None and value < _UNLIKE for value in alike)
    if n_others:
        of = f"{n_others} of {len(compared)}" if len(compared) > 1 else "the only one"
        notes.append(f"before and after seem to show different things in {of}")
    by_given: dict[bytes, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_given[hashlib.sha256(np.ascontiguousarray(pair.given).data).digest()].append(pair)
    for first, *others in by_given.values():
        other = next((pair for pair in others if _distance(first.wanted, pair.wanted) > _SAME), None)
        if other is not None:
            notes.append(f"pairs '{first.name}' and '{other.name}' have the same before and different afters")
            break
    if all(_is_grey(pair.given) for pair in pairs):
        notes.append("the before images are all grey, so the edit of colours is a guess")
    smallest = min(min(pair.given.shape[:2]) for pair in pairs)
    if smallest < reach:
        notes.append(
            f"a pair is {smallest} pixels on its shorter side, less than the {reach} that the network sees "
            "at once, so edits of larger structures are a guess"
        )
    return tuple(notes)


def _shrunk(pair: Pair) -> Pair:
    if min(pair.given.shape[:2]) <= TEACHING_SIDE:
        return pair
    given, wanted = (fit_short_side(image, TEACHING_SIDE) for image in (pair.given, pair.wanted))
    return replace(pair, given=given, wanted=wanted)


def _distance(one: Pixels, other: Pixels) -> float:
    """Mean difference in grey levels; infinite for images of different sizes."""
    if one.shape != other.shape:
        return float("inf")
    return float(np.abs(one.astype(np.int16) - other).mean())


def _is_grey(image: Pixels) -> bool:
    values = image.astype(np.int16)
    return bool((values.max(axis=2) - values.min(axis=2)).max() <= 2)
