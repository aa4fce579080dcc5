"""Image grids: photos beside the edits of a teacher and of networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from initzoo.pairs import score_images
from initzoo.training import Example

__all__ = ["GridRow", "draw_examples", "draw_grid"]

Pixels = NDArray[np.uint8]

_GAP, _TITLE, _HEAD = 6, 20, 22
_PAPER, _INK, _QUIET = (255, 255, 255), (30, 30, 34), (110, 110, 118)


@dataclass(frozen=True, eq=False)
class GridRow:
    """One row of a grid.

    Args:
        title: text above the images, left-aligned.
        note: text above the images, right-aligned and grey.
        images: uint8 RGB, shape `(height, width, 3)`, one per heading.
    """

    title: str
    note: str
    images: tuple[Pixels, ...]


def draw_grid(
    rows: Sequence[GridRow], headings: Sequence[str], *, n_columns: int = 1, side: int = 192
) -> Pixels:
    """Draw rows of images under headings, in one or several columns of rows.

    Args:
        rows: each with one image per heading; images are cropped to their middle square.
        headings: headings of the images of a row, from left to right.
        n_columns: number of rows beside each other.
        side: side of each image, pixels.

    Returns:
        The picture, uint8 RGB.

    Raises:
        ValueError: there are no rows, or a row does not have one image per heading.

    Example:
        >>> row = GridRow("negative", "31.2 dB", (np.zeros((8, 9, 3), np.uint8),) * 3)
        >>> draw_grid([row], ["photo", "teacher", "checkpoint"], side=64).shape
        (122, 210, 3)
    """
    from PIL import Image, ImageDraw, ImageFont

    if not rows or any(len(row.images) != len(headings) for row in rows):
        raise ValueError(f"expected rows of {len(headings)} images each")
    row_width = len(headings) * (side + _GAP) - _GAP
    row_height = _TITLE + side + _GAP
    n_lines = -(-len(rows) // n_columns)
    width = n_columns * (row_width + 3 * _GAP) - 3 * _GAP
    canvas = Image.new("RGB", (width + 2 * _GAP - 6, _HEAD + n_lines * row_height + 10), _PAPER)
    draw = ImageDraw.Draw(canvas)
    bold, plain = ImageFont.load_default(15), ImageFont.load_default(13)
    for column in range(n_columns):
        left = 3 + column * (row_width + 3 * _GAP)
        for number, heading in enumerate(headings):
            middle = left + number * (side + _GAP) + side // 2
            draw.text((middle, _HEAD // 2 + 2), heading, fill=_QUIET, font=plain, anchor="mm")
    for number, row in enumerate(rows):
        line, column = divmod(number, n_columns)
        left, top = 3 + column * (row_width + 3 * _GAP), _HEAD + line * row_height
        draw.text((left, top + _TITLE // 2), row.title, fill=_INK, font=bold, anchor="lm")
        draw.text((left + row_width, top + _TITLE // 2), row.note, fill=_QUIET, font=plain, anchor="rm")
        for i, image in enumerate(row.images):
            square = Image.fromarray(_middle_square(image)).resize((side, side), Image.Resampling.LANCZOS)
            canvas.paste(square, (left + i * (side + _GAP), top + _TITLE))
    return np.asarray(canvas)


def draw_examples(examples: Sequence[Example]) -> Pixels:
    """Draw the contact sheet of a fine-tune: input, target, and the edits before and after training."""
    rows = []
    for example in examples:
        edits = (example.before, example.after)
        first, last = (score_images([edit], [example.pair.wanted]).psnr for edit in edits)
        name = example.pair.name
        title = name if len(name) < 40 else name[:37] + "..."
        images = (example.pair.given, example.pair.wanted, *edits)
        rows.append(GridRow(title=title, note=f"{first:.1f} to {last:.1f} dB", images=images))
    return draw_grid(rows, ("input", "target", "start", "end"), n_columns=2 if len(rows) > 3 else 1)


def _middle_square(image: Pixels) -> Pixels:
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]
