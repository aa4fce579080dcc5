"""The service behind the page: previews, files, neighbours and lists of one open zoo."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from initzoo.checkpoints import Init, blend_inits
from initzoo.demo.requests import MAX_WORDS, Look, read_choice, read_text
from initzoo.demo.texts import file_name
from initzoo.demo.thumbnails import Thumbnails, thumbnail_folder, thumbnail_of
from initzoo.demo.turns import Turns
from initzoo.errors import (
    InitzooError,
    InvalidConcepts,
    InvalidWords,
    InvalidZoo,
    TeacherError,
    UnknownConcept,
)
from initzoo.generator import Request
from initzoo.networks import MAX_STRENGTH
from initzoo.pairs import (
    Photo,
    alphabets_of,
    catalog_folder,
    example_pair,
    load_photos,
    parse_teacher,
)
from initzoo.zoo import IndexRow, Match, Zoo

__all__ = ["FORMS", "N_AT_ONCE", "N_WAITING", "Listed", "Listing", "Studio"]

Pixels = NDArray[np.uint8]

FORMS = ("merged", "adapter")
"""The forms in which an init can be downloaded; all are safetensors files."""

N_AT_ONCE = 2
"""Number of pictures computed at the same time: one per core of a small machine."""

N_WAITING = 40
"""Number of pictures that may wait; who asks for more is told to come back."""

_FIRST = "watercolour"
_TRIES = (
    *("watercolour", "pencil sketch", "charcoal at dusk", "cartoon", "neon edges at night"),
    *("comic", "oil painting", "remove haze"),
)
_N_TRIES = 8
_EXAMPLES = ("chelsea", "coffee", "flower", "rocket", "astronaut", "china")
_MAX_LISTED = 20_000
_PAGE = 36
_N_KEPT = 64
_ALIKE = 0.5
"""Similarity from which on words are taken to mean the nearest concept."""


@dataclass(frozen=True)
class Listed:
    """An entry in a list of concepts."""

    concept_id: str
    prompt: str
    family: str
    licence: str
    split: str
    psnr: float | None


@dataclass(frozen=True)
class Listing:
    """A page of a list.

    Args:
        concepts: the concepts on the page.
        n_found: number of concepts on all pages.
        page: number of the page, from 1.
        n_pages: number of pages, at least 1.
    """

    concepts: tuple[Listed, ...]
    n_found: int
    page: int
    n_pages: int


class Studio:
    """An open zoo, loaded once and shared by all visitors. It stores nothing about them.

    Thread-safe. Equal arguments always give equal results.

    Args:
        zoo: the zoo.
        thumbnails: thumbnails of this zoo; by default they are drawn on demand.

    Not more than `N_AT_ONCE` threads compute pictures at a time. Refusals, searches and lists do not wait for
    them.

    Example:
        >>> studio = Studio(Zoo.from_pretrained("starter"), None)
        >>> studio.init_of(Request("pencil sketch")).metadata.origin
        'exact'
        >>> studio.browse(family="restoration").concepts[0].family
        'restoration'
    """

    def __init__(self, zoo: Zoo, thumbnails: Thumbnails | None) -> None:
        self.zoo = zoo
        self.thumbnails = thumbnails
        self.examples: list[Photo] = _load_examples()
        self.turns = Turns(N_AT_ONCE, N_WAITING)
        self._lock = Lock()  # guards the index, which decodes its tables on first use
        self._listed = self._list_all()
        self._inits: Callable[[Request], Init] = lru_cache(maxsize=_N_KEPT)(self._pull)
        self._strengths: Callable[[Request], float] = lru_cache(maxsize=512)(self._ask_strength)
        self._fits: dict[Hashable, Init] = {}
        self._matches: Callable[[str, int], tuple[Match, ...]] = lru_cache(maxsize=512)(self._search)
        self._drawn: Callable[[str], Pixels] = lru_cache(maxsize=512)(self._draw)

    @classmethod
    def open(cls, name: str) -> tuple[Studio, str]:
        """Open a zoo by name, load all that requests need, and edit a first picture.

        Returns:
            The studio, and a line about missing or outdated thumbnails; empty if they are fine.

        Raises:
            UnknownZoo, AccessDenied, HubUnavailable, InvalidZoo, InvalidGenerator, ChecksumMismatch,
            LayoutMismatch: as for `Zoo.from_pretrained` and `Zoo.pull`.
        """
        zoo = Zoo.from_pretrained(name)
        thumbnails, note = _find_thumbnails(zoo)
        studio = cls(zoo, thumbnails)
        studio.warm_up()
        return studio, note

    def warm_up(self) -> None:
        """Do the work that the first request would wait for."""
        with self._lock:
            _ = self.zoo.index.alphabets  # decoded once, since generating reads it without the lock
        # The weight generator of a tiny zoo may not know the words; requests report that.
        with suppress(InvalidWords, UnknownConcept):
            request = Request(self.first)
            if self.zoo.has_generator:
                request = replace(request, origin="generated")
            self.edit(self.init_of(request), np.zeros((64, 64, 3), np.uint8))
        self.nearest(self.first, 8)

    @property
    def first(self) -> str:
        """The words of the look that the page opens with."""
        return _FIRST if self.zoo.holds(_FIRST) or not self._listed else self._listed[0].prompt

    @cached_property
    def tries(self) -> tuple[str, ...]:
        """Words of looks to begin with. All of them give a picture."""
        words = [self.first, *(words for words in _TRIES if words != self.first and self._is_known(words))]
        return tuple(words[:_N_TRIES])

    def init_of(self, request: Request) -> Init:
        """Return the merged init of a request.

        Raises:
            UnknownConcept, InvalidWords, InvalidGenerator, ChecksumMismatch, InvalidZoo, LayoutMismatch:
            as for `Zoo.pull`.
            Busy: too many requests wait already.
        """
        with self._lock:
            self.zoo.plan(request)  # refuses what the zoo does not hold, before it waits for a turn
            is_foreign = bool(alphabets_of(request.words) - self.zoo.index.alphabets)
        if is_foreign:
            return self._inits(request)
        with self.turns.take():
            return self._inits(request)

    def init_of_look(self, look: Look) -> Init:
        """Return the merged init of a look of words, which may be a mix of two.

        Raises:
            UnknownConcept, InvalidWords, InvalidGenerator, InvalidZoo, Busy: as for `init_of`.
        """
        if look.other is None:
            return self.init_of(look.request)
        return self.blend(look.request, look.other, look.share)

    def fit(self, key: Hashable, make_request: Callable[[], Request]) -> Init:
        """Return the merged init that is fitted to the pairs of a request, made once per key.

        Args:
            key: identifies words and pairs.
            make_request: returns the request, whose photos are read only if the key is new.

        Raises:
            InvalidPairs: a pair has sides of different sizes, or no pair has a change.
            InvalidWords, InvalidGenerator, InvalidZoo, Busy: as for `init_of`.
        """
        with self._lock:
            known = self._fits.get(key)
        if known is None:
            request = make_request()
            with self.turns.take():
                known = self.zoo.pull(request, warn=False)
            with self._lock:
                self._fits[key] = known
                while len(self._fits) > _N_KEPT:
                    del self._fits[next(iter(self._fits))]
        return known

    def strength_asked(self, look: Look) -> float:
        """The strength that words of degree ask for, such as "a hint of"; 1 for pairs and mixes."""
        return 1.0 if look.pairs or look.other is not None else self._strengths(look.request)

    def strength_of(self, look: Look) -> float:
        """The strength of a look's picture: what the words ask for, times what the visitor chose.

        Raises:
            UnknownConcept, InvalidWords, InvalidGenerator, InvalidZoo: as for `init_of`.
        """
        return min(MAX_STRENGTH, round(look.strength * self.strength_asked(look), 4))

    def edit(self, init: Init, pixels: Pixels, *, strength: float = 1.0) -> Pixels:
        """Edit a photo on one thread; returns uint8 RGB of the same shape.

        Args:
            init: merged weights.
            pixels: uint8 RGB, shape `(height, width, 3)`.
            strength: as for `ImageNetwork.edit`.

        Raises:
            Busy: too many requests wait already.
        """
        import torch

        with self.turns.take():
            # Each thread of the server has its own setting. On small convolutions one thread is the fastest.
            if torch.get_num_threads() != 1:
                torch.set_num_threads(1)
            return self.zoo.editor(init).edit(pixels, strength=strength)

    def spoil(self, request: Request, pixels: Pixels) -> Pixels | None:
        """Damage a good photo as a restoration expects it, so that there is something to mend.

        Returns:
            The damaged photo; None if the words ask for no restoration.
        """
        row = self._restoration_of(request.words)
        if row is None:
            return None
        # A teacher of another version cannot damage a photo.
        with suppress(InvalidZoo, InvalidConcepts, TeacherError):
            return example_pair(parse_teacher(row.teacher), pixels, seed=0)[0]
        return None

    def is_restoration(self, request: Request) -> bool:
        """Whether words ask for a restoration: by the checkpoint of these words, or by the nearest one."""
        return self._restoration_of(request.words) is not None

    def _restoration_of(self, words: str) -> IndexRow | None:
        row, nearest = self.row_of(words), self.nearest(words, 1)
        if row is None and nearest and nearest[0].similarity >= _ALIKE:
            with self._lock:
                row = self.zoo.index.row(nearest[0].concept_id)
        return row if row is not None and row.family == "restoration" else None

    def _is_known(self, words: str) -> bool:
        if self.zoo.holds(words):
            return True
        try:
            return self.zoo.has_generator and not self._is_far(words)
        except InitzooError:  # words that the weight generator of another zoo does not know
            return False

    def _is_far(self, words: str) -> bool:
        generation = self.init_of(Request(words)).metadata.generation
        return generation is None or bool(generation.is_far)

    def blend(self, first: Request, second: Request, share: float) -> Init:
        """Blend two merged inits; `share` is the weight of the second, 0 to 1.

        Raises:
            UnknownConcept, InvalidWords, InvalidGenerator, InvalidZoo, Busy: as for `init_of`.
        """
        return blend_inits(self.init_of(first), self.init_of(second), share)

    def file_of(self, request: Request, form: str) -> tuple[str, bytes]:
        """Return an init as a file: its name, and the bytes that `initzoo pull` writes.

        Args:
            request: the request of the init.
            form: one of `FORMS`.

        Raises:
            InvalidRequest: the form is unknown.
            UnknownConcept, InvalidWords, InvalidGenerator, InvalidZoo: as for `init_of`.
        """
        read_choice(form, "form", FORMS)
        init = self.init_of(request)
        if form == "adapter":
            with self.turns.take():
                init = self._pull(request, adapter_only=True)
        return file_name(init), init.to_bytes()

    def nearest(self, words: str, n: int) -> tuple[Match, ...]:
        """Return the concepts whose wordings are spelt most like some words, nearest first."""
        return self._matches(words, n)

    def row_of(self, words: str) -> IndexRow | None:
        """Return the index row of the checkpoint that words name, or None."""
        with self._lock:
            return self.zoo.index.find(words)

    def listed(self, concept_id: str) -> Listed:
        """Return the list entry of a concept.

        Raises:
            UnknownConcept: the zoo has no concept of that id.
        """
        try:
            with self._lock:
                return _list(self.zoo.index.row(concept_id))
        except KeyError as error:
            raise UnknownConcept(
                f"no concept {concept_id[:MAX_WORDS]!r} in zoo '{self.zoo.name}'. Search for one first"
            ) from error

    def thumbnail(self, concept_id: str) -> Pixels:
        """Return a small picture of a checkpoint's edit, uint8 RGB, square.

        Raises:
            UnknownConcept: the zoo has no concept of that id.
            ChecksumMismatch, InvalidZoo: the picture must be drawn, and the zoo is damaged.
        """
        made = None if self.thumbnails is None else self.thumbnails.get(concept_id)
        return self._drawn(concept_id) if made is None else made

    @property
    def families(self) -> tuple[str, ...]:
        """The families of the zoo's concepts, sorted."""
        return tuple(sorted({concept.family for concept in self._listed}))

    @property
    def licences(self) -> tuple[str, ...]:
        """The licences of the zoo's checkpoints, sorted."""
        return tuple(sorted({concept.licence for concept in self._listed}))

    def similar(self, words: str, n: int) -> tuple[Listed, ...]:
        """The looks nearest to some words, without the look of these very words.

        Words unlike all wordings get the looks that the page begins with, so that there is always somewhere
        to go.
        """
        row = self.row_of(words)
        ids = [match.concept_id for match in self.nearest(words, n + 1)]
        spare = (self.row_of(first) for first in self.tries)
        ids += [other.concept_id for other in spare if other is not None]
        ids = [name for name in dict.fromkeys(ids) if row is None or name != row.concept_id]
        return tuple(self.listed(name) for name in ids[:n])

    def suggestions(self, n: int) -> list[str]:
        """Suggest words to type: the shortest `n` plain names of concepts."""
        names = sorted({concept.prompt for concept in self._listed}, key=lambda name: (len(name), name))
        return names[:n]

    def browse(
        self, words: object = "", *, family: str | None = None, licence: str | None = None, page: int = 1
    ) -> Listing:
        """List one page of the zoo's concepts.

        Args:
            words: list concepts with similar wordings, nearest first; if empty, list all, plain names first.
            family: list only concepts of this family.
            licence: list only concepts with this licence.
            page: number of the page, from 1; clipped to the last page.

        Raises:
            InvalidRequest: the words are not text or are too long.
        """
        text = read_text(words, name="words")
        concepts = list(self._listed)
        if text:
            concepts = [self.listed(match.concept_id) for match in self._matches(text, 6 * _PAGE)]
        concepts = [
            concept
            for concept in concepts
            if family in (None, concept.family) and licence in (None, concept.licence)
        ]
        n_pages = max(1, -(-len(concepts) // _PAGE))
        page = min(max(page, 1), n_pages)
        return Listing(tuple(concepts[(page - 1) * _PAGE : page * _PAGE]), len(concepts), page, n_pages)

    def _pull(self, request: Request, *, adapter_only: bool = False) -> Init:
        with self._lock:
            if self.zoo.route(request).concept_id is not None:
                return self.zoo.pull(request, adapter_only=adapter_only, warn=False)
        # The page shows the distance of the words, so the warning would only fill the server's log.
        return self.zoo.pull(replace(request, origin="generated"), adapter_only=adapter_only, warn=False)

    def _ask_strength(self, request: Request) -> float:
        with self._lock:
            return self.zoo.route(request).strength

    def _search(self, words: str, n: int) -> tuple[Match, ...]:
        with self._lock:
            return tuple(self.zoo.search(words, n))

    def _draw(self, concept_id: str) -> Pixels:
        self.listed(concept_id)
        with self.turns.take():
            with self._lock:
                row, network = self.zoo.index.row(concept_id), self.zoo.checkpoint(concept_id)
            return thumbnail_of(row, network)

    def _list_all(self) -> tuple[Listed, ...]:
        rows = self.zoo.index.each_row()
        listed = [_list(row) for _, row in zip(range(_MAX_LISTED), rows, strict=False)]
        # Plain looks first: sorted by id, the list would start with a dozen shades of the same look.
        return tuple(sorted(listed, key=lambda c: (len(c.prompt.split()), c.prompt, c.concept_id)))


def _list(row: IndexRow) -> Listed:
    return Listed(row.concept_id, row.prompts[0], row.family, row.licence, row.split, row.psnr)


def _load_examples() -> list[Photo]:
    photos = {photo.name: photo for photo in load_photos(catalog_folder() / "photos", split=None)}
    return [photos[name] for name in _EXAMPLES if name in photos]


def _find_thumbnails(zoo: Zoo) -> tuple[Thumbnails | None, str]:
    """The thumbnails of a zoo, or None and the reason."""
    folder = thumbnail_folder(zoo)
    make = f"initzoo thumbnails --zoo {zoo.address} --force"
    try:
        thumbnails = Thumbnails.load(folder)
    except InvalidZoo as error:
        why = str(error) if folder.exists() else f"zoo '{zoo.name}' has no thumbnails"
        return None, f"{why}. They are drawn on demand; make them beforehand: {make}"
    if thumbnails.revision != zoo.revision:
        return None, f"thumbnails of zoo '{zoo.name}' are of another revision. Make them again: {make}"
    return thumbnails, ""
