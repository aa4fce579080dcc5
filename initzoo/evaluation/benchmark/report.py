"""The report of a benchmark: JSON values from which tables and plots are made."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from initzoo import __version__
from initzoo.evaluation.benchmark.jobs import Job, Outcome
from initzoo.evaluation.benchmark.settings import BOOK, FITTED, METHODS, OURS, ZOO_STARTS, BenchmarkSettings
from initzoo.evaluation.benchmark.time_to_quality import Curve, Rung, compare, median_seconds, time_to
from initzoo.evaluation.benchmark.tuning import TuningResult
from initzoo.evaluation.bootstrap import Resampling, bootstrap_means, interval
from initzoo.evaluation.cases import Question
from initzoo.generator import Request, generator_digest
from initzoo.networks import PatchDiscriminator, UNet, diagnose_network, to_images
from initzoo.pairs import load_photos, middle_squares
from initzoo.training import Initializer
from initzoo.work import choose_device, describe_machine
from initzoo.zoo import Zoo

__all__ = ["ITS_BEST", "PAPER", "TARGETS", "WITH_LOADING", "Benchmark", "report_of"]

TARGETS = {"within_3db": 3.0, "within_1db": 1.0}
"""The targets: dB below the best PSNR that any method reaches on a concept."""

ITS_BEST = "its_best"
"""The target that a baseline can reach by definition: its own best PSNR."""

WITH_LOADING = "within_3db_with_loading"
"""The first target, counting the loading of zoo and weight generator, as for one concept in a new process."""

PAPER = {
    BOOK: {"name": "pix2pix", "fid": 99.20, "seconds": 659.8},
    "base": {"name": "E2GAN, base + LoRA", "fid": 93.86, "seconds": 198.5},
    OURS: {"name": "theirs", "fid": 89.93, "seconds": 43.3},
}
"""Mean FID over unseen concepts and training time per concept: Gong et al. (2024), arXiv:2407.11966."""

TIMES = (1.0, 2.0, 5.0, 10.0, 20.0)
"""Seconds of one core, or of a GPU, after which the quality of all methods is compared."""

_CLOSE = 1.0
"""A classical start within this many dB of the best one has done well."""

_RULES = (
    "A method's time on a concept is that of its shortest schedule that reaches the target at its end. Every "
    "schedule is a separate run whose learning rate decays to zero and was chosen on other concepts. A start "
    "that reaches the target without training counts as the shortest schedule with steps. If a baseline "
    "misses the target with all schedules, its longest one counts (the ratio is then a lower bound); if the "
    "start in whose times it is told misses it, twice its longest one counts. `its_best` is the best PSNR "
    "that the baseline itself reaches with any schedule. Ratios are of seconds, as geometric means over "
    "concepts; all starts of one network share the median time of its steps. Starts and steps are timed in "
    "runs of their own on at most six concepts, one after another. Libraries, zoo and weight generator are "
    "loaded beforehand; `within_3db_with_loading` counts the loading of the latter two."
)


@dataclass(frozen=True, eq=False)
class Benchmark:
    """The result of a benchmark.

    Args:
        report: JSON values: `ratio` by baseline and target, `methods`, `concepts`, `classical`, `final`,
            settings and provenance.
    """

    report: dict[str, Any]


def report_of(
    zoo: Zoo,
    settings: BenchmarkSettings,
    measured: Sequence[Question],
    tuned: TuningResult,
    outcomes: Mapping[Job, Outcome],
    *,
    timed: Mapping[Job, Outcome],
    loading: Mapping[str, float],
    seconds: Mapping[str, float],
) -> Benchmark:
    """Make the report of measured runs.

    Args:
        zoo: the zoo that provided the starts.
        settings: settings of the benchmark.
        measured: the measured concepts.
        tuned: learning rates and the best classical start.
        outcomes: outcomes of every method on every concept at every length.
        timed: outcomes of every method that were timed while nothing else ran.
        loading: seconds that the first start in a process takes more than the second one, by method.
        seconds: wall time by stage.
    """
    paces = {method: _pace(method, settings, timed, loading[method]) for method in settings.methods}
    curves = {
        method: [_curve(method, question, settings, outcomes, paces[method]) for question in measured]
        for method in settings.methods
    }
    best = [_best_of(*(per_concept[i] for per_concept in curves.values())) for i in range(len(measured))]
    report = {
        "n_concepts": len(measured),
        "ratio": _ratios(OURS, curves, best, loading, settings.resampling),
        "ratio_to_fitted": _ratios(FITTED, curves, best, loading, settings.resampling),
        "after_seconds": _after_seconds(curves, settings.resampling),
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
    method: str, settings: BenchmarkSettings, timed: Mapping[Job, Outcome], loading: float
) -> dict[str, float]:
    """Seconds per step and seconds to make the initial weights, as medians over runs.

    All starts of a zoo take the same steps, beside an adapter, and so do all classical starts. The times of
    their steps are pooled: a start measured in a busy minute must not look slower.
    """
    runs: dict[int, list[float]] = {}
    starts = []

    def kind_of(one: str) -> str:
        return one if settings.is_unet(one) else "zoo" if one in ZOO_STARTS else "classical"

    for job, outcome in timed.items():
        if job.method == method:
            starts.append(outcome.start_seconds)
        if kind_of(job.method) == kind_of(method) and outcome.psnr is not None:
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
    psnr = {
        job.n_steps: outcome.psnr
        for job, outcome in outcomes.items()
        if (job.method, job.concept_id) == (method, question.concept_id)
    }
    return [
        Rung(n_steps, psnr[n_steps], pace["start_seconds"] + n_steps * pace["step_seconds"])
        for n_steps in settings.lengths
    ]


def _ratios(
    ours: str,
    curves: Mapping[str, Sequence[Curve]],
    best: Sequence[float],
    loading: Mapping[str, float],
    how: Resampling,
) -> dict[str, dict[str, Any]]:
    """Ratios of each method to one of ours; empty if that was left out."""
    if ours not in curves:
        return {}
    loaded = {
        method: [_later(curve, loading[method]) for curve in per_concept]
        for method, per_concept in curves.items()
    }
    ratios = {}
    for method, per_concept in curves.items():
        if method == ours:
            continue
        targets = {name: [value - below for value in best] for name, below in TARGETS.items()}
        targets[ITS_BEST] = [_best_of(curve) for curve in per_concept]
        ratios[method] = {
            name: compare(curves[ours], per_concept, wanted, how) for name, wanted in targets.items()
        }
        ratios[method][WITH_LOADING] = compare(loaded[ours], loaded[method], targets["within_3db"], how)
    return ratios


def _later(curve: Curve, seconds: float) -> list[Rung]:
    return [replace(rung, seconds=rung.seconds + seconds) for rung in curve]


def _best_of(*curves: Curve) -> float:
    """The highest PSNR of all rungs; 0 dB, which any start reaches, if every run diverged."""
    return max((rung.psnr for curve in curves for rung in curve if rung.psnr is not None), default=0.0)


def _after_seconds(
    curves: Mapping[str, Sequence[Curve]], how: Resampling
) -> dict[str, dict[str, dict[str, Any] | None]]:
    """Mean PSNR after equal times, by time and method: of the longest schedule that ends within it.

    The time to make the initial weights counts. A method without a schedule that is short enough has None.
    """
    table: dict[str, dict[str, dict[str, Any] | None]] = {}
    for limit in TIMES:
        row: dict[str, dict[str, Any] | None] = {}
        for method, per_concept in curves.items():
            within = [[rung for rung in curve if rung.seconds <= limit] for curve in per_concept]
            values = [rungs[-1].psnr if rungs else None for rungs in within]
            row[method] = _mean_with_interval(values, how)
        table[f"{limit:g}"] = row
    return table


def _mean_with_interval(values: Sequence[float | None], how: Resampling) -> dict[str, Any] | None:
    if any(value is None for value in values):
        return None
    drawn = bootstrap_means(np.array([values], float), n_resamples=how.n_resamples, seed=how.seed)
    return {"psnr": round(float(np.mean([value for value in values if value is not None])), 4),
            "interval": interval(drawn[0], how.level)}  # fmt: skip


def _final(curves: Mapping[str, Sequence[Curve]], how: Resampling) -> dict[str, Any]:
    """PSNR at the longest schedule, and the lead of the generated and the fitted start over each method."""
    ends = {method: [curve[-1].psnr for curve in per_concept] for method, per_concept in curves.items()}
    final: dict[str, Any] = {"psnr": {method: _mean(values) for method, values in ends.items()}}
    for key, ours in (("difference", OURS), ("difference_of_fitted", FITTED)):
        if ours in ends:
            others = {method: values for method, values in ends.items() if method != ours}
            leads = {method: _lead(ends[ours], values, how) for method, values in others.items()}
            final[key] = {method: lead for method, lead in leads.items() if lead is not None}
    return final


def _lead(
    mine: Sequence[float | None], theirs: Sequence[float | None], how: Resampling
) -> dict[str, Any] | None:
    """The mean difference over the concepts on which neither diverged, and the least of them."""
    both = [(a, b) for a, b in zip(mine, theirs, strict=True) if a is not None and b is not None]
    if not both:
        return None
    more = np.array([[a - b for a, b in both]])
    drawn = bootstrap_means(more, n_resamples=how.n_resamples, seed=how.seed)
    return {
        "psnr": round(float(more.mean()), 4),
        "interval": interval(drawn[0], how.level),
        "least": round(float(more.min()), 4),
    }


def _method(
    method: str,
    zoo: Zoo,
    settings: BenchmarkSettings,
    tuned: TuningResult,
    curves: Sequence[Curve],
    best: Sequence[float],
) -> dict[str, Any]:
    """Description of a method, its mean curve and its times to the targets."""
    how = settings.resampling
    psnr, intervals = {}, {}
    for i, n_steps in enumerate(settings.lengths):
        values = [curve[i].psnr for curve in curves]
        psnr[str(n_steps)] = _mean(values)
        sound = np.array([[value for value in values if value is not None]])
        drawn = bootstrap_means(sound, n_resamples=how.n_resamples, seed=how.seed) if sound.size else None
        intervals[str(n_steps)] = None if drawn is None else interval(drawn[0], how.level)
    times = {}
    for name, below in TARGETS.items():
        reached = [time_to(curve, value - below) for curve, value in zip(curves, best, strict=True)]
        times[name] = {
            "n_reached": sum(t.is_reached for t in reached),
            "seconds": round(float(np.exp(np.mean([np.log(max(t.seconds, 1e-9)) for t in reached]))), 4),
            "steps": round(float(np.exp(np.mean([np.log(t.n_steps) for t in reached]))), 2),
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
    """Number of weights of the network, and of the discriminator if the method has one."""
    network = (
        UNet(settings.n_halvings, settings.unet_width) if settings.is_unet(method) else zoo.recipe.build()
    )
    judge = PatchDiscriminator(settings.unet_width) if method == BOOK else None
    return {
        name: sum(parameter.numel() for parameter in module.parameters())
        for name, module in (("network", network), ("discriminator", judge))
        if module is not None
    }


def _classical(zoo: Zoo, settings: BenchmarkSettings, tuned: TuningResult) -> list[dict[str, Any]]:
    """The classical starts, best first: their PSNR, their diagnosis, and whether both agree.

    They agree if a start diagnosed as healthy came within 1 dB of the best one, or another one did not.
    """
    if not tuned.classical:
        return []
    starts = Initializer(zoo)
    images = to_images(middle_squares(load_photos(settings.photos.folder, split="train")))
    means = {
        name: float(np.mean([psnr for _, psnr in by_length.values()]))
        for name, by_length in tuned.classical.items()
    }
    top = means[tuned.best]
    rows = []
    for name in sorted(means, key=lambda start: -means[start]):
        diagnosis = diagnose_network(
            starts.network(name, Request(seed=settings.seed)), images, seed=settings.seed
        )
        did_well = bool(means[name] >= top - _CLOSE)
        rows.append(
            {
                "name": name,
                "mean_psnr": _finite(means[name]),
                "psnr": {str(n): _finite(psnr) for n, (_, psnr) in tuned.classical[name].items()},
                "rates": {str(n): rate for n, (rate, _) in tuned.classical[name].items()},
                "verdict": diagnosis.verdict,
                "reason": diagnosis.reason,
                "did_well": did_well,
                "agrees": did_well == (diagnosis.verdict == "healthy"),
            }
        )
    return rows


def _concepts(
    measured: Sequence[Question], curves: Mapping[str, Sequence[Curve]], best: Sequence[float]
) -> list[dict[str, Any]]:
    """Per concept: the best PSNR, every curve, and what beat the generated start, and the fitted one."""
    rows = []
    for i, question in enumerate(measured):
        times = {
            name: {
                method: reached.n_steps if reached.is_reached else None
                for method, per_concept in curves.items()
                for reached in [time_to(per_concept[i], best[i] - below)]
            }
            for name, below in TARGETS.items()
        }
        seconds = {
            name: {
                method: _training_seconds(per_concept[i], best[i] - below)
                for method, per_concept in curves.items()
            }
            for name, below in TARGETS.items()
        }
        lost = {
            ours: {
                name: [method for method, value in spent.items() if ours in spent and value < spent[ours]]
                for name, spent in seconds.items()
            }
            for ours in (OURS, FITTED)
        }
        rows.append(
            {
                "concept": question.concept_id,
                "family": question.family,
                "split": question.split,
                "words": question.words[0],
                "best_psnr": round(best[i], 4),
                "psnr": {
                    method: [_finite(rung.psnr) for rung in per_concept[i]]
                    for method, per_concept in curves.items()
                },
                "steps": times,
                "lost_to": lost[OURS],
                "fitted_lost_to": lost[FITTED],
            }
        )
    return rows


def _training_seconds(curve: Curve, target: float) -> float:
    """Seconds of training until a target, without making the initial weights; infinite if it is missed."""
    reached = time_to(curve, target)
    return round(reached.seconds - curve[0].seconds, 6) if reached.is_reached else np.inf


def _provenance(zoo: Zoo, settings: BenchmarkSettings) -> dict[str, Any]:
    how = settings.resampling
    values = settings.to_dict()
    digest = generator_digest(zoo.generator_folder) if OURS in settings.methods else None
    values["photos"] = "bundled" if settings.photos.folder is None else "the user's"
    return {
        "zoo": zoo.name,
        "revision": zoo.revision,
        "generator_sha256": digest,
        "settings": values,
        "intervals": {"level": how.level, "n_resamples": how.n_resamples, "over": "concepts"},
        "seeds": {"benchmark": settings.seed, "resampling": how.seed},
        "n_workers": settings.n_workers,
        "machine": describe_machine(choose_device(settings.device)),
        "versions": {"initzoo": __version__, "numpy": np.__version__, "system": platform.system()},
    }


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean over the runs that did not diverge."""
    sound = [value for value in values if value is not None]
    return round(float(np.mean(sound)), 4) if sound else None


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 4)
