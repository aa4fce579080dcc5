"""Sixteen edits for tests and benchmarks: twelve looks and four restorations that no zoo was made from.

They were written without sight of the operators and concepts of the bundled zoo, as users' own pairs are. An
`Edit` is a function from a photo to a pair. Every edit has ten pairs to train on and twelve to score on, of
photos that no training uses. `python -m tests.edits` writes them as folders of pairs.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from initzoo.errors import InvalidImage
from initzoo.pairs import TEACHING_SIDE, Pair, Photo, fit_short_side, load_photos

from . import looks, restorations
from .colour import Pixels

__all__ = ["EDITS", "REACH", "SCORE_PHOTOS", "TRAIN_PHOTOS", "Edit", "edit_photos", "make_edit_pairs"]

REACH = 20
"""Maximum distance over which a pixel has influence in any edit, pixels."""

TRAIN_PHOTOS = (
    "gcompris-erase-kitten",
    "gcompris-monuments-lincolnmemorial",
    "gcompris-monuments-neuschwansteincastle",
    "gcompris-music-mexico",
    "gcompris-world-panda",
    "imaging-flowers",
    "lomiri-picosdeeuropa",
    "plasma-books",
    "plasma-car",
    "plasma-sushi",
)
"""Names of the photos of the pairs to train on."""

SCORE_PHOTOS = (
    "gcompris-erase-gibbon",
    "gcompris-erase-kingfisher",
    "gcompris-farm-owl",
    "gcompris-monuments-montstmichel",
    "gcompris-monuments-petra",
    "gcompris-music-japan",
    "gcompris-music-orchestra",
    "libjxl-tmshre-riaphotographs-srgb8",
    "lomiri-wine",
    "palapeli-cincinnati-bridge",
    "plasma-cat",
    "stdlib-image-4",
)
"""Names of the photos of the pairs to score on."""

_SEED = 16


@dataclass(frozen=True)
class Edit:
    """A look or a restoration: call it with a photo and a random generator for the pair.

    Args:
        words: a plain name, and two other wordings.
        kind: "look" or "restoration".
        make: makes (given, wanted) from a photo, uint8 RGB, shape `(height, width, 3)` each.
        grid: the edit has a pattern with this period in pixels; 1 for no pattern. Crops of its pairs begin at
            multiples of it.

    Example:
        >>> photo = np.full((8, 8, 3), 128, np.uint8)
        >>> given, wanted = EDITS["expired-film"](photo, np.random.default_rng(0))
        >>> given[0, 0].tolist(), wanted[0, 0].tolist()
        ([128, 128, 128], [148, 144, 128])
    """

    words: tuple[str, str, str]
    kind: str
    make: Callable[[Pixels, np.random.Generator], tuple[Pixels, Pixels]]
    grid: int = 1

    def __call__(self, photo: Pixels, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        """(given, wanted) of a photo."""
        return self.make(photo, rng)


def _look(function: Callable[[Pixels], Pixels], *words: str, grid: int = 1) -> Edit:
    name, one, other = words
    return Edit((name, one, other), "look", lambda photo, rng: (photo, function(photo)), grid)


def _restoration(damage: Callable[[Pixels, np.random.Generator], Pixels], *words: str, grid: int = 1) -> Edit:
    name, one, other = words
    return Edit((name, one, other), "restoration", lambda photo, rng: (damage(photo, rng), photo), grid)


EDITS = {
    "slide-film": _look(
        looks.slide_film,
        "slide film",
        "rich colour slide with deep blacks",
        "punchy reversal film colours and warm whites",
    ),
    "infrared-film": _look(
        looks.infrared_film,
        "false-colour infrared film",
        "foliage turned crimson, skies teal",
        "pink trees as on colour infrared film",
    ),
    "expired-film": _look(
        looks.expired_film,
        "expired film",
        "faded negative with purple shadows and yellow highlights",
        "film long past its date",
    ),
    "film-halation": _look(
        looks.film_halation,
        "film halation",
        "red glow around bright lights",
        "highlights that bleed orange into the dark",
    ),
    "ink-drawing": _look(
        looks.ink_drawing,
        "pen and ink drawing",
        "blue-black ink on cream paper",
        "hand-inked contours with solid shadows",
    ),
    "local-tone-mapping": _look(
        looks.local_tone_mapping,
        "HDR tone mapping",
        "open the shadows and make every texture pop",
        "gritty high dynamic range look",
    ),
    "disc-bokeh": _look(
        looks.disc_bokeh,
        "lens out of focus",
        "defocused with round bokeh highlights",
        "throw the whole shot out of focus, lights become discs",
    ),
    "wet-wash": _look(
        looks.wet_wash,
        "wash painting",
        "thin washes of clear colour with dark rims",
        "wet pigment that pools at the edges",
    ),
    "cross-hatch": _look(
        looks.cross_hatch,
        "cross-hatching",
        "sepia hatch lines on paper",
        "shaded with crossed pen strokes",
        grid=4,
    ),
    "two-ink-print": _look(
        looks.two_ink_print,
        "pink and teal risograph",
        "two-colour print in fluorescent pink and teal",
        "riso poster from two spot inks",
    ),
    "blue-for-warm": _look(
        looks.blue_for_warm,
        "warm colours to blue",
        "turn reds, oranges and yellows blue and keep the rest",
        "swap every warm hue for a cold one",
    ),
    "indigo-glow": _look(
        looks.indigo_glow,
        "soft glow with indigo shadows",
        "dreamy bloom, shadows tinted violet-blue",
        "diffusion filter and blue-purple darks",
    ),
    "defringe": _restoration(
        restorations.fringe,
        "remove purple fringing",
        "get rid of violet seams along bright edges",
        "fix the colour fringes of a fast lens",
    ),
    "remove-colour-blotches": _restoration(
        restorations.blotch,
        "remove chroma noise",
        "clean up coloured blotches from high ISO",
        "take the red and green speckle out of a dim shot",
    ),
    "remove-row-banding": _restoration(
        restorations.stripe,
        "remove sensor banding",
        "get rid of horizontal readout stripes",
        "even out rows that are too bright or too dark",
        grid=4,
    ),
    "undo-oversharpening": _restoration(
        restorations.oversharpen,
        "undo oversharpening",
        "remove halos along edges",
        "soften a photo that was sharpened too much",
    ),
}
"""The edits by their name, which is also the name of their folder of pairs."""


def edit_photos(folder: Path | None = None) -> tuple[list[Photo], list[Photo]]:
    """The photos to train on and those to score on, from a folder of photos; the bundled ones by default.

    Raises:
        InvalidImage: the folder lacks one of the photos.
    """
    by_name = {photo.name: photo for photo in load_photos(folder, split="score")}
    missing = [name for name in (*TRAIN_PHOTOS, *SCORE_PHOTOS) if name not in by_name]
    if missing:
        where = "the bundled photos" if folder is None else folder
        raise InvalidImage(
            f"{where}: no photo '{missing[0]}' of split 'score', nor {len(missing) - 1} others of "
            f"{len(TRAIN_PHOTOS) + len(SCORE_PHOTOS)}. Name the folder that holds them with --photos"
        )
    return [by_name[name] for name in TRAIN_PHOTOS], [by_name[name] for name in SCORE_PHOTOS]


def make_edit_pairs(name: str, photos: list[Photo]) -> list[Pair]:
    """The pairs of an edit, a pair per photo, with a shorter side of 256 pixels.

    The noise of a pair depends on the names of edit and photo only.
    """
    pairs = []
    for photo in photos:
        rng = np.random.default_rng([_SEED, zlib.crc32(f"{name}/{photo.name}".encode())])
        given, wanted = EDITS[name](fit_short_side(photo.pixels, TEACHING_SIDE), rng)
        pairs.append(Pair(photo.name, given, wanted))
    return pairs
