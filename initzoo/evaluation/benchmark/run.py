"""A benchmark of starts: how long each takes to reach the quality that the best of all reaches.

First the classical initializations compete on tuning concepts, and every method's learning rate is chosen
there, for each length of schedule. Then all methods are run on other concepts, interleaved. Every run is a
file in the run folder, so that a benchmark may be killed at any moment and go on.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from initzoo import __version__
from initzoo.evaluation.benchmark.jobs import Job, Outcome, run_jobs
from initzoo.evaluation.benchmark.report import Benchmark, report_of
from initzoo.evaluation.benchmark.settings import BenchmarkSettings
from initzoo.evaluation.benchmark.tuning import Tuned, choose_concepts, tune
from initzoo.evaluation.cases import Question
from initzoo.generator.given import FROM_ZOO
from initzoo.pairs.photos import load_photos
from initzoo.training.schemes import Initializer
from initzoo.work.devices import choose_device
from initzoo.work.runs import StageClock, open_run
from initzoo.zoo.zoo import Zoo

__all__ = ["run_benchmark"]

Progress = Callable[[str, int, int], None]


def run_benchmark(
    zoo: Zoo,
    settings: BenchmarkSettings,
    run_folder: Path,
    *,
    concepts: Sequence[Question] | None = None,
    force: bool = False,
    callback: Progress | None = None,
) -> Benchmark:
    """Run all methods on all schedules, or what is missing of that, and make a report.

    Args:
        zoo: gives network and starts.
        settings: what is compared, and how.
        run_folder: keeps every run, for benchmarks with other methods, lengths or concepts too; may be
            deleted once the report is written.
        concepts: of one's own, to measure on in place of the zoo's held-out ones; from
            `ask_about_concepts`. Rates are chosen on the zoo's all the same.
        force: throw away the runs of other settings that the folder holds.
        callback: called with a stage, steps done and steps in all.

    Raises:
        InvalidZoo: the zoo has too few held-out concepts, or is damaged.
        InvalidGenerator: a method needs the zoo's weight generator, and there is none.
        OutputError: the run folder holds something else, another process is at work in it, or it cannot be
            written.
        TeacherError, InvalidImage: a teacher failed, or photos are missing.
        WorkerDied: a process died.
    """
    tuning, measured = choose_concepts(
        zoo, n_tuning=settings.n_tuning, n_measured=1 if concepts else settings.n_concepts
    )
    measured = list(concepts or measured)
    _check_ready(zoo, settings, [*tuning, *measured])
    decisive = {
        "zoo": zoo.revision,
        "initzoo": __version__,
        "photos_sha256": _digest_of_photos(settings),
        **settings.decides_a_run(),
    }
    with open_run(run_folder, decisive, kind="benchmark", force=force):
        return _run(zoo, settings, run_folder, tuning, measured, callback)


def _run(
    zoo: Zoo,
    settings: BenchmarkSettings,
    run_folder: Path,
    tuning: Sequence[Question],
    measured: Sequence[Question],
    callback: Progress | None,
) -> Benchmark:
    """All runs that are missing, and the report."""
    questions = [*tuning, *measured]
    clock = StageClock(run_folder, settings.n_workers)

    def run(stage: str, jobs: Sequence[Job]) -> dict[Job, Outcome]:
        def show(n_done: int, n_all: int) -> None:
            clock.add(stage)
            if callback is not None:
                callback(stage, n_done, n_all)

        return run_jobs(zoo, questions, jobs, settings, run_folder, callback=show)

    tuned = tune(settings, tuning, run)
    outcomes = run("measure", _measuring_jobs(settings, measured, len(tuning), tuned))
    clock.add("report", save=True)
    loading = _loading_seconds(zoo, settings, measured[0])
    return report_of(zoo, settings, measured, tuned, outcomes, loading=loading, seconds=clock.seconds)


def _measuring_jobs(
    settings: BenchmarkSettings, measured: Sequence[Question], n_before: int, tuned: Tuned
) -> list[Job]:
    """All methods one after the other at each length of each concept, so that what slows one slows all."""
    return [
        Job(
            n_before + place,
            question.concept_id,
            method,
            tuned.start_of(method),
            n_steps,
            tuned.rates[method][n_steps] if n_steps else 0.0,
        )
        for place, question in enumerate(measured)
        for n_steps in settings.lengths
        for method in settings.methods
    ]


def _check_ready(zoo: Zoo, settings: BenchmarkSettings, questions: Sequence[Question]) -> None:
    """Hours of running should not end at a start that cannot be made."""
    choose_device(settings.device)
    for split in ("train", "score"):
        load_photos(settings.photos.folder, split=split)
    starts = Initializer(zoo)
    for method in settings.methods:
        if method in FROM_ZOO:
            for question in questions:
                starts.network(method, question.requests(seed=settings.seed)[0])


def _digest_of_photos(settings: BenchmarkSettings) -> str:
    """Sixty-four hex digits that change when a photo does: its folder may hold others by then."""
    digest = hashlib.sha256()
    for photo in (*load_photos(settings.photos.folder, split="train"), *settings.photos.load()):
        digest.update(f"{photo.pixels.shape} ".encode() + photo.pixels.tobytes())
    return digest.hexdigest()


def _loading_seconds(zoo: Zoo, settings: BenchmarkSettings, question: Question) -> dict[str, float]:
    """What the first weights of a process take of a core beyond those of a later one, by method."""
    found = {}
    for method in settings.methods:
        if method not in FROM_ZOO:
            found[method] = 0.0
            continue
        starts, spent = Initializer(Zoo(zoo.files)), []
        for _ in range(2):
            began = time.process_time()
            starts.network(method, question.requests(seed=settings.seed)[0])
            spent.append(time.process_time() - began)
        found[method] = round(max(0.0, spent[0] - spent[1]), 4)
    return found
