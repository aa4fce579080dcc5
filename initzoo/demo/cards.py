"""The picture that other sites show of the page, and the credits of the example photos."""

from __future__ import annotations

import io
import tomllib
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from initzoo.demo.requests import Look
from initzoo.pairs import catalog_folder, opencv

if TYPE_CHECKING:
    from initzoo.demo.views import Views

__all__ = ["card", "credits_html"]

_WIDTH, _HEIGHT, _BAR = 1200, 630, 110
_INK, _PAPER = (250, 249, 246), (29, 28, 26)


def card(views: Views, look: Look) -> bytes:
    """Draw the social card of a look: the photo before and after, and the words below; a JPEG file.

    Args:
        views: the pages of the open zoo.
        look: the look.

    Raises:
        UnknownConcept, InvalidWords, InvalidGenerator, InvalidZoo, Busy: as for `Studio.init_of_look`.
    """
    from PIL import Image, ImageDraw, ImageFont

    before = views.given(look, views.first_photo, is_small=False)
    init, strength = views.studio.init_of_look(look), views.studio.strength_of(look)
    after = views.studio.edit(init, before, strength=strength)
    half = before.shape[1] // 2
    joined = _cover(np.concatenate([before[:, :half], after[:, half:]], axis=1), _WIDTH, _HEIGHT - _BAR)
    image = Image.new("RGB", (_WIDTH, _HEIGHT), _PAPER)
    image.paste(Image.fromarray(joined), (0, 0))
    draw = ImageDraw.Draw(image)
    draw.line((_WIDTH // 2, 0, _WIDTH // 2, _HEIGHT - _BAR), _INK, 4)
    words = " + ".join(request.words for request in (look.request, look.other) if request is not None)
    size = 52
    while size > 20 and ImageFont.load_default(size).getlength(words) > _WIDTH - 340:
        size -= 4
    middle = _HEIGHT - _BAR // 2
    draw.text((40, middle), words[:90], _INK, ImageFont.load_default(size), anchor="lm")
    draw.text((_WIDTH - 40, middle), "initzoo", _INK, ImageFont.load_default(40), anchor="rm")
    data = io.BytesIO()
    image.save(data, "JPEG", quality=85)
    return data.getvalue()


def _cover(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    scale = max(width / pixels.shape[1], height / pixels.shape[0])
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    large = opencv().resize(pixels, size, interpolation=opencv().INTER_CUBIC)
    top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
    return np.ascontiguousarray(large[top : top + height, left : left + width])


@lru_cache(maxsize=1)
def credits_html() -> str:
    """Author, licence and source of each example photo, as a small page."""
    table = tomllib.loads((catalog_folder() / "photos" / "photos.toml").read_text("utf-8"))
    lines = []
    for photo in table["photo"]:
        texts = (str(photo.get(key, "")) for key in ("name", "author", "licence", "source"))
        lines.append(f"<li>{escape(', '.join(text for text in texts if text))}</li>")
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        "<title>Photo credits · initzoo</title><style>:root{color-scheme:light dark}"
        "body{font:16px/1.6 system-ui;"
        "max-width:760px;margin:24px auto;padding:0 16px;overflow-wrap:anywhere}</style>"
        f"<main><h1>Photo credits</h1><ul>{''.join(lines)}</ul>"
        "<p><a href='./'>Back to the page</a></p></main></html>"
    )
