"""The answers to requests of programs, as plain values and files."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from initzoo.checkpoints import Init
from initzoo.demo.calls import MAX_FOUND
from initzoo.demo.file_store import KeptFiles
from initzoo.demo.requests import (
    Look,
    read_choice,
    read_count,
    read_request,
    read_text,
    read_upload,
    read_uploads,
    read_words,
)
from initzoo.demo.service import FORMS, Studio
from initzoo.demo.texts import file_name, pull_commands, tell_init, tell_prospect
from initzoo.demo.uploads import VisitorPhoto, read_photo
from initzoo.errors import InitzooError, InvalidRequest
from initzoo.generator import Request
from initzoo.pairs import Pair, digest_examples, limits_of

__all__ = ["Answers", "error_text"]

_N_NEAREST = 8


class Answers:
    """The answers of the endpoints. Each depends on its arguments only.

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

    # Types and keys are a public interface.

    def generate(
        self, words: object, photo: object = None, seed: object = 0, origin: object = "auto"
    ) -> tuple[Path, dict[str, Any]]:
        """Edit a photo with the init that words name, or with one generated from them.

        Args:
            words: concept id, wording, or any words for an edit.
            photo: an uploaded file; the first example by default.
            seed: seed of a generated init.
            origin: `auto`, `exact`, `matched` or `generated`.

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
        strength = self.studio.strength_of(Look(request))
        edited = self.studio.edit(init, given.pixels, strength=strength)
        path = self.kept.keep_picture(_picture_name(init), edited)
        height, width = edited.shape[:2]
        return path, self._info(init, request, strength) | {"width": width, "height": height}

    def fit(
        self, before: object, after: object, words: object = "", photo: object = None
    ) -> tuple[Path, dict[str, Any], Path]:
        """Fit weights to pairs of photos and edit another photo with them.

        Args:
            before: a list of uploaded files, or one.
            after: as many, in the same order.
            words: words for the edit, which may be empty.
            photo: an uploaded file to edit; the first example by default.

        Returns:
            The edited photo as a PNG file, a description of the init as JSON values, and the init.

        Raises:
            InvalidRequest: an argument has a wrong type, or there are not as many photos after as before.
            InvalidImage: a photo cannot be read.
            InvalidPairs: the sides of a pair have different sizes, or no pair has a change.
            InvalidWords, InvalidGenerator, InvalidZoo: as for `Zoo.pull`.
        """
        sides = [
            read_uploads(value, self.kept.folder, name=name)
            for name, value in (("before", before), ("after", after))
        ]
        if len(sides[0]) != len(sides[1]):
            raise InvalidRequest(
                f"there are {len(sides[0])} photos before and {len(sides[1])} after. Send as many of each"
            )
        text = read_text(words, name="words")
        given = self.photo_of(photo)
        pairs = tuple(
            Pair(f"pair {number}", read_photo(one).pixels, read_photo(other).pixels)
            for number, (one, other) in enumerate(zip(*sides, strict=True), 1)
        )
        request = Request(read_words(text) if text else "", pairs=pairs)
        init = self.studio.fit((request.words, digest_examples(pairs)), lambda: request)
        edited = self.studio.edit(init, given.pixels)
        height, width = edited.shape[:2]
        fitting = init.metadata.fitting
        assert fitting is not None
        info = {
            "concept": init.metadata.concept,
            "origin": init.metadata.origin,
            "zoo": init.metadata.zoo,
            "revision": init.metadata.revision,
            "sha256": init.sha256,
            "fitting": fitting.to_dict(),
            "told": f"{tell_init(init)} {tell_prospect(init)}".strip(),
            "commands": pull_commands(self.studio.zoo, init),
            "width": width,
            "height": height,
        }
        picture = self.kept.keep_picture(_picture_name(init), edited)
        return picture, info, self.kept.keep(file_name(init), init.to_bytes())

    def search(self, words: object, limit: object = 10) -> dict[str, Any]:
        """Find concepts with wordings similar to some words.

        Returns:
            JSON values; `concepts` is a list with the nearest first, and `cannot` says what the words ask for
            that no checkpoint does.

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
        cannot = [] if zoo.holds(text) else _cannot(text)
        found = {"zoo": zoo.name, "revision": zoo.revision, "words": text}
        return found | {"concepts": concepts, "cannot": cannot}

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

    def photo_of(self, upload: object) -> VisitorPhoto:
        """Read an uploaded photo; the first example by default.

        Raises:
            InvalidRequest: `upload` does not name an uploaded file.
            InvalidImage: the photo cannot be read.
        """
        path = read_upload(upload, self.kept.folder)
        if path is not None:
            return read_photo(path)
        example = self.studio.examples[0]
        height, width = example.pixels.shape[:2]
        return VisitorPhoto(example.name, example.pixels, (width, height))

    def _info(self, init: Init, request: Request, strength: float) -> dict[str, Any]:
        metadata, generation = init.metadata, init.metadata.generation
        return {
            "words": request.words,
            "concept": metadata.concept,
            "origin": metadata.origin,
            "seed": None if generation is None else generation.seed,
            "strength": strength,
            "zoo": metadata.zoo,
            "revision": metadata.revision,
            "licence": metadata.licence,
            "sha256": init.sha256,
            "distance": None if generation is None else generation.distance,
            "expected_psnr": None
            if generation is None or generation.expected_psnr is None
            else list(generation.expected_psnr),
            "is_far": None if generation is None else generation.is_far,
            "told": f"{tell_init(init)} {tell_prospect(init)}".strip(),
            "cannot": _cannot(request.words) if metadata.origin == "generated" else [],
            "nearest": [match.concept_id for match in self.studio.nearest(request.words, _N_NEAREST)],
            "commands": pull_commands(self.studio.zoo, init, strength=strength),
        }


def error_text(error: InitzooError) -> str:
    """An error message as HTML; visitors' words are escaped."""
    return escape(str(error), quote=False)


def _cannot(words: str) -> list[str]:
    return [limit.line for limit in limits_of(words)]


def _picture_name(init: Init) -> str:
    return file_name(init).replace(".safetensors", ".png")
