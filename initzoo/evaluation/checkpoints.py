"""Measure a zoo's checkpoints again, from its own files, on photos that training never saw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidZoo
from initzoo.evaluation.report.grids import GridRow, draw_grid
from initzoo.files import read_image
from initzoo.networks import ImageNetwork
from initzoo.pairs import (
    TEACHING_SIDE,
    Photo,
    Score,
    Teacher,
    example_pair,
    fit_short_side,
    load_photos,
    mean_score,
    measure_mesh,
    parse_teacher,
    score_images,
    scoring_pairs,
)
from initzoo.work import Backend, Pool
from initzoo.zoo import Zoo

__all__ = [
    "ConceptScores",
    "concept_grid",
    "evaluate_zoo",
    "family_table",
    "score_concept",
    "stored_scores",
]


@dataclass(frozen=True)
class ConceptScores:
    """Scores of one concept, each a mean over the scoring photos.

    Args:
        concept_id: the concept.
        family: its family.
        split: its split.
        untouched: the photo as it is, against the teacher's.
        mean: the mean adapter of the zoo.
        trained: the zoo's checkpoint, as it is stored.
        mesh: the pattern that the checkpoint leaves in flat areas, grey levels, by `measure_mesh`; None if it
            was not measured, or if the targets have no flat areas.
    """

    concept_id: str
    family: str
    split: str
    untouched: Score
    mean: Score
    trained: Score
    mesh: float | None = None


def score_concept(
    zoo: Zoo, concept_id: str, mean: ImageNetwork, photos: Sequence[Photo], teachers: Sequence[Teacher] = ()
) -> ConceptScores:
    """Measure one checkpoint beside the untouched photo and the mean adapter.

    Args:
        zoo: holds the checkpoint.
        concept_id: which one.
        mean: the network with the zoo's mean adapter.
        photos: to measure on; the teacher sees them at a short side of 256 pixels.
        teachers: those that a zoo names and does not hold.

    Raises:
        TeacherError: the teacher failed on a photo.
        ChecksumMismatch, InvalidZoo: the zoo is damaged.
    """
    row = zoo.index.row(concept_id)
    inputs, targets = scoring_pairs(parse_teacher(row.teacher, teachers), photos)
    trained = zoo.checkpoint(concept_id)
    edited = [trained.edit(photo) for photo in inputs]
    mesh = measure_mesh(edited, targets)
    return ConceptScores(
        concept_id=concept_id,
        family=row.family,
        split=row.split,
        untouched=score_images(inputs, targets),
        mean=score_images([mean.edit(photo) for photo in inputs], targets),
        trained=score_images(edited, targets),
        mesh=None if np.isnan(mesh) else mesh,
    )


def stored_scores(zoo: Zoo, *, split: str | None = None) -> list[ConceptScores]:
    """The scores that the index holds, in its order; concepts without scores are left out.

    Raises:
        InvalidZoo: no checkpoint of this split has scores, or the index is damaged.
    """
    stored = []
    for row in zoo.index.rows(split=split):
        pairs = (row.psnr_untouched, row.ssim_untouched), (row.psnr_mean, row.ssim_mean), (row.psnr, row.ssim)
        scores = [Score(psnr, ssim) for psnr, ssim in pairs if psnr is not None and ssim is not None]
        if len(scores) == len(pairs):
            untouched, mean, trained = scores
            stored.append(ConceptScores(row.concept_id, row.family, row.split, untouched, mean, trained))
    if not stored:
        raise InvalidZoo(f"zoo '{zoo.name}' has no checkpoints with scores of split {split!r}.")
    return stored


def evaluate_zoo(
    zoo: Zoo,
    *,
    split: str | None = None,
    photos_folder: Path | None = None,
    teachers: Sequence[Teacher] = (),
    limit: int | None = None,
    n_workers: int | None = 1,
    backend: Backend = "processes",
    address: str | None = None,
    callback: Callable[[int, int], None] | None = None,
) -> list[ConceptScores]:
    """Measure a zoo's checkpoints, spread over processes.

    Args:
        zoo: the zoo.
        split: only checkpoints of this split; None for all.
        photos_folder: photos, of which those of split `score` are used; None for the bundled ones.
        teachers: of the concepts file, for those that a zoo does not hold: folders of pairs and functions.
        limit: measure only so many, spread evenly over the zoo.
        n_workers: processes, one core each; None for as many as there are cores.
        backend: where these are: processes of this machine, or ray.
        address: address of the cluster; by default that of RAY_ADDRESS, or one that is started here.
        callback: called with concepts done and concepts in all.

    Returns:
        Scores by concept, in the order of the index.

    Raises:
        InvalidZoo: no checkpoint is of this split, or the zoo is damaged.
        WorkerDied: a process died.
    """
    ids = [row.concept_id for row in zoo.index.rows(split=split)]
    if not ids:
        raise InvalidZoo(f"zoo '{zoo.name}' has no checkpoints of split {split!r}.")
    if limit is not None and limit < len(ids):
        ids = [ids[len(ids) * place // limit] for place in range(limit)]
    load_photos(photos_folder, split="score")  # what is missing or damaged is to show here, in words
    zoo.mean_adapter_blocks()
    scores: dict[str, ConceptScores] = {}
    for concept_id, one in Pool.make(n_workers, backend, address).run(
        partial(_Worker, zoo, photos_folder, teachers), ids
    ):
        scores[concept_id] = one
        if callback is not None:
            callback(len(scores), len(ids))
    return [scores[concept_id] for concept_id in ids]


class _Worker:
    """What a worker process loads once."""

    def __init__(self, zoo: Zoo, photos_folder: Path | None, teachers: Sequence[Teacher]) -> None:
        self.zoo, self.teachers = zoo, teachers
        self.mean = self.zoo.network(self.zoo.mean_adapter_blocks())
        self.photos = load_photos(photos_folder, split="score")

    def __call__(self, concept_id: str) -> ConceptScores:
        return score_concept(self.zoo, concept_id, self.mean, self.photos, self.teachers)


@dataclass(frozen=True)
class FamilyScores:
    """Mean scores of the concepts of a family, or of all."""

    family: str
    n_concepts: int
    untouched: Score
    mean: Score
    trained: Score
    lowest_tenth: float
    """PSNR that one concept in ten stays below, dB."""
    highest_mesh: float | None
    """Of the checkpoint with the strongest pattern in flat areas, grey levels; None if none was measured."""


def family_table(scores: Iterable[ConceptScores]) -> list[FamilyScores]:
    """Means by family, the families in order of name, and one row `all` at the end.

    Example:
        >>> score = Score(20.0, 0.5)
        >>> rows = family_table([ConceptScores("a", "tone", "train", score, score, Score(30.0, 0.9))])
        >>> [(row.family, row.n_concepts, row.trained.psnr) for row in rows]
        [('tone', 1, 30.0), ('all', 1, 30.0)]
    """
    listed = list(scores)
    groups = {
        family: [one for one in listed if one.family == family] for family in {s.family for s in listed}
    }
    return [
        FamilyScores(
            family=name,
            n_concepts=len(group),
            untouched=mean_score([one.untouched for one in group]),
            mean=mean_score([one.mean for one in group]),
            trained=mean_score([one.trained for one in group]),
            lowest_tenth=float(np.percentile([one.trained.psnr for one in group], 10)),
            highest_mesh=max((one.mesh for one in group if one.mesh is not None), default=None),
        )
        for name, group in [*sorted(groups.items()), ("all", listed)]
    ]


def concept_grid(
    zoo: Zoo, concepts: Sequence[str], photos: Sequence[str], *, n_columns: int = 1, side: int = 192
) -> NDArray[np.uint8]:
    """Draw each concept on a photo: the photo (spoilt, for a restoration), the teacher's, the checkpoint's.

    Args:
        zoo: holds the checkpoints.
        concepts: ids or wordings.
        photos: names of bundled scoring photos or paths of image files, used in turn; all bundled
            scoring photos when there are none.
        n_columns: concepts side by side.
        side: of each image, pixels.

    Returns:
        The picture, uint8 RGB.

    Raises:
        UnknownConcept: the zoo has no such concept.
        InvalidImage: a photo cannot be read.
    """
    bundled = {photo.name: photo.pixels for photo in load_photos(split="score")}
    chosen = [bundled[name] if name in bundled else read_image(Path(name)) for name in photos or bundled]
    rows = []
    for number, words in enumerate(concepts):
        row = zoo.find(words)
        photo = fit_short_side(chosen[number % len(chosen)], TEACHING_SIDE)
        given, wanted = example_pair(parse_teacher(row.teacher), photo, seed=number)
        edited = zoo.checkpoint(row.concept_id).edit(given)
        note = f"{score_images([edited], [wanted]).psnr:.1f} dB"
        rows.append(GridRow(title=row.prompts[0], note=note, images=(given, wanted, edited)))
    return draw_grid(rows, ("given", "teacher", "checkpoint"), n_columns=n_columns, side=side)
