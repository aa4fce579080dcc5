"""Evaluate fits to example pairs: the edit of each held-out concept is shown in a few pairs, and in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from initzoo.checkpoints import join_blocks, split_blocks
from initzoo.evaluation.cases import Question
from initzoo.evaluation.generator.statistics import gap_closed
from initzoo.generator import Examples, Request, refine
from initzoo.networks import ImageNetwork, adapter_from_arrays, adapter_to_arrays
from initzoo.pairs import (
    TEACHING_SIDE,
    PhotoSource,
    fit_short_side,
    load_photos,
    score_images,
    scoring_pairs,
)
from initzoo.work import Backend, Pool
from initzoo.zoo import Zoo, find_candidates

__all__ = ["FIT_METHODS", "FitScores", "FitSummary", "evaluate_fits", "fit_table"]

FIT_METHODS = (
    "mean",
    "base_fitted",
    "refined",
    "refined_with_words",
    "fitted",
    "fitted_with_words",
    "trained",
)
"""The mean adapter; a fit from the base alone, without the zoo; what the weight generator makes of the pairs,
and of pairs and words, without any step; fits without and with words from the zoo; the trained adapter."""


@dataclass(frozen=True)
class FitScores:
    """PSNR of one concept on scoring photos, dB, by method of `FIT_METHODS`, and what its fits began from."""

    concept_id: str
    split: str
    psnr: Mapping[str, float]
    starts: Mapping[str, str]


@dataclass(frozen=True)
class FitSummary:
    """The means of a split.

    Args:
        split: name of the split.
        n_concepts: number of concepts.
        psnr: mean PSNR by method, dB.
        gap_closed: share of the way from the mean adapter to the trained one, by method of fitting; empty if
            the trained one is not better.
    """

    split: str
    n_concepts: int
    psnr: Mapping[str, float]
    gap_closed: Mapping[str, float]


def evaluate_fits(
    zoo: Zoo,
    questions: Sequence[Question],
    *,
    n_pairs: int = 8,
    seconds: float = 1.0,
    photos: PhotoSource | None = None,
    n_workers: int | None = 1,
    backend: Backend = "processes",
    address: str | None = None,
    callback: Callable[[int, int], None] | None = None,
) -> list[FitScores]:
    """Fit adapters to example pairs of concepts that no training saw, and measure them on other photos.

    Only train checkpoints are candidates, so that no held-out concept answers for itself.

    Args:
        zoo: the zoo.
        questions: held-out concepts of the zoo, from `ask_about_zoo`. The first wording of each is used.
        n_pairs: example pairs of each concept, of photos that no score is measured on.
        seconds: work of each fit, in seconds of one core as the cost table counts them.
        photos: photos to measure on; the bundled ones by default. Example pairs are of the train photos of
            the same folder.
        n_workers: processes, one core each; None for as many as there are cores.
        backend: where workers run: in processes of this machine, or on a ray cluster.
        address: address of the cluster; by default that of RAY_ADDRESS, or one that is started here.
        callback: called with concepts done and concepts in all.

    Raises:
        InvalidImage: there are no photos.
        TeacherError: a teacher failed on a photo.
        WorkerDied: a process died.
    """
    source = photos or PhotoSource()
    results: dict[str, FitScores] = {}
    worker = partial(_Worker, zoo, source, n_pairs, seconds)
    pool = Pool.make(n_workers, backend, address)
    for question, scores in pool.run(worker, list(questions), name_of=_name_of):
        results[question.concept_id] = scores
        if callback is not None:
            callback(len(results), len(questions))
    return [results[question.concept_id] for question in questions]


def fit_table(scores: Sequence[FitScores]) -> list[FitSummary]:
    """The means of each split, in the order in which the splits come.

    Example:
        >>> psnr = dict.fromkeys(FIT_METHODS, 20.0) | {"mean": 10.0, "trained": 30.0}
        >>> fit_table([FitScores("fog", "heldout-new", psnr, {})])[0].gap_closed["fitted"]
        0.5
    """
    table = []
    for split in dict.fromkeys(one.split for one in scores):
        group = [one for one in scores if one.split == split]
        psnr = {name: float(np.mean([one.psnr[name] for one in group])) for name in FIT_METHODS}
        floor, ceiling = np.array([psnr["mean"]]), np.array([psnr["trained"]])
        gaps = {
            name: float(gap_closed(np.array([psnr[name]]), floor, ceiling)[0]) for name in FIT_METHODS[1:-1]
        }
        gaps = {name: gap for name, gap in gaps.items() if math.isfinite(gap)}
        table.append(FitSummary(split, len(group), psnr, gaps))
    return table


def _name_of(question: Question) -> str:
    return question.concept_id


class _Worker:
    """What a worker process loads once."""

    def __init__(self, zoo: Zoo, source: PhotoSource, n_pairs: int, seconds: float) -> None:
        self.zoo, self.seconds = zoo, seconds
        self.mean = zoo.network(zoo.mean_adapter_blocks())
        self.base = zoo.recipe.build_base(zoo.base()).requires_grad_(False)
        self.photos = [
            replace(photo, pixels=fit_short_side(photo.pixels, TEACHING_SIDE)) for photo in source.load()
        ]
        shown = load_photos(source.folder if source.split == "score" else None, split="train")
        self.examples = Examples([fit_short_side(photo.pixels, TEACHING_SIDE) for photo in shown], n_pairs)

    def __call__(self, question: Question) -> FitScores:
        """Score all methods on one concept."""
        plain = Request(pairs=self.examples.pairs(question.teacher), seconds=self.seconds)
        worded = replace(plain, words=question.words[0])
        from_zoo = {one: find_candidates(self.zoo, one, split="train") for one in (plain, worded)}
        inits = {
            "base_fitted": self.zoo.fit(plain, from_zoo[plain][:1], with_passes=False),
            "fitted": self.zoo.fit(plain, from_zoo[plain]),
            "fitted_with_words": self.zoo.fit(worded, from_zoo[worded]),
        }
        networks = {name: init.to_network() for name, init in inits.items()}
        networks |= {"mean": self.mean, "trained": self.zoo.checkpoint(question.concept_id)}
        networks |= {"refined": self._refined(plain), "refined_with_words": self._refined(worded)}
        given, wanted = scoring_pairs(question.teacher, self.photos)
        psnr = {
            name: score_images([networks[name].edit(photo) for photo in given], wanted).psnr
            for name in FIT_METHODS
        }
        starts = {name: init.metadata.fitting.start for name, init in inits.items() if init.metadata.fitting}
        return FitScores(question.concept_id, question.split, psnr, starts)

    def _refined(self, request: Request) -> ImageNetwork:
        """The network of the weight generator's passes over the pairs, from what it makes of the words.

        A weight generator that reads words alone makes no difference between pairs.
        """
        zoo = self.zoo
        passes = zoo.pair_passes(request.words)
        has_words = bool(request.words) and zoo.has_generator
        blocks = zoo.generator.generate(request.words) if has_words else zoo.mean_adapter_blocks()
        if passes is None:
            return zoo.network(blocks)
        shapes = dict(zoo.layout.tensors)
        start = adapter_from_arrays(join_blocks(blocks, zoo.layout), shapes)
        adapter = refine(self.base, start, request.pairs, passes)
        return zoo.network(split_blocks(adapter_to_arrays(adapter, shapes), zoo.layout))
