"""The test of words in pictures: how near the look comes that a phrase gets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from initzoo.evaluation.bootstrap import Resampling
from initzoo.evaluation.cases import Question
from initzoo.evaluation.generator.measuring import Job, Measured, measure
from initzoo.evaluation.generator.statistics import summarise
from initzoo.generator import Request
from initzoo.pairs import PhotoSource, TestPhrase
from initzoo.work import Pool
from initzoo.zoo import Zoo

__all__ = ["PhrasePictures", "measure_phrases"]


@dataclass(frozen=True)
class PhrasePictures:
    """How near the looks come that phrases of one kind get.

    Args:
        kind: `single` or `combination`.
        answer: `pull` for what the zoo answers, `generate` for weights that are generated in any case.
        n_phrases: number of phrases.
        psnr: mean PSNR of the pictures, dB.
        mean: that of the mean adapter.
        trained: that of the checkpoint that is meant.
        gap_closed: share of the way from the mean adapter to the checkpoint that is meant.
        interval: 95% bootstrap interval of the share.
    """

    kind: str
    answer: str
    n_phrases: int
    psnr: float
    mean: float
    trained: float
    gap_closed: float
    interval: tuple[float, float]


def measure_phrases(
    zoo: Zoo,
    phrases: Sequence[TestPhrase],
    photos: PhotoSource,
    *,
    pool: Pool,
    callback: Callable[[int, int], None] | None = None,
) -> list[PhrasePictures]:
    """Measure what a zoo answers to phrases, and what its weight generator makes of them, on scoring photos.

    Adapters alone are compared, since generated weights have no detail. Phrases for concepts that the zoo
    does not hold are left out.

    Args:
        zoo: a zoo with a weight generator.
        phrases: the phrases.
        photos: photos to measure on.
        pool: the workers.
        callback: called with phrases done and their total.

    Raises:
        InvalidGenerator: the zoo has no weight generator.
        TeacherError: a teacher failed on a photo.
    """
    known = {*zoo.index.ids}
    asked = [phrase for phrase in phrases if phrase.concept in known]
    mean = zoo.mean_adapter_blocks()
    jobs = []
    for phrase in asked:
        question = Question.about(zoo, phrase.concept, [phrase.words])
        route = zoo.route(phrase.words)
        generated = zoo.generator.generate(Request(phrase.words))
        pulled = generated if route.concept_id is None else zoo.blocks(route.concept_id)
        blocks = {"pull": pulled, "generate": generated, "mean": mean, "trained": question.trained}
        rows = {name: np.asarray(one)[None] for name, one in blocks.items()}
        jobs.append(Job(question, rows, strengths={"pull": (route.strength,)}))
    measured = measure(zoo, jobs, photos, pool=pool, callback=callback)
    kinds = list(dict.fromkeys(phrase.kind for phrase in asked))
    return [
        _summary(kind, answer, [one for one in measured if asked[one.question].kind == kind])
        for kind in kinds
        for answer in ("pull", "generate")
    ]


def _summary(kind: str, answer: str, measured: Sequence[Measured]) -> PhrasePictures:
    methods = {"generated": answer, "mean": "mean", "trained": "trained"}
    scores = {name: [one.mean(method) for one in measured] for name, method in methods.items()}
    summary = summarise(
        {name: [score.psnr for score in own] for name, own in scores.items()},
        {name: [score.ssim for score in own] for name, own in scores.items()},
        Resampling(),
    )
    psnr: Any = summary["psnr"]
    share: Any = summary["gap_closed"]
    ends: Any = summary["gap_closed_interval"] or (math.nan, math.nan)
    return PhrasePictures(
        kind=kind,
        answer=answer,
        n_phrases=len(measured),
        psnr=psnr["generated"],
        mean=psnr["mean"],
        trained=psnr["trained"],
        gap_closed=math.nan if share is None else share,
        interval=(ends[0], ends[1]),
    )
