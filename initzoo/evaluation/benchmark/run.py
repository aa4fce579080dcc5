"""The benchmark of starts: the training time that each needs to reach a target quality.

First, on tuning concepts, the classical initializations compete and a learning rate is chosen for each
method and length of schedule. Then all methods run on other concepts, interleaved. The outcome of every run
is a file in the run folder, so that a benchmark can be killed at any time and resumed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from initzoo import __version__
from initzoo.errors import BenchmarkError
from initzoo.evaluation.benchmark.jobs import Job, Outcome, run_jobs, training_pairs, zoo_start
from initzoo.evaluation.benchmark.report import Benchmark, report_of
from initzoo.evaluation.benchmark.settings import FITTED, ZOO_STARTS, BenchmarkSettings
from initzoo.evaluation.benchmark.tuning import TuningResult, choose_concepts, tune
from initzoo.evaluation.cases import Question, start_request
from initzoo.generator import FROM_ZOO
from initzoo.pairs import load_photos
from initzoo.training import Initializer
from initzoo.work import StageClock, choose_device, open_run
from initzoo.zoo import Zoo

__all__ = ["run_benchmark"]

_N_TIMED = 6
"""Concepts on which the methods are timed."""
_TIMED_STEPS = 40
"""At most so many steps are timed."""

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
    """Run all methods on all schedules and make a report. Runs that the folder has are not repeated.

    Args:
        zoo: provides the network and the starts.
        settings: settings of the benchmark.
        run_folder: keeps the outcome of every run, which benchmarks with other methods, lengths or concepts
            reuse; may be deleted once the report is written.
        concepts: your own concepts to measure on instead of the zoo's held-out ones, from
            `ask_about_concepts`. Learning rates are chosen on the zoo's concepts in any case.
        force: discard the runs of a benchmark with other settings in the folder.
        callback: called with the stage, the steps done and the total number of steps.

    Raises:
        InvalidZoo: the zoo has too few held-out concepts, or is damaged.
        InvalidGenerator: a method needs a weight generator, which the zoo lacks.
        OutputError: the run folder holds something else, another process works in it, or it cannot be
            written.
        TeacherError, InvalidImage: a teacher failed, or photos are missing.
        WorkerDied: a process died.
        MissingExtra: the backend is `ray`, which is not installed.
        ClusterUnavailable: the Ray cluster does not answer, or has other versions.
        DeviceUnavailable: the device is cuda, and the Ray cluster has no GPU.
    """
    n_workers = settings.make_pool().n_workers
    settings = replace(settings, n_workers=n_workers)
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

    def run(
        stage: str, jobs: Sequence[Job], folder: Path = run_folder, n_workers: int = settings.n_workers
    ) -> dict[Job, Outcome]:
        def show(n_done: int, n_all: int) -> None:
            clock.add(stage.split()[0])
            if callback is not None:
                callback(stage, n_done, n_all)

        chosen = replace(settings, n_workers=n_workers)
        return run_jobs(zoo, questions, jobs, chosen, folder, callback=show)

    tuned = tune(settings, tuning, run)
    jobs = _measuring_jobs(settings, measured, len(tuning), tuned)
    outcomes = run("measure", jobs)
    timed = run("time", _timing_jobs(settings, jobs), run_folder / "times", n_workers=1)
    clock.add("report", save=True)
    loading = _loading_seconds(zoo, settings, measured[0])
    return report_of(
        zoo, settings, measured, tuned, outcomes, timed=timed, loading=loading, seconds=clock.seconds
    )


def _measuring_jobs(
    settings: BenchmarkSettings, measured: Sequence[Question], n_before: int, tuned: TuningResult
) -> list[Job]:
    """The runs, with methods interleaved, so that a slow minute of the machine slows all of them."""
    return [
        Job(
            n_before + i,
            question.concept_id,
            method,
            tuned.start_of(method),
            n_steps,
            tuned.rates[method][n_steps] if n_steps else 0.0,
        )
        for i, question in enumerate(measured)
        for n_steps in settings.lengths
        for method in settings.methods
    ]


def _timing_jobs(settings: BenchmarkSettings, jobs: Sequence[Job]) -> list[Job]:
    """The runs that are done once more for their times alone, by one process, when no other one runs.

    Processes beside each other share caches and memory, and slow each other down by half.
    """
    at_most = [n_steps for n_steps in settings.lengths[1:] if n_steps <= _TIMED_STEPS]
    n_steps = at_most[-1] if at_most else settings.lengths[1]
    places = sorted({job.question for job in jobs})
    chosen = {places[len(places) * i // _N_TIMED] for i in range(_N_TIMED)}
    return [job for job in jobs if job.n_steps == n_steps and job.question in chosen]


def _check_ready(zoo: Zoo, settings: BenchmarkSettings, questions: Sequence[Question]) -> None:
    """Fail now, and not after hours, if a device, photo or start is missing."""
    choose_device(settings.device)
    for split in ("train", "score"):
        load_photos(settings.photos.folder, split=split)
    starts = Initializer(zoo)
    for method in settings.methods:
        if method == FITTED and not zoo.can_fit:
            raise BenchmarkError(
                f"zoo '{zoo.name}' has no adapters that could be fitted to pairs. Leave out the method fitted"
            )
        if method in FROM_ZOO:
            for question in questions:
                request = start_request(zoo, question, method, settings.photos, seed=settings.seed)
                starts.network(method, request)


def _digest_of_photos(settings: BenchmarkSettings) -> str:
    """SHA-256 of all photos, to notice that a folder's photos changed between two runs."""
    digest = hashlib.sha256()
    for photo in (*load_photos(settings.photos.folder, split="train"), *settings.photos.load()):
        digest.update(f"{photo.pixels.shape} ".encode() + photo.pixels.tobytes())
    return digest.hexdigest()


def _loading_seconds(zoo: Zoo, settings: BenchmarkSettings, question: Question) -> dict[str, float]:
    """CPU seconds that the first start in a process takes more than the second one, by method."""
    pairs = training_pairs(question, settings)[:1]
    loading = {}
    for method in settings.methods:
        if method not in ZOO_STARTS:
            loading[method] = 0.0
            continue
        starts, spent = Initializer(Zoo(zoo.files)), []
        for _ in range(2):
            began = time.process_time()
            zoo_start(starts, method, question, pairs, settings)
            spent.append(time.process_time() - began)
        loading[method] = round(max(0.0, spent[0] - spent[1]), 4)
    return loading
