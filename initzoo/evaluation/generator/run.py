"""Evaluate a weight generator on words that it never saw, beside every simpler way of doing the same.

The questions are asked of all methods; the image network then runs with every answer on photos that no
training saw, and what comes out is compared with the teacher's.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import statistics as plain_statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initzoo import __version__
from initzoo.errors import InvalidGenerator
from initzoo.evaluation.cases import (
    ASKED_SPLITS,
    OWN_CONCEPTS,
    UNSEEN_WORDINGS,
    Question,
    load_examples,
)
from initzoo.evaluation.generator.figures import Point, draw_questions, draw_scatter
from initzoo.evaluation.generator.measuring import Job, Measured, measure
from initzoo.evaluation.generator.memorisation import (
    DistanceScale,
    distance_report,
    overlap_jobs,
    overlap_report,
)
from initzoo.evaluation.generator.pulling import Pulled, pull_answers
from initzoo.evaluation.generator.settings import EvaluationSettings
from initzoo.evaluation.generator.statistics import PULL, summarise
from initzoo.files import check_free, encode_image, write_files
from initzoo.generator import (
    Calibration,
    Encoder,
    Examples,
    GeneratorPredictor,
    KernelRidgePredictor,
    MeanPredictor,
    NearestPredictor,
    NeighboursPredictor,
    Novelty,
    Predictor,
    PsnrRanges,
    Request,
    ShuffledPredictor,
    TaughtAdapters,
    WeightGenerator,
    calibrate,
    fit_kernel_ridge,
    tune_kernel_ridge,
    tune_neighbours,
)
from initzoo.pairs import HELD_OUT, Concept, load_practice
from initzoo.work import Pool, describe_machine, one_thread
from initzoo.zoo import BUNDLED_ZOO, Zoo

__all__ = ["BASELINES", "OUTPUTS", "GeneratorEvaluation", "evaluate_generator"]

Blocks = NDArray[np.float32]
Progress = Callable[[str, int, int], None]

OUTPUTS = ("evaluation.json", "grid.png", "scatter.png", "calibration.json")
"""Files that `GeneratorEvaluation.save` writes."""

BASELINES = ("kernel_ridge", "nearest", "knn", "mean", "shuffled")
_TAKEN = {"generated", PULL, "trained", *BASELINES}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_WORDINGS = (
    "Held-out concepts are asked for by their plain name and by one test wording, and the two scores are "
    "averaged; train concepts by one test wording. No training saw a test wording."
)


@dataclass(frozen=True, eq=False)
class GeneratorEvaluation:
    """What came of an evaluation.

    Args:
        report: plain JSON values: a key a split, and what it was done with.
        calibration: for the generator's folder; None where there was too little to calibrate on.
        points: distance and quality of each wording.
        grid: photo, teacher, generated, trained; uint8 RGB.
    """

    report: dict[str, Any]
    calibration: Calibration | None
    points: list[Point]
    grid: NDArray[np.uint8]

    def scatter(self) -> bytes:
        """Quality against distance as a PNG file.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        return draw_scatter(self.points, self.calibration.ranges if self.calibration else None)

    def save(self, folder: Path, *, force: bool = False) -> None:
        """Write report, pictures and, if there is one, the calibration into a folder.

        Args:
            folder: made if it is missing; gets `OUTPUTS`.
            force: replace files that exist.

        Raises:
            OutputError: a file exists and `force` is off, or the folder cannot be written.
            MissingExtra: matplotlib is not installed.
        """
        check_free(folder, *OUTPUTS, force=force)
        scatter = self.scatter()
        text = json.dumps(self.report, indent=1, ensure_ascii=False, allow_nan=False)
        # Names of files that are not UTF-8 are escaped as JSON escapes them.
        data = text.encode(errors="backslashreplace") + b"\n"
        grid = encode_image(Path("grid.png"), self.grid)
        write_files(folder, {"evaluation.json": data, "grid.png": grid, "scatter.png": scatter}, force=force)
        if self.calibration is not None:
            self.calibration.save(folder, force=force)


def evaluate_generator(
    zoo: Zoo,
    folder: Path,
    questions: Sequence[Question],
    settings: EvaluationSettings,
    *,
    also: Mapping[str, Path] | None = None,
    practice: Sequence[Concept] | None = None,
    callback: Progress | None = None,
) -> GeneratorEvaluation:
    """Ask a weight generator and every baseline, and measure all answers.

    Where the zoo has a phrase encoder, the answers of `pull` are measured, too, see `pull_answers`. For
    example pairs there are none: `pull` fits weights to them.

    Args:
        zoo: what the generator was trained on.
        folder: of the weight generator to be evaluated.
        questions: from `ask_about_zoo` or `ask_about_concepts`.
        settings: how.
        also: folders of further generators by name, e.g. `regressor` or `unet1d`. One that is called
            `reference` is what all others are compared with, besides `folder`.
        practice: concepts that the generator practised on besides the zoo, so that the baselines know their
            wordings, too. None for those of the bundled zoo, if it is one trained on it with practice.
        callback: called with a stage, things done and things in all.

    Raises:
        InvalidGenerator: a generator is missing or damaged, or its name is taken or odd.
        ChecksumMismatch, LayoutMismatch: a generator was made for another base.
        InvalidWords: a question's words cannot be read.
        TeacherError: a teacher failed on a photo.
        ValueError: there are no questions.
    """
    if not questions:
        raise ValueError("there are no questions to ask")
    questions = list(questions)
    report = callback or (lambda stage, n_done, n_all: None)
    _check_names(also or {})
    generator = _open(zoo, folder)
    others = {name: _open(zoo, other) for name, other in (also or {}).items()}
    if practice is None:
        did_practise = zoo.name == BUNDLED_ZOO and generator.config.training.get("n_practice")
        practice = load_practice() if did_practise else ()
    encoders = {name: other.encoder for name, other in others.items()}
    examples = load_examples((generator.encoder, *encoders.values()), settings.photos, settings.n_pairs)
    taught = zoo.taught_adapters(generator.encoder, practice=practice, examples=examples)
    ridge, neighbours = _tuned(taught, settings, report)
    ours = GeneratorPredictor(generator)
    predictors: dict[str, Predictor] = {
        "generated": ours,
        "kernel_ridge": ridge,
        "nearest": NearestPredictor(taught),
        "knn": neighbours,
        "mean": MeanPredictor(taught),
        "shuffled": ShuffledPredictor(ours, settings.seed),
        **{name: GeneratorPredictor(other) for name, other in others.items()},
    }
    encoder_of = dict.fromkeys(predictors, generator.encoder) | encoders
    answers = _ask(questions, predictors, encoder_of, examples, seed=settings.seed)
    pulled = [] if examples.n_pairs else pull_answers(zoo, questions, [own["generated"] for own in answers])
    for place, one in enumerate(pulled):
        answers[place] = {"generated": answers[place]["generated"], PULL: one.blocks, **answers[place]}
    measured = _measure(zoo, questions, answers, pulled, settings, report)
    by_split = {
        split: [one for one in measured if questions[one.question].split == split]
        for split in (*ASKED_SPLITS, OWN_CONCEPTS)
    }
    sections = {split: _section(own, questions, pulled, settings) for split, own in by_split.items() if own}
    memorisation = _memorisation(zoo, taught, questions, answers, settings, report)
    novelty = generator.encoder.novelty(zoo.taught_requests(generator.encoder, examples=examples))
    points = _points(measured, questions, novelty, generator.encoder, examples)
    ranges = _calibrated(measured, questions, points, settings.seed)
    digests = generator.encoder.digest, _digest_of(folder)
    calibration = None if ranges is None else Calibration(novelty, ranges, *digests)
    return GeneratorEvaluation(
        report={
            **sections,
            "memorisation": memorisation,
            "calibration": _calibration_report(calibration),
            "speed": _speed(generator, questions[0].requests(generator.encoder, examples)[0]),
            "baselines": {
                "n_wordings": len(taught.owners),
                "kernel_ridge": {"width": ridge.width, "ridge": ridge.ridge},
                "knn": {"n_neighbours": neighbours.n_neighbours},
            },
            "generator": _digest_of(folder),
            "training": generator.config.training,
            "also": {
                name: {"generator": _digest_of(folder), "training": others[name].config.training}
                for name, folder in (also or {}).items()
            },
            "n_train_concepts": generator.config.n_train_concepts,
            **({"n_example_pairs": examples.n_pairs} if examples.n_pairs else {}),
            **_provenance(zoo, settings),
        },
        calibration=calibration,
        points=points,
        grid=_grid(zoo, questions, answers, settings),
    )


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        if name in _TAKEN or not _NAME.fullmatch(name):
            raise InvalidGenerator(
                f"a further generator cannot be called {name[:40]!r}. Use small letters, digits, hyphens and "
                f"underscores, and none of: {', '.join(sorted(_TAKEN))}"
            )


def _open(zoo: Zoo, folder: Path) -> WeightGenerator:
    generator = WeightGenerator.from_pretrained(folder)
    generator.check_made_for(base_sha256=zoo.config.base_sha256, layout=zoo.layout)
    return generator


def _tuned(
    taught: TaughtAdapters, settings: EvaluationSettings, report: Progress
) -> tuple[KernelRidgePredictor, NeighboursPredictor]:
    """Kernel ridge and nearest neighbours, each at its best setting on folds of the train concepts."""
    width, ridge = tune_kernel_ridge(
        taught.thin(min(3, settings.n_ridge_wordings)),
        seed=settings.seed,
        callback=lambda n_done, n_all: report("tune kernel ridge", n_done, n_all),
    )
    n_neighbours = tune_neighbours(taught.thin(settings.n_ridge_wordings), seed=settings.seed)
    fitted = fit_kernel_ridge(taught.thin(settings.n_ridge_wordings), width=width, ridge=ridge)
    return fitted, NeighboursPredictor(taught, n_neighbours)


def _ask(
    questions: Sequence[Question],
    predictors: Mapping[str, Predictor],
    encoder_of: Mapping[str, Encoder],
    examples: Examples,
    *,
    seed: int,
) -> list[dict[str, Blocks]]:
    """Every method's blocks for each question, shape `(n_wordings, n_blocks, block_size)`.

    First wordings are asked together, then second ones, so that nobody's shuffled words are their own.
    """
    answers: list[dict[str, list[Blocks]]] = [{} for _ in questions]
    # Requests are made once per encoder, since a teacher may take seconds per example pair.
    requests = {
        id(encoder): [question.requests(encoder, examples, seed=seed) for question in questions]
        for encoder in {id(one): one for one in encoder_of.values()}.values()
    }
    for rank in range(max(len(question.words) for question in questions)):
        places = [place for place, question in enumerate(questions) if rank < len(question.words)]
        for name, predictor in predictors.items():
            if (name == "mean" and rank) or (name == "shuffled" and len(places) < 2):
                continue
            blocks = predictor.predict([requests[id(encoder_of[name])][place][rank] for place in places])
            for place, one in zip(places, blocks, strict=True):
                answers[place].setdefault(name, []).append(one)
    for question, own in zip(questions, answers, strict=True):
        if question.trained is not None:
            own["trained"] = [question.trained]
    return [{name: np.stack(rows) for name, rows in own.items()} for own in answers]


def _measure(
    zoo: Zoo,
    questions: list[Question],
    answers: Sequence[dict[str, Blocks]],
    pulled: Sequence[Pulled],
    settings: EvaluationSettings,
    report: Progress,
) -> list[Measured]:
    """Measure all answers; adapters that are fitted on the way are put into questions and answers."""
    strengths = [{PULL: one.strengths} for one in pulled] or [{}] * len(questions)
    jobs = [
        Job(question, own, fit=settings.fit and question.trained is None, strengths=asked)
        for question, own, asked in zip(questions, answers, strengths, strict=True)
    ]
    measured = _run_jobs(zoo, jobs, settings, partial(report, "measure"))
    for one in measured:
        if one.fitted is not None:
            questions[one.question] = replace(questions[one.question], trained=one.fitted)
            answers[one.question]["trained"] = one.fitted[None]
    return measured


def _run_jobs(
    zoo: Zoo, jobs: Sequence[Job], settings: EvaluationSettings, callback: Callable[[int, int], None]
) -> list[Measured]:
    pool = Pool.make(settings.n_workers, settings.backend, settings.address)
    return measure(zoo, jobs, settings.photos, pool=pool, callback=callback)


def _section(
    measured: Sequence[Measured],
    questions: Sequence[Question],
    pulled: Sequence[Pulled],
    settings: EvaluationSettings,
) -> dict[str, Any]:
    """Figures of one split, of its families, and of what is new in them."""
    asked = [questions[one.question] for one in measured]
    section = _summary(measured, pulled, settings)
    section["n_wordings"] = sum(len(question.words) for question in asked)
    for key, group_of in (("families", "family"), ("novelty", "novelty")):
        names = sorted({getattr(question, group_of) for question in asked} - {""})
        section[key] = {
            name: _summary(
                [one for one in measured if getattr(questions[one.question], group_of) == name],
                pulled,
                settings,
            )
            for name in names
        }
    n_wordings = {len(question.words) for question in asked}
    section["wording"] = (
        {name: _summary(measured, pulled, settings, rank=rank) for rank, name in enumerate(("plain", "test"))}
        if n_wordings == {2}
        else {}
    )
    return section


def _summary(
    measured: Sequence[Measured],
    pulled: Sequence[Pulled],
    settings: EvaluationSettings,
    *,
    rank: int | None = None,
) -> dict[str, Any]:
    """Figures of a group of concepts: means over the wordings of each, or those of one of its wordings."""
    methods = [name for name in measured[0].scores if all(name in one.scores for one in measured)]
    means = [
        {name: one.mean(name) if rank is None else one.of(name, rank) for name in methods} for one in measured
    ]
    summary = summarise(
        {name: [scores[name].psnr for scores in means] for name in methods},
        {name: [scores[name].ssim for scores in means] for name in methods},
        settings.resampling,
    )
    if pulled:
        shares = [pulled[one.question].checkpoint_share(rank) for one in measured]
        summary[PULL] = {**summary[PULL], "checkpoint_share": round(float(np.mean(shares)), 4)}
    return summary


def _memorisation(
    zoo: Zoo,
    taught: TaughtAdapters,
    questions: Sequence[Question],
    answers: Sequence[Mapping[str, Blocks]],
    settings: EvaluationSettings,
    report: Progress,
) -> dict[str, Any] | None:
    """Distances and overlaps for the held-out concepts; None when there are none with an adapter."""
    places = [
        place
        for place, question in enumerate(questions)
        if question.split != UNSEEN_WORDINGS and question.trained is not None
    ]
    if not places:
        return None
    scale = DistanceScale(taught.blocks)
    generated = np.stack([answers[place]["generated"][0] for place in places])
    trained = np.stack([answers[place]["trained"][0] for place in places])
    found = distance_report(scale, generated, trained, seed=settings.seed)
    count = min(settings.n_overlap, len(places))
    chosen = [len(places) * number // count for number in range(count)]
    jobs = overlap_jobs(
        scale, [questions[places[number]] for number in chosen], generated[chosen], seed=settings.seed
    )
    measured = _run_jobs(zoo, jobs, settings, partial(report, "memorisation"))
    return found | {"wrong_pixels": overlap_report(measured)}


def _points(
    measured: Sequence[Measured],
    questions: Sequence[Question],
    novelty: Novelty,
    encoder: Encoder,
    examples: Examples,
) -> list[Point]:
    """Distance and quality of each wording, in the order of questions and their words."""
    return [
        Point(questions[one.question].split, novelty.distance(request), score.psnr)
        for one in measured
        for request, score in zip(
            questions[one.question].requests(encoder, examples), one.scores["generated"], strict=True
        )
    ]


def _calibrated(
    measured: Sequence[Measured],
    questions: Sequence[Question],
    points: Sequence[Point],
    seed: int,
) -> PsnrRanges | None:
    """Ranges from the held-out concepts; None when there are too few to halve, or nothing to compare with."""
    concepts = [questions[one.question].concept_id for one in measured for _ in one.scores["generated"]]
    held_out = [number for number, point in enumerate(points) if point.split in HELD_OUT]
    near = [point.distance for point in points if point.split in ("heldout-composed", UNSEEN_WORDINGS)]
    shuffled = [score.psnr for one in measured for score in one.scores.get("shuffled", [])]
    if len({concepts[number] for number in held_out}) < 4 or not near or not shuffled:
        return None
    return calibrate(
        [points[number].distance for number in held_out],
        [points[number].psnr for number in held_out],
        [concepts[number] for number in held_out],
        near=near,
        meaningless=shuffled,
        seed=seed,
    )


def _calibration_report(calibration: Calibration | None) -> dict[str, Any] | None:
    if calibration is None:
        return None
    ranges: PsnrRanges = calibration.ranges
    return {
        "level": ranges.level,
        "coverage": round(ranges.coverage, 4),
        "n_calibrated": ranges.n_calibrated,
        "n_tested": ranges.n_tested,
        "far_from": round(ranges.far_from, 4),
        "distances": [round(value, 4) for value in ranges.distances],
        "lows": [round(value, 4) for value in ranges.lows],
        "highs": [round(value, 4) for value in ranges.highs],
    }


def _speed(generator: WeightGenerator, request: Request, *, n_runs: int = 30) -> dict[str, Any]:
    """Milliseconds that one whole init takes on one core, once warm: the median of some runs."""
    with one_thread():
        generator.generate(request)
        seconds = []
        for _ in range(n_runs):
            begin = time.perf_counter()
            generator.generate(request)
            seconds.append(time.perf_counter() - begin)
    return {"init_ms": round(1000 * plain_statistics.median(seconds), 2), "n_runs": n_runs, "n_threads": 1}


def _digest_of(folder: Path) -> str:
    """Sixty-four hex digits: of the config file, which holds the digests of all the rest."""
    return hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()


def _provenance(zoo: Zoo, settings: EvaluationSettings) -> dict[str, Any]:
    how = settings.resampling
    return {
        "zoo": zoo.name,
        "revision": zoo.revision,
        "wordings": _WORDINGS,
        "photos": "bundled" if settings.photos.folder is None else "the user's",
        "intervals": {"level": how.level, "n_resamples": how.n_resamples, "over": "concepts"},
        "seeds": {"evaluation": settings.seed, "resampling": how.seed},
        "machine": describe_machine(),
        "versions": {"initzoo": __version__, "numpy": np.__version__, "system": platform.system()},
    }


def _grid(
    zoo: Zoo,
    questions: Sequence[Question],
    answers: Sequence[Mapping[str, Blocks]],
    settings: EvaluationSettings,
) -> NDArray[np.uint8]:
    """Unseen words, chosen evenly by place and not by how well they came out."""
    places = [place for place, question in enumerate(questions) if question.split != UNSEEN_WORDINGS]
    places = places or list(range(len(questions)))
    count = min(settings.n_pictures, len(places))
    chosen = [places[len(places) * number // count] for number in range(count)]
    return draw_questions(
        zoo,
        [questions[place] for place in chosen],
        {questions[place].concept_id: answers[place]["generated"][0] for place in chosen},
        settings.photos,
        n_columns=2 if count > 1 else 1,
    )
