"""Crops of train photos and of their edits by each teacher, made once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import OutputError, TeacherError, TrainingError
from initzoo.files import write_bytes
from initzoo.pairs import Teacher, load_photos, teach, varied_photos
from initzoo.work import Pool, read_piece

__all__ = ["CropPlan", "make_crops", "open_crops", "quick_crops"]


@dataclass(frozen=True)
class CropPlan:
    """The number and size of the crops per concept.

    Args:
        photos: folder of photos, of which split `train` is used; the bundled photos by default.
        n_varied: number of varied photos to choose from.
        n_photos: number of photos per concept.
        crops_per_photo: number of crops per photo.
        crop_size: side of the crops, pixels.
        grid: crops begin at multiples of this many pixels, as those of the zoo's harvest do.
        seed: seed of photos, damage and positions.
    """

    photos: Path | None = None
    n_varied: int = 96
    n_photos: int = 16
    crops_per_photo: int = 3
    crop_size: int = 64
    grid: int = 1
    seed: int = 7

    @property
    def n_crops(self) -> int:
        """Number of crops per concept."""
        return self.n_photos * self.crops_per_photo

    @cached_property
    def photos_digest(self) -> str:
        """64 hex digits that change if a photo changes.

        Raises:
            InvalidImage: the folder has no readable photos.
        """
        digest = hashlib.sha256()
        for photo in load_photos(self.photos, split="train"):
            digest.update(
                json.dumps(photo.pixels.shape).encode() + np.ascontiguousarray(photo.pixels).tobytes()
            )
        return digest.hexdigest()

    def name_of(self, teacher: Teacher) -> str:
        """The file name of a teacher's crops, a digest of the photos, the plan and the teacher."""
        parts = [
            self.photos_digest,
            self.n_varied,
            self.n_photos,
            self.crops_per_photo,
            self.crop_size,
            self.grid,
            self.seed,
        ]
        text = json.dumps([parts, teacher.to_json()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32] + ".npy"


def quick_crops() -> CropPlan:
    """A plan with very few crops, to test that a training works."""
    return CropPlan(n_varied=4, n_photos=2, crops_per_photo=1)


def make_crops(
    teachers: Sequence[Teacher],
    folder: Path,
    plan: CropPlan,
    *,
    pool: Pool,
    callback: Callable[[int, int], None] | None = None,
) -> None:
    """Make the missing crops of teachers.

    Args:
        teachers: the teacher of each concept; equal teachers share their crops.
        folder: folder with one file per teacher: uint8, shape `(n_crops, 2, 3, crop_size, crop_size)`, inputs
            and targets; 1.2 MB with the default plan.
        plan: number and size of the crops.
        pool: the workers.
        callback: called with the number of teachers done and their total.

    Raises:
        TrainingError: a teacher failed.
        WorkerDied: a worker died.
    """
    by_name = {plan.name_of(teacher): teacher for teacher in teachers}
    todo = [teacher for name, teacher in by_name.items() if read_piece(folder / name, _open) is None]
    n_all = len(by_name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"cannot make the folder {folder}: {error.strerror}.") from error
    report = callback or (lambda n_done, n_all: None)
    report(n_all - len(todo), n_all)
    made = pool.run(partial(_start_worker, plan), todo, name_of=lambda teacher: teacher.id)
    for number, (teacher, data) in enumerate(made):
        try:
            write_bytes(folder / plan.name_of(teacher), data, force=True)
        except OutputError as error:
            raise TrainingError(str(error)) from error
        report(n_all - len(todo) + number + 1, n_all)


def open_crops(teachers: Sequence[Teacher], folder: Path, plan: CropPlan) -> list[NDArray[np.uint8]]:
    """Open the crops of each teacher, memory-mapped."""
    return [_open(folder / plan.name_of(teacher)) for teacher in teachers]


def _open(path: Path) -> NDArray[np.uint8]:
    crops: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    return crops


def _start_worker(plan: CropPlan) -> Callable[[Teacher], bytes]:
    photos = varied_photos(load_photos(plan.photos, split="train"), plan.n_varied, seed=plan.seed)
    return partial(_draw_crops, plan=plan, photos=photos)


def _draw_crops(teacher: Teacher, plan: CropPlan, photos: list[NDArray[np.uint8]]) -> bytes:
    """The file with the crops of a teacher."""
    import io

    name, size = plan.name_of(teacher), plan.crop_size
    rng = np.random.default_rng([plan.seed, zlib.crc32(name.encode())])
    crops = np.empty((plan.n_photos, plan.crops_per_photo, 2, 3, size, size), np.uint8)
    chosen = rng.choice(len(photos), size=plan.n_photos, replace=len(photos) < plan.n_photos)
    for number, place in enumerate(chosen):
        try:
            [pair] = teach(teacher, [photos[int(place)]], [int(rng.integers(2**31))])
        except TeacherError as error:
            raise TrainingError(f"a teacher failed: {error}") from error
        height, width = pair[0].shape[:2]
        for part in range(plan.crops_per_photo):
            top, left = (
                plan.grid * int(rng.integers((length - size) // plan.grid + 1)) for length in (height, width)
            )
            for side, image in enumerate(pair):
                crops[number, part, side] = image[top : top + size, left : left + size].transpose(2, 0, 1)
    buffer = io.BytesIO()
    np.save(buffer, crops.reshape(-1, *crops.shape[2:]), allow_pickle=False)
    return buffer.getvalue()
