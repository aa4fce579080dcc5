"""Thumbnails of a zoo's checkpoints, made beforehand: one sheet of small pictures per family.

A folder of thumbnails holds `thumbnails.json` and one `<family>.avif` per family. The JSON has the zoo's
revision, the concepts in the order of their pictures, and the digest of each sheet.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initzoo.checkpoints import name_words
from initzoo.errors import InvalidConcepts, InvalidZoo, TeacherError
from initzoo.files import DamagedFile, read_file, replace_folder, reported_as, write_bytes
from initzoo.networks import ImageNetwork
from initzoo.pairs import TEACHING_SIDE, example_pair, fit_short_side, load_photos, parse_teacher
from initzoo.zoo import IndexRow, Zoo

__all__ = [
    "THUMBNAIL_SIDE",
    "Thumbnails",
    "draw_thumbnail",
    "make_thumbnails",
    "thumbnail_folder",
    "thumbnail_of",
]

Pixels = NDArray[np.uint8]

THUMBNAIL_SIDE = 128
"""Side of a thumbnail, pixels."""

_TABLE = "thumbnails.json"
_N_COLUMNS = 16
_QUALITY = 40
_MAX_BYTES = 2**25
_MAX_SHEET_ROWS = 512
_PHOTO = "chelsea"
_ADVICE = "Make them again: initzoo thumbnails --force"


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """Small pictures of checkpoints, by concept id.

    Args:
        revision: revision of the zoo.
        places: concept id -> family of its sheet and number of its picture.
        sheets: family -> sheet, uint8 RGB, `_N_COLUMNS` pictures per row.
        side: side of a picture, pixels; sheets of earlier versions have smaller ones.
    """

    revision: str
    places: dict[str, tuple[str, int]]
    sheets: dict[str, Pixels]
    side: int = THUMBNAIL_SIDE

    def get(self, concept_id: str) -> Pixels | None:
        """The picture of a concept, uint8, shape `(side, side, 3)`, or None."""
        if concept_id not in self.places:
            return None
        sheet, number = self.places[concept_id]
        top, left = (cell * self.side for cell in divmod(number, _N_COLUMNS))
        return self.sheets[sheet][top : top + self.side, left : left + self.side]

    @classmethod
    def load(cls, folder: Path) -> Thumbnails:
        """Read a folder of thumbnails and check every byte of it.

        Raises:
            InvalidZoo: a file is missing, damaged, or does not match its digest.
        """
        from PIL import Image

        with reported_as(InvalidZoo, f"thumbnails '{folder}'", _ADVICE):
            try:
                table = json.loads(read_file(folder / _TABLE, max_bytes=_MAX_BYTES))
                side = int(table["side"])
                places: dict[str, tuple[str, int]] = {}
                sheets: dict[str, Pixels] = {}
                for name, sheet in table["sheets"].items():
                    data = read_file(folder / f"{name_words(name)}.avif", max_bytes=_MAX_BYTES)
                    if hashlib.sha256(data).hexdigest() != sheet["sha256"]:
                        raise DamagedFile(f"has a sheet '{name[:80]}' that does not match its digest")
                    with Image.open(io.BytesIO(data), formats=("AVIF",)) as image:
                        sheets[name] = np.asarray(image.convert("RGB"))
                    if sheets[name].shape != _sheet_shape(len(sheet["concepts"]), side):
                        raise DamagedFile(f"has a sheet '{name[:80]}' of unexpected size")
                    places |= {concept: (name, number) for number, concept in enumerate(sheet["concepts"])}
                return cls(str(table["revision"]), places, sheets, side)
            except DamagedFile:
                raise
            except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
                raise DamagedFile(f"were not made by this version of initzoo ({error})") from error


def thumbnail_folder(zoo: Zoo) -> Path:
    """The folder of a zoo's thumbnails: beside its other files, or in the Hub's cache for derived assets."""
    if not zoo.is_on_hub:
        return zoo.folder / "thumbnails"
    from initzoo.zoo import lookup_folder

    return lookup_folder().with_name("thumbnails") / zoo.revision


def draw_thumbnail(zoo: Zoo, row: IndexRow) -> Pixels:
    """Draw a small picture of a checkpoint's edit; a restoration is applied to a degraded photo.

    Returns:
        uint8 RGB, shape `(128, 128, 3)`.

    Raises:
        ChecksumMismatch, InvalidZoo: the zoo is damaged.
    """
    return thumbnail_of(row, zoo.checkpoint(row.concept_id))


def thumbnail_of(row: IndexRow, network: ImageNetwork) -> Pixels:
    """Draw a small picture of the edit of a checkpoint's network, as `draw_thumbnail` does."""
    return _draw(row, network, _square_photo())


def make_thumbnails(
    zoo: Zoo, folder: Path, *, force: bool = False, callback: Callable[[int, int], None] | None = None
) -> int:
    """Draw a thumbnail of every checkpoint and write them as sheets.

    Args:
        zoo: the zoo.
        folder: folder for the sheets; replaced as a whole or not at all.
        force: replace a folder that is not empty.
        callback: called with the number of drawn thumbnails and the total.

    Returns:
        The number of bytes written.

    Raises:
        OutputError: the folder is not empty and `force` is False, or it cannot be written.
        ChecksumMismatch, InvalidZoo: the zoo is damaged.
    """
    photo, rows = _square_photo(), zoo.index.rows()
    drawn: dict[str, list[tuple[str, Pixels]]] = {}
    n_bytes = 0
    with replace_folder(folder, force=force) as new:  # fails before the drawing if the folder is not free
        for n_done, row in enumerate(rows, start=1):
            drawn.setdefault(row.family, []).append(
                (row.concept_id, _draw(row, zoo.checkpoint(row.concept_id), photo))
            )
            if callback is not None:
                callback(n_done, len(rows))
        sheets: dict[str, Any] = {}
        for family, pictures in sorted(drawn.items()):
            data = _encode_sheet([pixels for _, pixels in pictures])
            write_bytes(new / f"{name_words(family)}.avif", data, force=False)
            concepts = [concept for concept, _ in pictures]
            sheets[family] = {"sha256": hashlib.sha256(data).hexdigest(), "concepts": concepts}
            n_bytes += len(data)
        table = {"revision": zoo.revision, "photo": _PHOTO, "side": THUMBNAIL_SIDE, "sheets": sheets}
        text = json.dumps(table, separators=(",", ":")).encode() + b"\n"
        write_bytes(new / _TABLE, text, force=False)
    return n_bytes + len(text)


def _square_photo() -> Pixels:
    photo = next(photo for photo in load_photos(split="score") if photo.name == _PHOTO)
    pixels = fit_short_side(photo.pixels, TEACHING_SIDE)
    left = (pixels.shape[1] - TEACHING_SIDE) // 2
    return np.ascontiguousarray(pixels[:, left : left + TEACHING_SIDE])


def _draw(row: IndexRow, network: ImageNetwork, photo: Pixels) -> Pixels:
    if row.family == "restoration":
        # A teacher of another version cannot degrade a photo; the clean one is used then.
        with suppress(InvalidZoo, InvalidConcepts, TeacherError):
            photo = example_pair(parse_teacher(row.teacher), photo, seed=0)[0]
    return fit_short_side(network.edit(photo), THUMBNAIL_SIDE)


def _sheet_shape(n_pictures: int, side: int) -> tuple[int, int, int]:
    n_rows = -(-n_pictures // _N_COLUMNS)
    return n_rows * side, _N_COLUMNS * side, 3


def _encode_sheet(pictures: list[Pixels]) -> bytes:
    from PIL import Image

    if len(pictures) > _N_COLUMNS * _MAX_SHEET_ROWS:
        raise InvalidZoo(
            f"a family has {len(pictures):,} concepts, a sheet holds {_N_COLUMNS * _MAX_SHEET_ROWS:,}. "
            "The demo draws thumbnails of such a zoo on demand"
        )
    sheet = np.full(_sheet_shape(len(pictures), THUMBNAIL_SIDE), 255, np.uint8)
    for number, pixels in enumerate(pictures):
        top, left = (cell * THUMBNAIL_SIDE for cell in divmod(number, _N_COLUMNS))
        sheet[top : top + THUMBNAIL_SIDE, left : left + THUMBNAIL_SIDE] = pixels
    data = io.BytesIO()
    Image.fromarray(sheet).save(data, "AVIF", quality=_QUALITY, speed=4, max_threads=1)
    return data.getvalue()
