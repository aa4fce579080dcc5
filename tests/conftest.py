"""What all tests share: one thread a process, and a small folder of real photos."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported anywhere

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """Three small photos, as someone's own folder of images would hold them."""
    from initzoo.images import write_image
    from initzoo.photos import fit_short_side, load_photos

    folder = tmp_path / "photos"
    folder.mkdir()
    for photo, name in zip(load_photos(split="score"), ("cat.png", "cup.jpg", "dahlia.webp"), strict=False):
        write_image(folder / name, fit_short_side(photo.pixels, 96), force=False)
    (folder / "notes.txt").write_text("not a photo")
    return folder
