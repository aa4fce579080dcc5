"""The report of a benchmark: plain JSON values, from which tables and plots are made."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from initzoo import __version__
from initzoo.evaluation.benchmark.jobs import Job, Outcome
from initzoo.evaluation.benchmark.settings import BOOK, METHODS, OURS, BenchmarkSettings
from initzoo.evaluation.benchmark.time_to_quality import Curve, Rung, compare, median_seconds, time_to
from initzoo.evaluation.benchmark.tuning import Tuned
from initzoo.evaluation.bootstrap import Resampling, bootstrap_means, interval
from initzoo.evaluation.cases import Question
from initzoo.generator.files import read_generator_files
from initzoo.generator.request import Request
from initzoo.networks.diagnosis import diagnose_network
from initzoo.networks.pix2pix import PatchDiscriminator, UNet
from initzoo.networks.tiles import to_images
from initzoo.pairs.photos import load_photos, middle_squares
from initzoo.training.schemes import Initializer
from initzoo.work.devices import choose_device, describe_machine
from initzoo.zoo.zoo import Zoo

__all__ = ["ITS_BEST", "PAPER", "TARGETS", "WITH_LOADING", "Benchmark", "report_of"]

TARGETS = {"within_3db": 3.0, "within_1db": 1.0}
"""How far below the best that any method reaches on a concept a target is, dB."""

ITS_BEST = "its_best"
"""The target that asks of each baseline what it can do at all: the best that it reaches itself."""

WITH_LOADING = "within_3db_with_loading"
"""The first target for a single concept in a new process, which loads zoo and weight generator first."""

PAPER = {
    BOOK: {"name": "pix2pix", "fid": 99.20, "seconds": 659.8},
    "base": {"name": "E2GAN, base + LoRA", "fid": 93.86, "seconds": 198.5},
    OURS: {"name": "theirs", "fid": 89.93, "seconds": 43.3},
}
"""Mean FID over unseen concepts and training time a concept: Gong et al. (2024), arXiv:2407.11966."""

_CLOSE = 1.0
"""A classical start within so many dB of the best one has done well."""

_RULES = (
    "A method's time on a concept is that of its shortest schedule whose end reaches the target; every "
    "schedule is a run of its own, with a learning rate that is zero at its end and that did best on other "
    "concepts. A start that is there without a step counts as the shortest schedule with steps. Where a "
    "baseline reaches the target with none of its schedules, its longest is taken (the ratio is at least "
    "that); where the generated start does not, twice its longest is. `its_best` is the best that the "
    "baseline reaches itself with any schedule. Ratios are of seconds, geometric means over concepts; all "
    "starts of one network share the median time of its steps. Libraries, zoo and weight generator are "
    "loaded beforehand, which `within_3db_with_loading` counts for the latter two."
)


@dataclass(frozen=True, eq=False)
class Benchmark:
    """What came of a benchmark.

    Args:
        report: plain JSON values: `ratio` by baseline and target, `methods`, `concepts`, `classical`,
            `final`, and what it was done with.
    """

    report: dict[str, Any]


def report_of(
    zoo: Zoo,
    settings: BenchmarkSettings,
    measured: Sequence[Question],
    tuned: Tuned,
    outcomes: Mapping[Job, Outcome],
    *,
    loading: Mapping[str, float],
    seconds: Mapping[str, float],
) -> Benchmark:
    """Make the report of measured runs.

    Args:
        zoo: what starts came from.
        settings: how it was done.
        measured: the concepts.
        tuned: what was settled before.
        outcomes: of every method on every concept at every length.
        loading: seconds that the first weights of a process take beyond those of a later one, by method.
        seconds: wall time by stage.
    """
    paces = {method: _pace(method, settings, outcomes, loading[method]) for method in settings.methods}
    curves = {
        method: [_curve(method, question, settings, outcomes, paces[method]) for question in measured]
        for method in settings.methods
    }
    best = [_best_of(*(own[place] for own in curves.values())) for place in range(len(measured))]
    report = {
        "n_concepts": len(measured),
        "ratio": _ratios(curves, best, loading, settings.resampling),
        "final": _final(curves, settings.resampling),
        "methods": {
            method: _method(method, zoo, settings, tuned, curves[method], best) | paces[method]
            for method in settings.methods
        },
        "classical": _classical(zoo, settings, tuned),
        "concepts": _concepts(measured, curves, best),
        "paper": PAPER,
        "rules": _RULES,
        "lengths": list(settings.lengths),
        **_provenance(zoo, settings),
        "seconds": {stage: round(value, 1) for stage, value in seconds.items()},
    }
    return Benchmark(report)


def _pace(
    method: str, settings: BenchmarkSettings, outcomes: Mapping[Job, Outcome], loading: float
) -> dict[str, float]:
    """Seconds of a step and of the first weights: medians over runs.

    All starts of the zoo's network take the same steps; that some were measured in a busier minute should
    not tell them apart. So their steps are timed together.
    """
    runs: dict[int, list[float]] = {}
    starts = []
    is_unet = settings.is_unet(method)
    for job, outcome in outcomes.items():
        if job.method == method:
            starts.append(outcome.start_seconds)
        is_alike = job.method == method if is_unet else not settings.is_unet(job.method)
        if is_alike and outcome.psnr is not None:
            runs.setdefault(job.n_steps, []).append(outcome.seconds)
    return {
        "step_seconds": median_seconds(runs),
        "start_seconds": round(float(np.median(starts)), 6),
        "loading_seconds": loading,
    }


def _curve(
    method: str,
    question: Question,
    settings: BenchmarkSettings,
    outcomes: Mapping[Job, Outcome],
    pace: Mapping[str, float],
) -> list[Rung]:
    found = {
        job.n_steps: outcome.psnr
        for job, outcome in outcomes.items()
        if (job.method, job.concept_id) == (method, question.concept_id)
    }
    return [
        Rung(n_steps, found[n_steps], pace["start_seconds"] + n_steps * pace["step_seconds"])
        for n_steps in settings.lengths
    ]


def _ratios(
    curves: Mapping[str, Sequence[Curve]],
    best: Sequence[float],
    loading: Mapping[str, float],
    how: Resampling,
) -> dict[str, dict[str, Any]]:
    """Of each baseline over the generated start; empty if that was left out."""
    if OURS not in curves:
        return {}
    loaded = {method: [_later(curve, loading[method]) for curve in own] for method, own in curves.items()}
    ratios = {}
    for method, own in curves.items():
        if method == OURS:
            continue
        targets = {name: [value - below for value in best] for name, below in TARGETS.items()}
        targets[ITS_BEST] = [_best_of(curve) for curve in own]
        ratios[method] = {name: compare(curves[OURS], own, wanted, how) for name, wanted in targets.items()}
        ratios[method][WITH_LOADING] = compare(loaded[OURS], loaded[method], targets["within_3db"], how)
    return ratios


def _later(curve: Curve, seconds: float) -> list[Rung]:
    return [replace(rung, seconds=rung.seconds + seconds) for rung in curve]


def _best_of(*curves: Curve) -> float:
    """The highest PSNR of all rungs; 0 dB, which any start has, if every run diverged."""
    return max((rung.psnr for curve in curves for rung in curve if rung.psnr is not None), default=0.0)


def _final(curves: Mapping[str, Sequence[Curve]], how: Resampling) -> dict[str, Any]:
    """PSNR at the longest schedule, and how much more the generated start has than each baseline."""
    ends = {method: [own[-1].psnr for own in concepts] for method, concepts in curves.items()}
    found: dict[str, Any] = {"psnr": {method: _mean(values) for method, values in ends.items()}}
    if OURS in ends:
        found["difference"] = {}
        for method, values in ends.items():
            pairs = [
                (mine, theirs)
                for mine, theirs in zip(ends[OURS], values, strict=True)
                if mine is not None and theirs is not None
            ]
            if method != OURS and pairs:
                more = np.array([[mine - theirs for mine, theirs in pairs]])
                drawn = bootstrap_means(more, n_resamples=how.n_resamples, seed=how.seed)
                found["difference"][method] = {
                    "psnr": round(float(more.mean()), 4),
                    "interval": interval(drawn[0], how.level),
                }
    return found


def _method(
    method: str,
    zoo: Zoo,
    settings: BenchmarkSettings,
    tuned: Tuned,
    curves: Sequence[Curve],
    best: Sequence[float],
) -> dict[str, Any]:
    """What a method is, and its mean curve."""
    how = settings.resampling
    psnr, intervals = {}, {}
    for place, n_steps in enumerate(settings.lengths):
        values = [own[place].psnr for own in curves]
        psnr[str(n_steps)] = _mean(values)
        sound = np.array([[value for value in values if value is not None]])
        drawn = bootstrap_means(sound, n_resamples=how.n_resamples, seed=how.seed) if sound.size else None
        intervals[str(n_steps)] = None if drawn is None else interval(drawn[0], how.level)
    times = {}
    for name, below in TARGETS.items():
        reached = [time_to(own, value - below) for own, value in zip(curves, best, strict=True)]
        times[name] = {
            "n_reached": sum(one.is_reached for one in reached),
            "seconds": round(float(np.exp(np.mean([np.log(max(one.seconds, 1e-9)) for one in reached]))), 4),
            "steps": round(float(np.exp(np.mean([np.log(one.n_steps) for one in reached]))), 2),
        }
    return {
        "what": METHODS[method],
        "start": tuned.start_of(method),
        "n_weights": _count_weights(method, zoo, settings),
        "rates": {str(n_steps): rate for n_steps, rate in tuned.rates[method].items()},
        "psnr": psnr,
        "psnr_interval": intervals,
        "time": times,
    }


def _count_weights(method: str, zoo: Zoo, settings: BenchmarkSettings) -> dict[str, int]:
    """Values in the network, and in the discriminator where there is one."""
    network = (
        UNet(settings.n_halvings, settings.unet_width)
        if settings.is_unet(method)
        else zoo.recipe.network.build()
    )
    judge = PatchDiscriminator(settings.unet_width) if method == BOOK else None
    return {
        name: sum(parameter.numel() for parameter in module.parameters())
        for name, module in (("network", network), ("discriminator", judge))
        if module is not None
    }


def _classical(zoo: Zoo, settings: BenchmarkSettings, tuned: Tuned) -> list[dict[str, Any]]:
    """The classical starts, best first: what they reached, what a diagnosis says, and whether both agree.

    They agree when a start that is called healthy came within a decibel of the best one, or one that is
    called something else did not.
    """
    if not tuned.classical:
        return []
    starts = Initializer(zoo)
    images = to_images(middle_squares(load_photos(settings.photos.folder, split="train")))
    means = {
        name: float(np.mean([psnr for _, psnr in own.values()])) for name, own in tuned.classical.items()
    }
    top = means[tuned.best]
    rows = []
    for name in sorted(means, key=lambda one: -means[one]):
        found = diagnose_network(
            starts.network(name, Request(seed=settings.seed)), images, seed=settings.seed
        )
        did_well = bool(means[name] >= top - _CLOSE)
        rows.append(
            {
                "name": name,
                "mean_psnr": _finite(means[name]),
                "psnr": {str(n): _finite(psnr) for n, (_, psnr) in tuned.classical[name].items()},
                "rates": {str(n): rate for n, (rate, _) in tuned.classical[name].items()},
                "verdict": found.verdict,
                "reason": found.reason,
                "did_well": did_well,
                "agrees": did_well == (found.verdict == "healthy"),
            }
        )
    return rows


def _concepts(
    measured: Sequence[Question], curves: Mapping[str, Sequence[Curve]], best: Sequence[float]
) -> list[dict[str, Any]]:
    """Each concept: the best of all, every curve, and the baselines that the generated start lost to."""
    rows = []
    for place, question in enumerate(measured):
        times = {
            name: {
                method: reached.n_steps if reached.is_reached else None
                for method, own in curves.items()
                for reached in [time_to(own[place], best[place] - below)]
            }
            for name, below in TARGETS.items()
        }
        seconds = {
            name: {
                method: _training_seconds(own[place], best[place] - below) for method, own in curves.items()
            }
            for name, below in TARGETS.items()
        }
        lost = {
            name: [method for method, value in own.items() if OURS in own and value < own[OURS]]
            for name, own in seconds.items()
        }
        rows.append(
            {
                "concept": question.concept_id,
                "family": question.family,
                "split": question.split,
                "words": question.words[0],
                "best_psnr": round(best[place], 4),
                "psnr": {
                    method: [_finite(rung.psnr) for rung in own[place]] for method, own in curves.items()
                },
                "steps": times,
                "lost_to": lost,
            }
        )
    return rows


def _training_seconds(curve: Curve, target: float) -> float:
    """Until a target, without the first weights: that these took a moment longer is no loss."""
    reached = time_to(curve, target)
    return round(reached.seconds - curve[0].seconds, 6) if reached.is_reached else np.inf


def _provenance(zoo: Zoo, settings: BenchmarkSettings) -> dict[str, Any]:
    how = settings.resampling
    told = settings.to_dict()
    digest = read_generator_files(zoo.generator_folder).digest if OURS in settings.methods else None
    told["photos"] = "bundled" if settings.photos.folder is None else "the user's"
    return {
        "zoo": zoo.name,
        "revision": zoo.revision,
        "generator_sha256": digest,
        "settings": told,
        "intervals": {"level": how.level, "n_resamples": how.n_resamples, "over": "concepts"},
        "seeds": {"benchmark": settings.seed, "resampling": how.seed},
        "n_workers": settings.n_workers,
        "machine": describe_machine(choose_device(settings.device)),
        "versions": {"initzoo": __version__, "numpy": np.__version__, "system": platform.system()},
    }


def _mean(values: Sequence[float | None]) -> float | None:
    """Over the runs that did not diverge."""
    sound = [value for value in values if value is not None]
    return round(float(np.mean(sound)), 4) if sound else None


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 4)
