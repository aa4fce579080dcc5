"""The answers to requests of the page and of programs, as plain values and files."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initzoo.checkpoints import Init
from initzoo.demo.file_store import KeptFiles
from initzoo.demo.requests import (
    read_choice,
    read_count,
    read_request,
    read_share,
    read_upload,
    read_words,
    request_to_json,
)
from initzoo.demo.service import FORMS, Studio
from initzoo.demo.texts import blend_commands, file_name, finetune_commands, tell_init, tell_prospect
from initzoo.demo.uploads import VisitorPhoto, read_photo
from initzoo.errors import InitzooError, InvalidRequest
from initzoo.generator import Request

__all__ = ["MAX_FOUND", "Answers", "error_text"]

Pixels = NDArray[np.uint8]

MAX_FOUND = 50
"""Maximum number of results of a search."""

_N_NEAREST = 8
_N_VARIATIONS = 4
_VARIATION_SIDE = 160


class Answers:
    """The answers of the page and its endpoints. Each depends on its arguments only.

    Args:
        studio: the open zoo.
        kept: the folder of files for visitors, which also holds uploads.

    Example:
        >>> import tempfile
        >>> from initzoo.demo.service import Studio
        >>> from initzoo.zoo.zoo import Zoo
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     answers = Answers(Studio(Zoo.from_pretrained("starter"), None), KeptFiles(Path(folder)))
        ...     picture, info = answers.generate("pencil sketch")
        ...     picture.name, info["origin"], info["concept"]
        ('pencil-sketch.png', 'exact', 'pencil-sketch')
    """

    def __init__(self, studio: Studio, kept: KeptFiles) -> None:
        self.studio = studio
        self.kept = kept

    # For programs: types and keys are a public interface.

    def generate(
        self, words: object, photo: object = None, seed: object = 0, origin: object = "auto"
    ) -> tuple[Path, dict[str, Any]]:
        """Edit a photo with the init that words name, or with one generated from them.

        Args:
            words: concept id, wording, or any words for an edit.
            photo: an uploaded file; the first example by default.
            seed: seed of a generated init.
            origin: `auto`, `exact` or `generated`.

        Returns:
            The edited photo as a PNG file, and a description of the init as JSON values.

        Raises:
            InvalidRequest: an argument has a wrong type or is out of range.
            UnknownConcept, InvalidWords, InvalidGenerator, InvalidZoo: as for `Zoo.pull`.
            InvalidImage: the photo cannot be read.
        """
        request = read_request(words, origin, seed)
        given = self.photo_of(photo)
        init = self.studio.init_of(request)
        edited = self.studio.edit(init, given.pixels)
        path = self.kept.keep_picture(_picture_name(init), edited)
        height, width = edited.shape[:2]
        return path, self._info(init, request) | {"width": width, "height": height}

    def search(self, words: object, limit: object = 10) -> dict[str, Any]:
        """Find concepts with wordings similar to some words.

        Returns:
            JSON values; `concepts` is a list with the nearest first.

        Raises:
            InvalidRequest, InvalidWords: the words are not text, empty or too long, or `limit` is out of
                range.
        """
        text = read_words(words)
        matches = self.studio.nearest(text, read_count(limit, name="limit", high=MAX_FOUND))
        zoo = self.studio.zoo
        concepts = []
        for match in matches:
            listed = self.studio.listed(match.concept_id)
            summary = {"concept": match.concept_id, "prompt": match.prompt, "similarity": match.similarity}
            summary |= {"family": listed.family, "licence": listed.licence, "psnr": listed.psnr}
            concepts.append(summary)
        return {"zoo": zoo.name, "revision": zoo.revision, "words": text, "concepts": concepts}

    def download(
        self, words: object, seed: object = 0, origin: object = "auto", form: object = "merged"
    ) -> Path:
        """Store an init as the file that `initzoo pull` writes, and return its path.

        Args:
            words, seed, origin: as for `generate`.
            form: `merged` or `adapter`, both safetensors.

        Raises:
            InvalidRequest, UnknownConcept, InvalidWords, InvalidGenerator, InvalidZoo: as for `generate`.
        """
        request = read_request(words, origin, seed)
        return self.kept.keep(*self.studio.file_of(request, read_choice(form, "form", FORMS)))

    # For the page: the same answers as texts and galleries.

    def take_photo(self, upload: object) -> dict[str, Any]:
        """Prepare an uploaded photo for previews; returns its stored path and original size.

        Raises:
            InvalidRequest: nothing was uploaded.
            InvalidImage: the photo cannot be read.
        """
        path = read_upload(upload, self.kept.folder)
        if path is None:
            raise InvalidRequest("no photo was uploaded. Choose an image file")
        photo = read_photo(path)
        kept = self.kept.keep_picture("photo.png", photo.pixels)
        return {"path": str(kept), "full_size": list(photo.full_size)}

    def take_example(self, number: int) -> dict[str, Any]:
        """Prepare one of the example photos for previews, like `take_photo`."""
        examples = self.studio.examples
        photo = examples[number % len(examples)]
        height, width = photo.pixels.shape[:2]
        kept = self.kept.keep_picture(f"{photo.name}.png", photo.pixels)
        return {"path": str(kept), "full_size": [width, height]}

    def photo_of(self, upload: object) -> VisitorPhoto:
        """Read a visitor's photo; the first example by default.

        Raises:
            InvalidRequest: `upload` does not name an uploaded file.
            InvalidImage: the photo cannot be read.
        """
        path = read_upload(upload, self.kept.folder)
        if path is None:
            example = self.studio.examples[0]
            height, width = example.pixels.shape[:2]
            return VisitorPhoto(example.name, example.pixels, (width, height))
        photo = read_photo(path)
        # Only the page sends a size: the one that `take_photo` returned.
        match upload:
            case {"full_size": [int(width), int(height)]}:
                return replace(photo, full_size=(width, height))
        return photo

    def show(
        self, words: object, seed: object, anew: object, photo: object
    ) -> tuple[tuple[str, str], str, list[tuple[str, str]], list[str], str, dict[str, Any]]:
        """Make a preview for the page.

        Returns:
            The pictures before and after; a description of the init as HTML; pictures and names of the
            nearest concepts, and their ids; the commands; and the request, for later calls.
        """
        request = read_request(words, "generated" if anew else "auto", seed)
        given = self.photo_of(photo)
        init = self.studio.init_of(request)
        after = self.kept.keep_picture(_picture_name(init), self.studio.edit(init, given.pixels))
        before = self.kept.keep_picture("photo.png", given.pixels)
        ids, pictures = self.nearest_pictures(request.words)
        commands = finetune_commands(self.studio.zoo, init)
        description = tell_html(init, shrunk_note(given))
        return (str(before), str(after)), description, pictures, ids, commands, request_to_json(request)

    def nearest_pictures(self, words: str) -> tuple[list[str], list[tuple[str, str]]]:
        """The ids of the nearest concepts, and their thumbnails with names."""
        matches = self.studio.nearest(words, _N_NEAREST)
        return self.pictures_of([match.concept_id for match in matches])

    def pictures_of(self, ids: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
        """The given concept ids, and their thumbnails with plain names."""
        pictures = [
            (
                str(self.kept.keep_picture(f"{concept_id[:80]}.png", self.studio.thumbnail(concept_id))),
                self.studio.listed(concept_id).prompt,
            )
            for concept_id in ids
        ]
        return ids, pictures

    def variations(self, request: dict[str, Any], photo: object) -> tuple[list[tuple[str, str]], list[int]]:
        """Small previews of other seeds, and the seeds; empty for an exact checkpoint."""
        asked = read_request(**request)
        if self.studio.init_of(asked).metadata.origin != "generated":
            return [], []
        small = _small(self.photo_of(photo).pixels)
        drawn = self.studio.variations(asked, _N_VARIATIONS)
        pictures = [
            (str(self.kept.keep_picture(f"seed-{seed}.png", self.studio.edit(init, small))), f"seed {seed}")
            for seed, init in drawn
        ]
        return pictures, [seed for seed, _ in drawn]

    def show_blend(
        self, first: object, second: object, share: object, photo: object
    ) -> tuple[tuple[str, str], str, str, str]:
        """Make a blend for the page: pictures before and after, description as HTML, file, and commands."""
        one, other = Request(read_words(first, name="first")), Request(read_words(second, name="second"))
        part, given = read_share(share), self.photo_of(photo)
        init = self.studio.blend(one, other, part)
        after = self.kept.keep_picture(_picture_name(init), self.studio.edit(init, given.pixels))
        before = self.kept.keep_picture("photo.png", given.pixels)
        file = self.kept.keep(file_name(init), init.to_bytes())
        ends = self.studio.init_of(one), self.studio.init_of(other)
        commands = blend_commands(self.studio.zoo, *ends, part)
        return (str(before), str(after)), tell_html(init, shrunk_note(given)), str(file), commands

    def _info(self, init: Init, request: Request) -> dict[str, Any]:
        metadata, generation = init.metadata, init.metadata.generation
        return {
            "words": request.words,
            "concept": metadata.concept,
            "origin": metadata.origin,
            "seed": None if generation is None else generation.seed,
            "zoo": metadata.zoo,
            "revision": metadata.revision,
            "licence": metadata.licence,
            "sha256": init.sha256,
            "distance": None if generation is None else generation.distance,
            "expected_psnr": None
            if generation is None or generation.expected_psnr is None
            else list(generation.expected_psnr),
            "is_far": None if generation is None else generation.is_far,
            "told": f"{tell_init(init)} {tell_prospect(init)}",
            "nearest": [match.concept_id for match in self.studio.nearest(request.words, _N_NEAREST)],
            "commands": finetune_commands(self.studio.zoo, init),
        }


def tell_html(init: Init, note: str = "") -> str:
    """Describe an init as HTML; visitors' words are escaped."""
    far = init.metadata.generation is not None and bool(init.metadata.generation.is_far)
    lines = [tell_init(init), tell_prospect(init), *([note] if note else [])]
    texts = "".join(f"<p>{escape(line)}</p>" for line in lines)
    look = " far" if far else ""
    return (
        f'<div class="told{look}" role="status" aria-live="polite">'
        f'<p class="kind"><b>{escape(init.metadata.wording)}</b></p>{texts}</div>'
    )


def shrunk_note(photo: VisitorPhoto) -> str:
    """A note for a photo that is shown at reduced size, else empty."""
    if not photo.is_shrunk:
        return ""
    height, width = photo.pixels.shape[:2]
    return f"Shown at {width} x {height} pixels; initzoo apply edits the whole photo."


def error_text(error: InitzooError) -> str:
    """An error message as HTML; visitors' words are escaped."""
    return escape(str(error), quote=False)


def _picture_name(init: Init) -> str:
    return file_name(init).replace(".safetensors", ".png")


def _small(pixels: Pixels) -> Pixels:
    from initzoo.pairs import fit_short_side

    return fit_short_side(pixels, _VARIATION_SIDE) if min(pixels.shape[:2]) > _VARIATION_SIDE else pixels
