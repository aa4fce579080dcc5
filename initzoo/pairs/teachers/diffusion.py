"""A teacher that edits photos with an image-editing diffusion model."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from initzoo.errors import TeacherError
from initzoo.pairs.opencv import fit_short_side, opencv
from initzoo.pairs.teachers.pipelines import Values, close_editor, open_editor
from initzoo.pairs.teachers.teacher import Pixels, Refused, Teacher

__all__ = ["DiffusionTeacher"]

_GRID = 64
"""Both sides of what a pipeline edits are multiples of this: 8 of the usual VAE times 8 of its network."""

_UNCHANGED, _UNCHANGED_COARSE = 6.0, 1.5
"""Mean differences in grey levels, as they are and at a side of 32 pixels, below which a photo is unchanged.

The VAE alone changes fine detail, so that no picture is quite its photo.
"""

_MIN_SIDE, _MAX_SIDE = 32, 2048
_MAX_PROMPT = 1000
_HUB_ID = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}", re.ASCII)
_MODEL_FILES = (".json", ".txt", ".safetensors", ".model")


class DiffusionTeacher(Teacher):
    """Edits photos with a pipeline of diffusers that takes `prompt` and `image`, such as InstructPix2Pix.

    The noise of a pair depends on its photo and seed. A picture that is black, not a number or as the photo
    was is `Refused`. The model is loaded when the first photo is edited.

    Args:
        model: id on the Hub, or a folder in the format of diffusers.
        prompt: the words that the pipeline edits by.
        revision: branch, tag or commit on the Hub; a commit keeps the pairs the same for ever.
        side: shorter side at which photos are edited, pixels; the picture is shrunk to the photo's size.
        n_variants: number of stored pairs per photo, each with other noise.
        batch_size: number of photos at once on a GPU.
        arguments: further arguments of the pipeline by its own names, e.g. `image_guidance_scale`.
        licence: licence of the pairs; by default what the card in a folder says, or the name of the model.

    Raises:
        TeacherError: there is no such folder, and it cannot be an id on the Hub; or another value is invalid.

    Example:
        >>> teacher = DiffusionTeacher("timbrooks/instruct-pix2pix", "make it a watercolour")
        >>> teacher.name, teacher.licence
        ('timbrooks/instruct-pix2pix', 'that of model timbrooks/instruct-pix2pix')
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        prompt: str,
        *,
        revision: str | None = None,
        side: int = 512,
        n_variants: int = 1,
        batch_size: int = 8,
        arguments: Mapping[str, Any] | None = None,
        licence: str | None = None,
    ) -> None:
        self._source, self._revision = os.fspath(model), revision
        self._is_folder = os.path.isdir(self._source)
        if not self._is_folder and not _HUB_ID.fullmatch(self._source):
            raise TeacherError(
                f"model '{self._source[:80]}' is no folder, and no id on the Hub such as "
                "timbrooks/instruct-pix2pix. Name one of them"
            )
        if not 0 < len(prompt.strip()) <= _MAX_PROMPT:
            raise TeacherError(f"the prompt of a model must have 1 to {_MAX_PROMPT} letters")
        if not _MIN_SIDE <= side <= _MAX_SIDE:
            raise TeacherError(f"side must be from {_MIN_SIDE} to {_MAX_SIDE} pixels, found {side}")
        if n_variants < 1 or batch_size < 1:
            raise TeacherError("variants and batch of a model must be at least 1")
        self.prompt, self.n_variants, self.batch_size = prompt, n_variants, batch_size
        self._side, self._arguments, self._licence = side, dict(arguments or {}), licence
        identity = _folder_digest(self._source) if self._is_folder else f"{self._source}@{revision}"
        try:
            settings = json.dumps([identity, prompt, side, self._arguments], sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise TeacherError(f"arguments of model '{self.name}' must be plain values: {error}") from error
        self._id = f"diffusion-{hashlib.sha256(settings.encode()).hexdigest()[:32]}"
        self._model_id = f"diffusion-model-{hashlib.sha256(identity.encode()).hexdigest()[:32]}"

    @property
    def id(self) -> str:
        """A digest of model, revision, prompt, side and arguments; of a folder, of all its files."""
        return self._id

    @property
    def model_id(self) -> str:
        """A digest of the model and its revision."""
        return self._model_id

    @property
    def name(self) -> str:
        """The id of the model, or the name of its folder."""
        return Path(self._source).resolve().name if self._is_folder else self._source

    @property
    def licence(self) -> str:
        """The given licence, or where to find it."""
        card = _licence_of_card(Path(self._source)) if self._is_folder else None
        return self._licence or card or f"that of model {self.name}"

    def edit(
        self, photos: Sequence[Pixels], seeds: Sequence[int]
    ) -> tuple[list[Pixels], list[Pixels | Refused]]:
        """Edit photos at the teacher's side, those of equal shape together.

        Raises:
            MissingExtra, AccessDenied, HubUnavailable, TeacherError: as for `open_editor` and `Editor.edit`.
        """
        editor = open_editor(self._source, self._revision, self.name)
        shown = [_padded(fit_short_side(photo, self._side)) for photo in photos]
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for number, image in enumerate(shown):
            by_shape.setdefault(image.shape, []).append(number)
        edited: dict[int, Values | Refused] = {}
        for numbers in by_shape.values():
            pictures = editor.edit(
                self.prompt,
                [shown[number] for number in numbers],
                [_noise_seed(photos[number], seeds[number]) for number in numbers],
                batch_size=self.batch_size,
                arguments=self._arguments,
            )
            edited |= zip(numbers, pictures, strict=True)
        wanted = [_finished(edited[number], photo, self._side) for number, photo in enumerate(photos)]
        return list(photos), wanted

    def release(self) -> None:
        """Free the memory of the model."""
        close_editor()

    def to_json(self) -> dict[str, Any]:
        """Name, id, number of variants, prompt, revision, side, and further arguments."""
        values = super().to_json() | {"prompt": self.prompt, "side": self._side}
        values |= {} if self._revision is None else {"revision": self._revision}
        return values | ({"arguments": self._arguments} if self._arguments else {})


def _padded(image: Pixels) -> Pixels:
    """Reflect the right and lower borders, up to sides that a pipeline takes without cutting or resizing."""
    height, width = image.shape[:2]
    return np.pad(image, ((0, -height % _GRID), (0, -width % _GRID), (0, 0)), mode="reflect")


def _finished(picture: Values | Refused, photo: Pixels, side: int) -> Pixels | Refused:
    """The picture in the photo's size, unless it is refused or nothing has changed."""
    if isinstance(picture, Refused):
        return picture
    shown = fit_short_side(photo, side)
    height, width = shown.shape[:2]
    whole = np.asarray(np.clip(picture[:height, :width], 0, 1) * 255 + 0.5, np.uint8)
    coarse = _difference(fit_short_side(whole, 32), fit_short_side(shown, 32))
    if coarse < _UNCHANGED_COARSE and _difference(whole, shown) < _UNCHANGED:
        return Refused("unchanged")
    method = opencv().INTER_AREA if side > min(photo.shape[:2]) else opencv().INTER_CUBIC
    return np.asarray(opencv().resize(whole, photo.shape[1::-1], interpolation=method), np.uint8)


def _difference(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())


def _noise_seed(photo: Pixels, seed: int) -> int:
    digest = hashlib.sha256(f"{photo.shape} {seed} ".encode())
    digest.update(np.ascontiguousarray(photo).data)
    return int.from_bytes(digest.digest()[:7])


@lru_cache
def _folder_digest(folder: str) -> str:
    """A digest of the files of a model, so that a retrained one has other pairs. Read once per process."""
    digest = hashlib.sha256()
    files = sorted(path for path in Path(folder).rglob("*") if path.suffix in _MODEL_FILES and path.is_file())
    for path in files:
        digest.update(f"{path.relative_to(folder).as_posix()} ".encode("utf-8", "replace"))
        try:
            with path.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
        except OSError as error:
            raise TeacherError(f"cannot read {path}: {error.strerror}. Check the file") from error
    return digest.hexdigest()


def _licence_of_card(folder: Path) -> str | None:
    """The licence that the card of a model names in its first lines."""
    try:
        with (folder / "README.md").open("rb") as file:
            text = file.read(20_000).decode("utf-8", "replace")
    except OSError:
        return None
    found = re.search(r"\A---\n(?:.*\n)*?license: *[\"']?([\w. -]{1,80}?)[\"']? *\n", text)
    return None if found is None else found[1]
