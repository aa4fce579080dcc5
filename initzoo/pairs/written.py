"""Writes the pairs of concepts as image folders, for viewing or for other tools."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidConcepts, InvalidImage, OutputError
from initzoo.files import path_within, replace_folder, reported_as, write_bytes, write_image
from initzoo.pairs.concepts import Concept
from initzoo.pairs.opencv import fit_short_side
from initzoo.pairs.photos import TEACHING_SIDE, Photo, varied_photos
from initzoo.pairs.taught import teach_each
from initzoo.pairs.teachers import FolderTeacher, Refused

__all__ = ["WrittenPairs", "write_pairs"]

Pixels = NDArray[np.uint8]


_NOTES = "pairs.json"


@dataclass
class WrittenPairs:
    """What was written.

    Args:
        n_pairs: number of pairs by concept id.
        left_out: names of the photos whose pictures are no good to train on, and why, by concept id.
    """

    n_pairs: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)


def write_pairs(
    concepts: Sequence[Concept],
    photos: Sequence[Photo],
    out: Path,
    *,
    n_varied: int = 0,
    seed: int = 0,
    force: bool = False,
    callback: Callable[[int], None] | None = None,
) -> WrittenPairs:
    """Write pairs as image folders, atomically.

    One concept gives `out/A` with inputs and `out/B` with targets, as PNG files of equal names, and
    `out/pairs.json` with teacher, licences and the photos that were left out, as their pictures are black or
    unchanged. Several concepts give such folders within a folder per concept id.

    Args:
        concepts: the concepts, whose teachers make the pairs.
        photos: one pair is made of each photo, with shorter side `TEACHING_SIDE`.
        out: the folder to write; its parent must exist.
        n_varied: number of varied photos to use instead of the photos themselves; 0 for none.
        seed: seed of the variations and of the damage in restorations.
        force: replace a folder of pairs.
        callback: called after each concept with the number of concepts done.

    Returns:
        The numbers of pairs, and the photos that were left out.

    Raises:
        ValueError: `n_varied` is below 0.
        OutputError: `out` exists and `force` is False, has other content than pairs, or cannot be written.
        InvalidImage: the name of a photo cannot name a file.
        InvalidConcepts: two concepts have the same id, an id is not a valid folder name, or a teacher is
            itself a folder of pairs.
        TeacherError: a teacher failed.

    Example:
        >>> import tempfile
        >>> from initzoo.pairs.concepts import find_concept, load_concepts
        >>> from initzoo.pairs.photos import load_photos
        >>> concept = find_concept(load_concepts(), "pencil sketch")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = write_pairs([concept], load_photos(split="score")[:1], Path(folder) / "pairs")
        ...     written.n_pairs, [path.name for path in (Path(folder) / "pairs" / "A").iterdir()]
        ({'pencil-sketch': 1}, ['chelsea.png'])
    """
    if n_varied < 0:
        raise ValueError(f"n_varied must be at least 0, found {n_varied}")
    _check_concepts(concepts)
    if force and out.is_dir():
        _check_holds_pairs(out)
    shown = _shown_photos(photos, n_varied, seed)
    with reported_as(InvalidImage, "photos", "Rename the photo"):
        for name, _ in shown:
            path_within(out, f"{name}.png")
    licences = sorted({photo.licence for photo in photos})
    written = WrittenPairs()
    with replace_folder(out, force=force) as beside:
        for number, concept in enumerate(concepts):
            folder = beside / concept.id if len(concepts) > 1 else beside
            left_out = _write_concept(concept, shown, folder, seed)
            notes = {
                "concept": concept.id,
                "prompts": concept.prompts,
                "teacher": concept.teacher.to_json(),
                "licence": concept.licence,
                "licences_of_photos": licences,
                "left_out": left_out,
            }
            write_bytes(folder / _NOTES, json.dumps(notes, indent=1).encode() + b"\n", force=True)
            written.n_pairs[concept.id] = len(shown) - len(left_out)
            if left_out:
                written.left_out[concept.id] = left_out
            if callback is not None:
                callback(number + 1)
    return written


def _shown_photos(photos: Sequence[Photo], n_varied: int, seed: int) -> list[tuple[str, Pixels]]:
    """The photos for teachers, with the names of their files."""
    if not n_varied:
        return [(photo.name, fit_short_side(photo.pixels, TEACHING_SIDE)) for photo in photos]
    names = [f"{photos[number % len(photos)].name}-{number:05d}" for number in range(n_varied)]
    return list(zip(names, varied_photos(photos, n_varied, seed), strict=True))


def _write_concept(
    concept: Concept, shown: list[tuple[str, Pixels]], folder: Path, seed: int
) -> dict[str, str]:
    """Write the pairs of a concept. Returns the photos that were left out, with the reason."""
    left_out = {}
    for part in ("A", "B"):
        (folder / part).mkdir(parents=True)
    damage = [int(np.random.default_rng([seed, number, 2]).integers(2**31)) for number in range(len(shown))]
    taught = teach_each(concept.teacher, [photo for _, photo in shown], damage)
    for (name, _), pair in zip(shown, taught, strict=True):
        if isinstance(pair, Refused):
            left_out[name] = pair.reason
            continue
        for part, image in zip(("A", "B"), pair, strict=True):
            write_image(path_within(folder / part, f"{name}.png"), image, force=False)
    return left_out


def _check_concepts(concepts: Sequence[Concept]) -> None:
    ids = [concept.id for concept in concepts]
    for number, name in enumerate(ids):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise InvalidConcepts(
                f"concept {name!r}: the id cannot name a folder. Use letters, digits and hyphens"
            )
        if name in ids[:number]:
            raise InvalidConcepts(f"two concepts have the id '{name}'. Rename one")
    for concept in concepts:
        if isinstance(concept.teacher, FolderTeacher):
            raise InvalidConcepts(
                f"the teacher of concept '{concept.id}' is a folder of pairs already: "
                f"{concept.teacher.folder}. Leave the concept out"
            )


def _check_holds_pairs(out: Path) -> None:
    """Check that a folder has nothing but pairs, since replacing deletes all its content."""
    for path in out.iterdir():
        is_pairs = path.is_dir() and (path.name in ("A", "B") or (path / "A").is_dir())
        if not is_pairs and path.name != _NOTES:
            raise OutputError(
                f"will not replace {out}: it has {path.name}, which is not a folder of pairs. Choose another"
            )
