"""The service behind the page: previews, files, neighbours and lists of one open zoo."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from initzoo.checkpoints import Init, blend_inits
from initzoo.demo.requests import MAX_WORDS, read_choice, read_text
from initzoo.demo.texts import file_name
from initzoo.demo.thumbnails import Thumbnails, draw_thumbnail, thumbnail_folder
from initzoo.errors import InvalidWords, InvalidZoo, UnknownConcept
from initzoo.generator import Request
from initzoo.pairs import Photo, load_photos
from initzoo.zoo import IndexRow, Match, Zoo

__all__ = ["FORMS", "Listed", "Listing", "Studio"]

Pixels = NDArray[np.uint8]

FORMS = ("merged", "adapter")
"""The forms in which an init can be downloaded; all are safetensors files."""

_EXAMPLES = ("chelsea", "coffee", "flower", "rocket", "astronaut", "china")
_MAX_LISTED = 20_000
_PAGE = 40
_N_KEPT = 64


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
        self._lock = Lock()  # guards the index, which decodes its tables on first use
        self._listed = self._list_all()
        self._inits: Callable[[Request], Init] = lru_cache(maxsize=_N_KEPT)(self._pull)
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
        first = self._listed[0] if self._listed else None
        request = Request(first.prompt if first else "pencil sketch")
        # The weight generator of a tiny zoo may not know the words; requests report that.
        with suppress(InvalidWords, UnknownConcept):
            if self.zoo.has_generator:
                request = replace(request, origin="generated")
            self.edit(self.init_of(request), np.zeros((64, 64, 3), np.uint8))
        self.nearest(request.words, 8)

    def init_of(self, request: Request) -> Init:
        """Return the merged init of a request.

        Raises:
            UnknownConcept, InvalidWords, InvalidGenerator, ChecksumMismatch, InvalidZoo, LayoutMismatch:
            as for `Zoo.pull`.
        """
        return self._inits(request)

    def edit(self, init: Init, pixels: Pixels) -> Pixels:
        """Edit a photo on one thread; returns uint8 RGB of the same shape."""
        import torch

        # Each thread of the server has its own setting. On small convolutions one thread is the fastest.
        if torch.get_num_threads() != 1:
            torch.set_num_threads(1)
        return init.to_network().edit(pixels)

    def variations(self, request: Request, n: int) -> list[tuple[int, Init]]:
        """Generate inits from the same words with the next `n` seeds; returns (seed, init) pairs.

        Raises:
            InvalidWords, InvalidGenerator, InvalidZoo: as for `init_of`.
        """
        seeds = [(request.seed + step) % 2**63 for step in range(1, n + 1)]
        return [(seed, self.init_of(replace(request, origin="generated", seed=seed))) for seed in seeds]

    def blend(self, first: Request, second: Request, share: float) -> Init:
        """Blend two merged inits; `share` is the weight of the second, 0 to 1.

        Raises:
            UnknownConcept, InvalidWords, InvalidGenerator, InvalidZoo: as for `init_of`.
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
        init = self._pull(request, adapter_only=True) if form == "adapter" else self.init_of(request)
        return file_name(init), init.to_bytes()

    def nearest(self, words: str, n: int) -> tuple[Match, ...]:
        """Return the concepts whose wordings are spelt most like some words, nearest first."""
        return self._matches(words, n)

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
        """Return a small picture of a checkpoint's edit, uint8 RGB, shape `(64, 64, 3)`.

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

    def _search(self, words: str, n: int) -> tuple[Match, ...]:
        with self._lock:
            return tuple(self.zoo.search(words, n))

    def _draw(self, concept_id: str) -> Pixels:
        self.listed(concept_id)
        with self._lock:
            return draw_thumbnail(self.zoo, self.zoo.index.row(concept_id))

    def _list_all(self) -> tuple[Listed, ...]:
        rows = self.zoo.index.each_row()
        listed = [_list(row) for _, row in zip(range(_MAX_LISTED), rows, strict=False)]
        # Plain looks first: sorted by id, the list would start with a dozen shades of the same look.
        return tuple(sorted(listed, key=lambda c: (len(c.prompt.split()), c.prompt, c.concept_id)))


def _list(row: IndexRow) -> Listed:
    return Listed(row.concept_id, row.prompts[0], row.family, row.licence, row.split, row.psnr)


def _load_examples() -> list[Photo]:
    photos = {photo.name: photo for photo in load_photos(split=None)}
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
