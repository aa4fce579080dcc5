"""Colours in words: names of colours and `#hex` values, as CIE Lab.

The names are those of the list `color-name-list` (MIT, see `catalog/colours/LICENSE`), some thirty thousand.
Sentence encoders hardly know colours, so the values go to the weight generator beside the words.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidZoo
from initzoo.files import DamagedFile, read_file, reported_as
from initzoo.pairs import catalog_folder, normalise_words

__all__ = [
    "Colour",
    "colour_difference",
    "colour_names",
    "find_colours",
    "lab_of",
    "lab_values",
    "names_near",
]

_MAX_BYTES = 2**23
_MAX_NAME = 5  # words of a name
_BETWEEN = re.compile(r"[,;:.()/|+\u3001\u3002]")  # no name of a colour goes across
_HEX = re.compile(r"#([0-9a-fA-F]{6}|[0-9a-fA-F]{3})(?![0-9a-zA-Z])")
_LINEAR_TO_XYZ = np.array(  # sRGB, D65: IEC 61966-2-1
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_LAB_CENTRE, _LAB_SCALE = np.array([[50, 0, 0], [50, 100, 100]], dtype=np.float32)
_WHITE = np.array([0.95047, 1.0, 1.08883])


@dataclass(frozen=True)
class Colour:
    """A colour that words mention.

    Args:
        name: the words that name it.
        hex: its value, e.g. `#118a8a`.
        is_plain: whether it is a plain name of a colour or a `#hex` value. The long list also holds words
            that mean other things, such as names of places and moods.
        index: index of the first of its words among the words of the text.
        n_words: number of its words.
    """

    name: str
    hex: str
    is_plain: bool
    index: int
    n_words: int

    @property
    def lab(self) -> tuple[float, float, float]:
        """CIE Lab values: lightness 0 to 100, then green to red and blue to yellow."""
        return lab_of(self.hex)


@lru_cache(maxsize=4096)
def lab_of(colour: str) -> tuple[float, float, float]:
    """Convert a colour such as `#118a8a` to CIE Lab (D65).

    Raises:
        ValueError: it is not `#` and six hex digits.

    Example:
        >>> [round(value) for value in lab_of("#ffffff")], [round(value) for value in lab_of("#ff0000")]
        ([100, 0, 0], [53, 80, 67])
    """
    if not re.fullmatch("#[0-9a-fA-F]{6}", colour):
        raise ValueError(f"expected a colour such as #118a8a, found {colour[:20]!r}")
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    scaled = _LINEAR_TO_XYZ @ linear / _WHITE
    roots = np.where(scaled > (6 / 29) ** 3, np.cbrt(scaled), scaled / (3 * (6 / 29) ** 2) + 4 / 29)
    return 116 * roots[1] - 16, 500 * (roots[0] - roots[1]), 200 * (roots[1] - roots[2])


def colour_difference(first: str, second: str) -> float:
    """The distance of two colours in CIE Lab; below 2.3 most people see no difference.

    Example:
        >>> round(colour_difference("#ff0000", "#ff0000"), 1), round(colour_difference("#000080", "#14254d"))
        (0.0, 54)
    """
    return float(np.linalg.norm(np.subtract(lab_of(first), lab_of(second))))


@cache
def colour_names() -> Mapping[str, str]:
    """The colours of the long list by name, as `normalise_words` writes it.

    Raises:
        InvalidZoo: the list is missing or damaged.

    Example:
        >>> colour_names()["scarlet"]
        '#ff2400'
    """
    path = catalog_folder() / "colours" / "names.tsv.gz"
    with reported_as(InvalidZoo, f"list of colours '{path}'", "Get initzoo again"):
        try:
            text = gzip.decompress(read_file(path, max_bytes=_MAX_BYTES)).decode("utf-8")
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            raise DamagedFile(f"cannot be read ({error})") from error
    # Names are stored as `normalise_words` writes them: to normalise thirty thousand is slow.
    rows = (line.partition("\t") for line in text.splitlines())
    return {name: f"#{value}" for name, _, value in rows}


def names_near(colour: str, distance: float) -> list[str]:
    """The names of the long list for colours within a distance in CIE Lab, in the list's order.

    Example:
        >>> "scarlet" in names_near("#ff2400", 1), "navy" in names_near("#ff2400", 1)
        (True, False)
    """
    names, labs = _long_list()
    near = np.linalg.norm(labs - np.array(lab_of(colour)), axis=1) < distance
    return [names[place] for place in np.flatnonzero(near)]


@cache
def _long_list() -> tuple[list[str], NDArray[np.float64]]:
    """The names of the long list, and their values in CIE Lab."""
    names = colour_names()
    return list(names), np.array([lab_of(value) for value in names.values()])


_NEGATING = frozenset({"too", "not", "no", "less"})
"""First words of names that people hardly mean: "too blue" is a complaint."""


def find_colours(words: str, plain: Mapping[str, str] | None = None) -> list[Colour]:
    """Find the colours that words name, in their order. The longest name wins.

    Args:
        words: any text.
        plain: further names with their values, which win over those of the long list.

    Example:
        >>> [(colour.name, colour.hex) for colour in find_colours("Dark red ink on #FFE")]
        [('dark red', '#840000'), ('#ffe', '#ffffee')]
        >>> [colour.is_plain for colour in find_colours("teal", {"teal": "#118a8a"})]
        [True]
    """
    found: list[Colour] = []
    n_before = 0
    for segment in _BETWEEN.split(_HEX.sub(lambda match: f" hexvalue{match[1]} ", words)):
        parts = normalise_words(segment).split()
        i = 0
        while i < len(parts):
            colour = _colour_at(parts, i, plain or {})
            if colour is not None:
                found.append(replace(colour, index=n_before + i))
            i += colour.n_words if colour is not None else 1
        n_before += len(parts)
    return found


def _colour_at(parts: Sequence[str], i: int, plain: Mapping[str, str]) -> Colour | None:
    """The colour that starts at a word."""
    digits = parts[i].removeprefix("hexvalue")
    if digits != parts[i] and _HEX.fullmatch(f"#{digits}"):
        full = digits if len(digits) == 6 else "".join(digit * 2 for digit in digits)
        return Colour(f"#{digits}", f"#{full}", True, i, 1)
    return _named(parts, i, plain) or _dense(parts[i], i, plain)


def _named(parts: Sequence[str], start: int, plain: Mapping[str, str]) -> Colour | None:
    """The longest name that starts at a word."""
    for n_words in range(min(_MAX_NAME, len(parts) - start), 0, -1):
        name = " ".join(parts[start : start + n_words])
        if name in plain:
            return Colour(name, plain[name], True, start, n_words)
        if name in colour_names() and parts[start] not in _NEGATING:
            ends_plain = n_words > 1 and parts[start + n_words - 1] in plain
            return Colour(name, colour_names()[name], ends_plain, start, n_words)
    return None


def _dense(part: str, index: int, plain: Mapping[str, str]) -> Colour | None:
    """The longest plain name inside a word of letters that no spaces part, as in Chinese and Japanese."""
    if max(part) <= "\u2fff":
        return None
    names = [name for name in plain if name in part and max(name) > "\u2fff"]
    name = max(names, key=len, default=None)
    return None if name is None else Colour(name, plain[name], True, index, 1)


def lab_values(words: str, plain: Mapping[str, str] | None = None, *, n_most: int = 3) -> NDArray[np.float32]:
    """The colours of words as a weight generator reads them: lightness and both opponents, about -1 to 1.

    Args:
        words: any text.
        plain: further names with their values, as for `find_colours`.
        n_most: the number of colours that are read, plain names first.

    Returns:
        float32, shape `(n_colours, 3)`, in the order of the words.

    Example:
        >>> lab_values("#ff0000 and #fff").shape, lab_values("sharper edges").shape
        ((2, 3), (0, 3))
    """
    found = find_colours(words, plain)
    chosen = sorted(
        sorted(found, key=lambda colour: not colour.is_plain)[:n_most], key=lambda colour: colour.index
    )
    labs = np.array([colour.lab for colour in chosen], dtype=np.float32).reshape(-1, 3)
    scaled: NDArray[np.float32] = np.asarray((labs - _LAB_CENTRE) / _LAB_SCALE, dtype=np.float32)
    return scaled
