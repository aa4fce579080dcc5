"""Answers to what visitors and programs ask the demo: plain values in, plain values and files out."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initzoo.checkpoints.init import Init
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
from initzoo.generator.request import Request

__all__ = ["MAX_FOUND", "Answers", "error_text"]

Pixels = NDArray[np.uint8]

MAX_FOUND = 50
"""Concepts that one search gives at most."""

_N_NEAREST = 8
_N_VARIATIONS = 4
_VARIATION_SIDE = 160


class Answers:
    """What the page and the endpoints say, each answer worked out from its arguments alone.

    Args:
        studio: the open zoo.
        kept: where files for visitors go; uploads lie in the same folder.

    Example:
        >>> import tempfile
        >>> from initzoo.demo.service import Studio
        >>> from initzoo.zoo.zoo import Zoo
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     answers = Answers(Studio(Zoo.from_pretrained("starter"), None), KeptFiles(Path(folder)))
        ...     picture, told = answers.generate("pencil sketch")
        ...     picture.name, told["origin"], told["concept"]
        ('pencil-sketch.png', 'exact', 'pencil-sketch')
    """

    def __init__(self, studio: Studio, kept: KeptFiles) -> None:
        self.studio = studio
        self.kept = kept

    # For programs: types and keys stay as they are.

    def generate(
        self, words: object, photo: object = None, seed: object = 0, origin: object = "auto"
    ) -> tuple[Path, dict[str, Any]]:
        """Edit a photo with the init that words name or that is made from them.

        Args:
            words: concept id, wording, or any words for an edit.
            photo: an uploaded file; None for the first example.
            seed: of a generated init.
            origin: `auto`, `exact` or `generated`.

        Returns:
            The edited photo, a PNG file, and what is known of the init, plain JSON values.

        Raises:
            InvalidRequest: an argument is of a wrong type or out of range.
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
        """Concepts with wordings like some words.

        Returns:
            `concepts`, a list with the nearest first, plain JSON values.

        Raises:
            InvalidRequest, InvalidWords: the words are no text, empty or too long, or `limit` is out of
                range.
        """
        text = read_words(words)
        matches = self.studio.nearest(text, read_count(limit, name="limit", high=MAX_FOUND))
        zoo = self.studio.zoo
        found = []
        for match in matches:
            listed = self.studio.listed(match.concept_id)
            told = {"concept": match.concept_id, "prompt": match.prompt, "similarity": match.similarity}
            told |= {"family": listed.family, "licence": listed.licence, "psnr": listed.psnr}
            found.append(told)
        return {"zoo": zoo.name, "revision": zoo.revision, "words": text, "concepts": found}

    def download(
        self, words: object, seed: object = 0, origin: object = "auto", form: object = "merged"
    ) -> Path:
        """The file of an init, as `initzoo pull` writes it.

        Args:
            words, seed, origin: as `generate` takes them.
            form: `merged` or `adapter`, both safetensors.

        Raises:
            InvalidRequest, UnknownConcept, InvalidWords, InvalidGenerator, InvalidZoo: as for `generate`.
        """
        request = read_request(words, origin, seed)
        return self.kept.keep(*self.studio.file_of(request, read_choice(form, "form", FORMS)))

    # For the page: the same answers, as texts and galleries.

    def take_photo(self, upload: object) -> dict[str, Any]:
        """Make an uploaded photo ready for previews: where it is kept, and the size that it had.

        Raises:
            InvalidRequest: nothing was uploaded.
            InvalidImage: it cannot be read.
        """
        path = read_upload(upload, self.kept.folder)
        if path is None:
            raise InvalidRequest("no photo was uploaded. Choose an image file")
        photo = read_photo(path)
        kept = self.kept.keep_picture("photo.png", photo.pixels)
        return {"path": str(kept), "full_size": list(photo.full_size)}

    def take_example(self, number: int) -> dict[str, Any]:
        """Make one of the example photos the one that is shown; as `take_photo`."""
        examples = self.studio.examples
        photo = examples[number % len(examples)]
        height, width = photo.pixels.shape[:2]
        kept = self.kept.keep_picture(f"{photo.name}.png", photo.pixels)
        return {"path": str(kept), "full_size": [width, height]}

    def photo_of(self, upload: object) -> VisitorPhoto:
        """A visitor's photo, or the first example.

        Raises:
            InvalidRequest: it names no uploaded file.
            InvalidImage: it cannot be read.
        """
        path = read_upload(upload, self.kept.folder)
        if path is None:
            example = self.studio.examples[0]
            height, width = example.pixels.shape[:2]
            return VisitorPhoto(example.name, example.pixels, (width, height))
        photo = read_photo(path)
        # Only the page sends a size with a photo, and it sends what `take_photo` gave it.
        match upload:
            case {"full_size": [int(width), int(height)]}:
                return replace(photo, full_size=(width, height))
        return photo

    def show(
        self, words: object, seed: object, anew: object, photo: object
    ) -> tuple[tuple[str, str], str, list[tuple[str, str]], list[str], str, dict[str, Any]]:
        """A preview for the page.

        Returns:
            Before and after; what the init is, as HTML; nearest concepts as pictures with their names, and
            their ids; the commands; and the request, for what is asked next.
        """
        request = read_request(words, "generated" if anew else "auto", seed)
        given = self.photo_of(photo)
        init = self.studio.init_of(request)
        after = self.kept.keep_picture(_picture_name(init), self.studio.edit(init, given.pixels))
        before = self.kept.keep_picture("photo.png", given.pixels)
        ids, pictures = self.nearest_pictures(request.words)
        commands = finetune_commands(self.studio.zoo, init)
        told = tell_html(init, shrunk_note(given))
        return (str(before), str(after)), told, pictures, ids, commands, request_to_json(request)

    def nearest_pictures(self, words: str) -> tuple[list[str], list[tuple[str, str]]]:
        """Ids of the nearest concepts, and their thumbnails with their names."""
        matches = self.studio.nearest(words, _N_NEAREST)
        return self.pictures_of([match.concept_id for match in matches])

    def pictures_of(self, ids: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
        """Concept ids, and their thumbnails with the concepts' plain names."""
        pictures = [
            (
                str(self.kept.keep_picture(f"{concept_id[:80]}.png", self.studio.thumbnail(concept_id))),
                self.studio.listed(concept_id).prompt,
            )
            for concept_id in ids
        ]
        return ids, pictures

    def variations(self, request: dict[str, Any], photo: object) -> tuple[list[tuple[str, str]], list[int]]:
        """Small previews of other seeds, with the seeds; none of an exact checkpoint."""
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
        """A blend for the page: before and after, what it is as HTML, its file, and the commands."""
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
    """What an init is, as HTML; whatever visitors wrote is escaped."""
    far = init.metadata.generation is not None and bool(init.metadata.generation.is_far)
    lines = [tell_init(init), tell_prospect(init), *([note] if note else [])]
    texts = "".join(f"<p>{escape(line)}</p>" for line in lines)
    look = " far" if far else ""
    return (
        f'<div class="told{look}" role="status" aria-live="polite">'
        f'<p class="kind"><b>{escape(init.metadata.wording)}</b></p>{texts}</div>'
    )


def shrunk_note(photo: VisitorPhoto) -> str:
    """A line for a photo that is shown smaller than it is; else nothing."""
    if not photo.is_shrunk:
        return ""
    height, width = photo.pixels.shape[:2]
    return f"Shown at {width} x {height} pixels; initzoo apply edits the whole photo."


def error_text(error: InitzooError) -> str:
    """An error for a page that takes HTML: whatever visitors wrote is escaped."""
    return escape(str(error), quote=False)


def _picture_name(init: Init) -> str:
    return file_name(init).replace(".safetensors", ".png")


def _small(pixels: Pixels) -> Pixels:
    from initzoo.pairs.photos import fit_short_side

    return fit_short_side(pixels, _VARIATION_SIDE) if min(pixels.shape[:2]) > _VARIATION_SIDE else pixels
