"""Run adapters on scoring photos and score what comes out, spread over processes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from initzoo.checkpoints import split_blocks
from initzoo.errors import TrainingError
from initzoo.evaluation.cases import Question
from initzoo.networks import adapter_to_arrays
from initzoo.pairs import (
    TEACHING_SIDE,
    PhotoSource,
    Score,
    fit_short_side,
    load_photos,
    make_pairs,
    mean_score,
    score_images,
    scoring_pairs,
    varied_photos,
)
from initzoo.training import TrainingDiverged, fit_adapter, recipe_of_base
from initzoo.work import Pool
from initzoo.zoo import Zoo

__all__ = ["Job", "Measured", "measure", "wrong_overlap"]

Pixels = NDArray[np.uint8]
Blocks = NDArray[np.float32]

WRONG_BY = 0.1
"""A pixel is wrong when its channels are off by more than this share of the range, on average."""

_PATCH_SIZE = 192
_KEPT_EDITS = 256


@dataclass(frozen=True, eq=False)
class Job:
    """Adapters to be measured on one concept.

    Args:
        question: the concept.
        blocks: by method, blocks for each wording, shape `(n_wordings, n_blocks, block_size)`; one row for
            a method that does not look at the words.
        overlaps: pairs of methods whose wrong pixels are compared, first wording each.
        fit: train an adapter on the concept too, as method `trained`.
        strengths: by method, the strength at which the look of each wording is applied; 1 by default.
    """

    question: Question
    blocks: Mapping[str, Blocks]
    overlaps: tuple[tuple[str, str], ...] = ()
    fit: bool = False
    strengths: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Measured:
    """What came of a job.

    Args:
        question: its place in the list of jobs.
        scores: by method, a score for each wording, each a mean over the photos.
        overlaps: by pair of methods, the share of wrong pixels that they have in common; None where
            neither has any.
        fitted: blocks of the adapter that was trained for the job, shape `(n_blocks, block_size)`; or None.
    """

    question: int
    scores: Mapping[str, list[Score]]
    overlaps: Mapping[tuple[str, str], float | None] = field(default_factory=dict)
    fitted: Blocks | None = None

    def mean(self, method: str) -> Score:
        """The mean over the wordings."""
        return mean_score(self.scores[method])

    def of(self, method: str, rank: int) -> Score:
        """The score in one of the wordings; the same in all for a method that does not look at words."""
        scores = self.scores[method]
        return scores[min(rank, len(scores) - 1)]


def measure(
    zoo: Zoo,
    jobs: Sequence[Job],
    photos: PhotoSource,
    *,
    pool: Pool,
    callback: Callable[[int, int], None] | None = None,
) -> list[Measured]:
    """Measure adapters on whole photos, at the short side that teachers see.

    Args:
        zoo: has the base.
        jobs: what to measure.
        photos: what to measure on.
        pool: who works.
        callback: called with jobs done and jobs in all.

    Returns:
        What came of each job, in their order.

    Raises:
        TeacherError: a teacher failed on a photo.
        InvalidImage: there are no photos to measure on.
        TrainingError: a fit diverged.
        WorkerDied: a worker died.
    """
    results: dict[int, Measured] = {}
    numbered = list(enumerate(jobs))
    for (number, _), one in pool.run(partial(_Worker, zoo, photos), numbered, name_of=_concept_of):
        results[number] = one
        if callback is not None:
            callback(len(results), len(jobs))
    return [results[number] for number in range(len(jobs))]


def _concept_of(numbered: tuple[int, Job]) -> str:
    return numbered[1].question.concept_id


class _Worker:
    """What a process loads once."""

    def __init__(self, zoo: Zoo, source: PhotoSource) -> None:
        self.zoo = zoo
        self.source = source
        self.photos = [
            replace(photo, pixels=fit_short_side(photo.pixels, TEACHING_SIDE)) for photo in source.load()
        ]
        self._edits: dict[bytes, list[Pixels]] = {}

    def __call__(self, numbered: tuple[int, Job]) -> Measured:
        """Teach the concept's photos once, then run and score every adapter on them."""
        number, job = numbered
        given, wanted = scoring_pairs(job.question.teacher, self.photos)
        blocks = dict(job.blocks)
        if job.fit:
            blocks["trained"] = self._fit(job.question)[None]
        edits = {
            method: [
                self._edit(one, given, strength)
                for one, strength in zip(rows, job.strengths.get(method, [1.0] * len(rows)), strict=True)
            ]
            for method, rows in blocks.items()
        }
        return Measured(
            question=number,
            scores={
                method: [score_images(images, wanted) for images in rows] for method, rows in edits.items()
            },
            overlaps={
                (one, other): wrong_overlap(edits[one][0], edits[other][0], wanted)
                for one, other in job.overlaps
            },
            fitted=blocks["trained"][0] if job.fit else None,
        )

    def _edit(self, blocks: Blocks, photos: list[Pixels], strength: float) -> list[Pixels]:
        """Edited photos; kept, because the mean adapter meets the same photos again and again."""
        digest = hashlib.sha256(blocks.tobytes() + np.float64(strength).tobytes())
        for photo in photos:
            digest.update(photo.tobytes())
        key = digest.digest()
        if key not in self._edits:
            if len(self._edits) >= _KEPT_EDITS:
                self._edits.clear()
            model = self.zoo.network(blocks)
            self._edits[key] = [model.edit(photo, strength=strength) for photo in photos]
        return self._edits[key]

    def _fit(self, question: Question) -> Blocks:
        """Train an adapter on a concept as a harvest does, rounded as it would be stored."""
        recipe = recipe_of_base(self.zoo.config)
        base = self.zoo.recipe.build_base(self.zoo.base()).requires_grad_(False)
        photos = load_photos(self.source.folder, split="train")
        pairs = make_pairs(
            question.teacher,
            varied_photos(photos, recipe.fit.n_photos, seed=recipe.seed),
            n_pairs=recipe.fit.n_photos,
            patch_size=_PATCH_SIZE,
            seed=recipe.seed,
            grid=recipe.crop_grid,
        )
        try:
            adapter = fit_adapter(
                base,
                pairs,
                recipe.fit,
                crop_size=recipe.crop_size,
                max_gradient=recipe.max_gradient,
                seed=recipe.seed,
                crop_grid=recipe.crop_grid,
            )
        except TrainingDiverged as error:
            raise TrainingError(f"the fit of concept '{question.concept_id}' failed: {error}.") from error
        blocks = split_blocks(adapter_to_arrays(adapter, dict(recipe.layout.tensors)), recipe.layout)
        return blocks.astype(np.float16).astype(np.float32)


def wrong_overlap(
    images: Sequence[Pixels], others: Sequence[Pixels], targets: Sequence[Pixels]
) -> float | None:
    """The share of wrong pixels that two sets of images have in common: intersection over union.

    Args:
        images: uint8, shape `(height, width, 3)` each.
        others: the same photos edited by another network.
        targets: what both should be.

    Returns:
        From 0, wrong in other places, to 1, wrong in the same; None if no pixel of either is wrong.

    Example:
        >>> black, white = np.zeros((1, 2, 3), np.uint8), np.full((1, 2, 3), 255, np.uint8)
        >>> half = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
        >>> wrong_overlap([white], [half], [black])
        0.5
    """
    n_both = n_either = 0
    for image, other, target in zip(images, others, targets, strict=True):
        one, two = _wrong(image, target), _wrong(other, target)
        n_both += int((one & two).sum())
        n_either += int((one | two).sum())
    return n_both / n_either if n_either else None


def _wrong(image: Pixels, target: Pixels) -> NDArray[np.bool_]:
    error = np.abs(image.astype(np.int16) - target).mean(axis=2)
    return np.asarray(error > WRONG_BY * 255)
