"""Contact sheets: what they write, the font has letters for."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageDraw, ImageFont

from initzoo.evaluation.report.grids import draw_examples
from initzoo.pairs import Pair
from initzoo.training import Example


def glyph(letter: str, size: int) -> bytes:
    return bytes(ImageFont.load_default(size).getmask(letter))


@pytest.mark.parametrize(
    "names", [["a"], ["a", "b", "c", "d"], ["a photo with a name that is far too long, 4032 x 3024"]]
)
def test_every_letter_of_a_contact_sheet_is_in_its_font(
    names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[str, int]] = []
    draw = ImageDraw.ImageDraw.text

    def record(self: ImageDraw.ImageDraw, place: object, text: str, **options: object) -> None:
        drawn.append((text, round(options["font"].size)))  # type: ignore[attr-defined]
        draw(self, place, text, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", record)
    image, other = np.full((16, 16, 3), 9, np.uint8), np.full((16, 16, 3), 200, np.uint8)
    draw_examples([Example(Pair(name, image, other), image, other) for name in names])
    assert any(" to " in text and text.endswith(" dB") for text, _ in drawn)
    for text, size in drawn:
        missing = glyph("\U0010fffe", size)  # the box for what a font lacks
        assert not [letter for letter in text if glyph(letter, size) == missing], text
    assert glyph("→", 13) == glyph("\U0010fffe", 13)  # or this test says nothing
