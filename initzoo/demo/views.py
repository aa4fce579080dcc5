"""The page as HTML: what a visitor sees of a look, of the zoo, and of the whole page."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from initzoo import __version__
from initzoo.checkpoints import Init
from initzoo.demo.evidence import bench_html, evidence_html, read_figures
from initzoo.demo.file_store import KeptFiles
from initzoo.demo.pictures import PictureCache, encode, make_small
from initzoo.demo.requests import MAX_PAIRS, MAX_WORDS, STRENGTHS, Look, read_choice
from initzoo.demo.service import FORMS, Studio
from initzoo.demo.texts import (
    file_name,
    mix_commands,
    tell_details,
    tell_init,
    tell_prospect,
    tell_strength,
    train_commands,
    use_commands,
)
from initzoo.demo.uploads import MAX_UPLOAD_BYTES, VisitorPhoto, read_photo
from initzoo.errors import InvalidRequest
from initzoo.files import IMAGE_SUFFIXES
from initzoo.generator import Request
from initzoo.pairs import Pair, limits_of
from initzoo.zoo import BUNDLED_ZOO

__all__ = ["STATIC", "ResultView", "Views"]

Pixels = NDArray[np.uint8]

STATIC = Path(__file__).parent / "templates"
"""The folder of templates, style and script."""

_N_SIMILAR = 6
_N_SUGGESTIONS = 300
_CACHE_BYTES = 48_000_000
_STRENGTH_NAMES = dict(zip(STRENGTHS, ("Lighter", "As it is", "Stronger"), strict=True))
_KEY_LETTERS = frozenset("0123456789abcdef")
_KEY_LENGTH = 32
_SPARE_CONCEPT = "pencil-sketch"
"""Concept of the bundled catalog whose pairs stand in for those of a look that the catalog does not have."""


@dataclass(frozen=True)
class ResultView:
    """What a visitor sees of a look on a photo; the fields of `result.html`."""

    words: str
    photo: str
    width: int
    height: int
    before: str
    after: str
    lossless: str
    lines: tuple[str, ...]
    cannot: tuple[str, ...]
    note: str
    is_far: bool
    details: tuple[tuple[str, str], ...]
    file: str
    size: str
    weights: str
    adapter: str
    strengths: tuple[dict[str, Any], ...]
    similar: tuple[dict[str, str], ...]
    use: str
    train: str
    query: Mapping[str, str]


class Views:
    """The pictures and pages of an open zoo. Each depends on its arguments only.

    Args:
        studio: the open zoo.
        kept: the folder of visitors' photos.
        wheel: a wheel of initzoo that the page offers, or None.

    Example:
        >>> import tempfile
        >>> from initzoo.zoo.zoo import Zoo
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     views = Views(Studio(Zoo.from_pretrained("starter"), None), KeptFiles(Path(folder)))
        ...     view = views.look(Look(Request("pencil sketch")), "chelsea", "http://127.0.0.1:7860")
        ...     view.words, view.file, view.cannot
        ('pencil sketch', 'pencil-sketch.safetensors', ())
    """

    def __init__(self, studio: Studio, kept: KeptFiles, wheel: Path | None = None) -> None:
        self.studio = studio
        self.kept = kept
        self.wheel = wheel
        self._cache = PictureCache(_CACHE_BYTES)
        self._examples = {photo.name: photo.pixels for photo in studio.examples}

    @property
    def first_photo(self) -> str:
        """The key of the photo that the page opens with."""
        return next(iter(self._examples))

    def warm_up(self) -> None:
        """Make what the first visitor sees, so that it is there at once."""
        look = Look(Request(self.studio.first))
        self.page_html(self.look(look, self.first_photo, ""), origin="")
        self.picture(look, self.first_photo, kind="webp", is_small=False)
        self.before(None, self.first_photo)

    # Photos.

    def keep_photo(self, path: Path, name: str) -> dict[str, Any]:
        """Prepare an uploaded photo: a small copy is kept, the file itself is not.

        Returns:
            JSON values: the key of the photo, its size, and a note if the preview is smaller.

        Raises:
            InvalidImage: the photo cannot be read.
        """
        photo = read_photo(path, name=name)
        kept = self.kept.keep_picture("photo.png", photo.pixels)
        return {"photo": kept.parent.name, "name": name, "note": shrunk_note(photo)}

    def photo_of(self, key: str) -> Pixels:
        """The pixels of an example or of a kept photo.

        Raises:
            InvalidRequest: there is no photo of that key, or it was deleted.
        """
        if key in self._examples:
            return self._examples[key]
        path = self.kept.folder / key / "photo.png"
        if len(key) != _KEY_LENGTH or not set(key) <= _KEY_LETTERS or not path.is_file():
            raise InvalidRequest(
                "the photo is not here any more: photos are kept for an hour. Choose it again"
            )
        self.kept.touch(path)
        return read_photo(path).pixels

    # Pictures.

    def picture(self, look: Look, photo: str, *, kind: str, is_small: bool) -> bytes:
        """The picture of a look on a photo, encoded.

        Args:
            look: the look.
            photo: key of the photo.
            kind: one of `FORMATS`.
            is_small: whether to edit a small copy of the photo.

        Raises:
            InvalidRequest, UnknownConcept, InvalidWords, InvalidGenerator, InvalidZoo, Busy: as for
                `Studio.init_of_look`.
        """
        given = self.given(look, photo, is_small=is_small)

        def make() -> bytes:
            init = self.init_of(look)
            return encode(self.studio.edit(init, given, strength=self.studio.strength_of(look)), kind)

        return self._cache.get((look, photo, kind, is_small), make)

    def init_of(self, look: Look) -> Init:
        """The merged init of a look of words or pairs.

        Raises:
            InvalidPairs: the pairs do not match, or have no change.
            InvalidRequest, UnknownConcept, InvalidWords, InvalidGenerator, InvalidZoo, Busy: as for
                `Studio.init_of_look`.
        """
        if not look.pairs:
            return self.studio.init_of_look(look)

        def make_request() -> Request:
            pairs = tuple(
                Pair(f"pair {number}", self.photo_of(before), self.photo_of(after))
                for number, (before, after) in enumerate(look.pairs, 1)
            )
            return replace(look.request, pairs=pairs)

        # Keys of photos are digests of them.
        return self.studio.fit((look.request.words, look.pairs), make_request)

    def before(self, look: Look | None, photo: str) -> bytes:
        """The photo that a look was given, encoded to look at; a spoiled example for a restoration."""
        return self._cache.get(
            (look and look.request, photo, "before"),
            lambda: encode(self.given(look, photo, is_small=False), "webp"),
        )

    def given(self, look: Look | None, photo: str, *, is_small: bool) -> Pixels:
        """The pixels that a look is applied to."""
        pixels = self.photo_of(photo)
        pixels = make_small(pixels) if is_small else pixels
        if look is None or look.pairs or photo not in self._examples:
            return pixels
        spoiled = self.studio.spoil(look.request, pixels)
        return pixels if spoiled is None else spoiled

    def thumbnail(self, concept_id: str) -> bytes:
        """The thumbnail of a concept, as a WebP file.

        Raises:
            UnknownConcept: the zoo has no concept of that id.
        """
        return self._cache.get(
            (concept_id, "thumbnail"), lambda: encode(self.studio.thumbnail(concept_id), "webp")
        )

    def weights(self, look: Look, form: str) -> tuple[str, bytes]:
        """The weights of a look as a file: its name and its bytes.

        Raises:
            InvalidRequest, UnknownConcept, InvalidWords, InvalidGenerator, InvalidZoo, Busy: as for
                `Studio.file_of`.
        """
        if look.other is None and not look.pairs:
            return self.studio.file_of(look.request, form)
        read_choice(form, "form", FORMS[:1])
        init = self.init_of(look)
        return file_name(init), init.to_bytes()

    # Pages.

    def look(self, look: Look, photo: str, origin: str) -> ResultView:
        """Describe a look on a photo.

        Args:
            look: the look.
            photo: key of the photo.
            origin: scheme and host of the page, for the commands.

        Raises:
            InvalidRequest, UnknownConcept, InvalidWords, InvalidGenerator, InvalidZoo, Busy: as for
                `picture`.
        """
        height, width = self.photo_of(photo).shape[:2]
        init = self.init_of(look)
        is_of_words = look.other is None and not look.pairs
        is_spoiled = photo in self._examples and not look.pairs and self.studio.is_restoration(look.request)
        name = file_name(init)
        words = look.title
        degree = tell_strength(self.studio.strength_asked(look), self.studio.strength_of(look))
        generation, fitting = init.metadata.generation, init.metadata.fitting
        cannot = limits_of(look.title) if init.metadata.origin not in ("exact", "fitted") else ()
        odd = () if fitting is None else tuple(f"The pairs: {note}." for note in fitting.notes)
        query = look.query
        plain = {key: value for key, value in query.items() if key != "strength"}
        before = {"photo": photo} | ({"words": look.request.words} if is_spoiled else {})
        form = f"weights?{urlencode(plain | {'form': 'adapter'})}" if is_of_words else ""
        return ResultView(
            words=words,
            photo=photo,
            width=width,
            height=height,
            before=f"before.webp?{urlencode(before)}",
            after=self._address("picture.webp", query, photo),
            lossless=self._address("picture.png", query, photo),
            lines=tuple(line for line in (tell_init(init), degree, tell_prospect(init)) if line),
            cannot=(*(f"The zoo {limit.line}." for limit in cannot), *odd),
            note="The example photo was spoiled first, so that there is something to mend."
            if is_spoiled
            else "",
            is_far=generation is not None and bool(generation.is_far),
            details=tuple(tell_details(self.studio.zoo, init)),
            file=name,
            size=f"{len(init.to_bytes()) / 1e6:.1f} MB",
            weights=f"weights?{urlencode(plain)}",
            adapter=form,
            strengths=tuple(self._strengths(look, photo)),
            similar=tuple(self._similar(look, photo)),
            use=self._use(look, init, photo, origin),
            train=train_commands(
                self.studio.zoo, init, "" if look.pairs else self._concept_for(look.request.words)
            ),
            query=query,
        )

    def result_html(self, view: ResultView) -> str:
        """The part of the page that shows a look."""
        return str(self._template("result.html").render(view=view))

    def page_html(self, view: ResultView, *, origin: str, problem: str = "", theme: str = "") -> str:
        """The whole page, with a first look in it.

        Args:
            view: the look.
            origin: scheme and host of the page.
            problem: what was wrong with the look that the address asks for.
            theme: `light`, `dark`, or empty for what the visitor's system says.
        """
        studio = self.studio
        return str(
            self._template("page.html").render(
                view=view,
                result=self.result_html(view),
                origin=origin,
                problem=problem,
                theme=theme if theme in ("light", "dark") else "",
                css=(STATIC / "page.css").read_text("utf-8"),
                script_version=self.script_version,
                photos=[
                    {"key": name, "name": name, "src": f"example/{name}.webp"} for name in self._examples
                ],
                tries=[self._try(words) for words in studio.tries],
                suggestions=studio.suggestions(_N_SUGGESTIONS),
                families=studio.families,
                n_concepts=f"{len(studio.zoo.index):,}",
                max_words=MAX_WORDS,
                max_pairs=MAX_PAIRS,
                max_bytes=MAX_UPLOAD_BYTES,
                suffixes=",".join(("image/*", *IMAGE_SUFFIXES)),
                evidence=evidence_html(read_figures(studio.zoo, "evaluation.json")),
                bench=bench_html(read_figures(studio.zoo, "bench.json")),
                zoo=studio.zoo.name,
                version=__version__,
                wheel=self.wheel_address(origin),
            )
        )

    def zoo_html(self, words: str, family: str, page: int) -> str:
        """One page of the list of looks.

        Raises:
            InvalidRequest: the words are too long.
        """
        listing = self.studio.browse(words, family=family or None, page=page)
        looks = [self._card(listed.concept_id, listed.prompt) for listed in listing.concepts]
        return str(self._template("zoo.html").render(listing=listing, looks=looks))

    @cached_property
    def script_version(self) -> str:
        """Changes when the script does, so that browsers load it anew."""
        return hashlib.sha256((STATIC / "page.js").read_bytes()).hexdigest()[:12]

    def wheel_address(self, origin: str) -> str:
        """The address of the wheel that this page offers; empty if it has none."""
        return "" if self.wheel is None else f"{origin}/wheel/{self.wheel.name}"

    def example(self, name: str) -> bytes:
        """A small picture of an example photo.

        Raises:
            InvalidRequest: there is no example of that name.
        """
        if name not in self._examples:
            raise InvalidRequest(f"no example photo {name[:40]!r}; there are {', '.join(self._examples)}")
        return self._cache.get((name, "example"), lambda: encode(make_small(self._examples[name]), "webp"))

    def _use(self, look: Look, init: Init, photo: str, origin: str) -> str:
        common: dict[str, Any] = {
            "wheel": self.wheel_address(origin),
            "strength": self.studio.strength_of(look),
        }
        # Photos of visitors are not put into commands, which are copied and passed on.
        shown = {"photo": photo if photo in self._examples else self.first_photo}
        if not look.pairs:
            shown["words"] = look.request.words
        common["photo_url"] = f"{origin}/photo.png?{urlencode(shown)}"
        zoo = self.studio.zoo
        if look.other is None:  # of words, or of pairs
            return use_commands(zoo, init, **common)
        ends = self.studio.init_of(look.request), self.studio.init_of(look.other)
        return mix_commands(zoo, ends, look.share, **common)

    def _strengths(self, look: Look, photo: str) -> list[dict[str, Any]]:
        views = []
        for strength, name in _STRENGTH_NAMES.items():
            query = replace(look, strength=strength).query
            src = self._address("picture.webp", query, photo, is_small=True)
            views.append(
                {"name": name, "value": f"{strength:g}", "is_on": strength == look.strength, "src": src}
            )
        return views

    def _similar(self, look: Look, photo: str) -> list[dict[str, str]]:
        views = []
        for listed in self.studio.similar(look.request.words or self.studio.first, _N_SIMILAR):
            query = {"words": listed.prompt}
            src = self._address("picture.webp", query, photo, is_small=True)
            spare = self._thumbnail_address(listed.concept_id)
            views.append({"words": listed.prompt, "src": src, "spare": spare})
        return views

    def _try(self, words: str) -> dict[str, str]:
        """A look to begin with: the picture that the zoo has of it, or one that is drawn."""
        row = self.studio.row_of(words)
        drawn = self._address("picture.webp", {"words": words}, self.first_photo, is_small=True)
        return {"words": words, "src": drawn if row is None else self._thumbnail_address(row.concept_id)}

    def _card(self, concept_id: str, words: str) -> dict[str, str]:
        return {"words": words, "src": self._thumbnail_address(concept_id)}

    def _thumbnail_address(self, concept_id: str) -> str:
        return f"thumbnail.webp?{urlencode({'concept': concept_id, 'v': self.studio.zoo.revision[:8]})}"

    def _address(self, path: str, query: Mapping[str, str], photo: str, *, is_small: bool = False) -> str:
        small = {"small": "1"} if is_small else {}
        return f"{path}?{urlencode({**query, 'photo': photo, **small})}"

    def _concept_for(self, words: str) -> str:
        """The concept of the bundled catalog whose pairs are nearest to some words."""
        if self.studio.zoo.address != BUNDLED_ZOO:  # whose concepts the catalog may not have
            return _SPARE_CONCEPT
        row = self.studio.row_of(words)
        ids = [row.concept_id] if row else [match.concept_id for match in self.studio.nearest(words, 1)]
        return next(iter(ids), _SPARE_CONCEPT)

    def _template(self, name: str) -> Any:
        return _environment().get_template(name)


def shrunk_note(photo: VisitorPhoto) -> str:
    """A note for a photo that is shown at reduced size, else empty."""
    if not photo.is_shrunk:
        return ""
    height, width = photo.pixels.shape[:2]
    return f"Shown at {width} x {height} pixels; initzoo apply edits the whole photo."


@lru_cache(maxsize=1)
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # What visitors type is escaped everywhere.
    return Environment(
        loader=FileSystemLoader(STATIC), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
