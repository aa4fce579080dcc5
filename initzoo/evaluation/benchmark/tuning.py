"""Tuning before the measurement: learning rates and the best classical start, on other concepts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import BenchmarkError, InvalidZoo
from initzoo.evaluation.benchmark.jobs import Job, Outcome
from initzoo.evaluation.benchmark.settings import SCRATCH, ZOO_STARTS, BenchmarkSettings
from initzoo.evaluation.cases import Question, ask_about_zoo
from initzoo.pairs import HELD_OUT
from initzoo.zoo import Zoo

__all__ = ["TuningResult", "choose_concepts", "tune"]

Run = Callable[[str, Sequence[Job]], dict[Job, Outcome]]
ByLength = dict[int, tuple[float, float]]
_Means = dict[int, dict[float, float]]  # length -> learning rate -> mean PSNR, dB

_SHORT = 40
"""Schedules of up to this many steps try every rate."""


@dataclass(frozen=True)
class TuningResult:
    """The result of tuning.

    Args:
        rates: method -> length -> chosen learning rate.
        classical: initialization -> length -> chosen learning rate and its mean PSNR, dB.
        best: the classical initialization with the highest mean PSNR; empty if none competed.
    """

    rates: Mapping[str, Mapping[int, float]]
    classical: Mapping[str, ByLength]
    best: str

    def start_of(self, method: str) -> str:
        """The initialization that a method starts from; empty for the U-Net."""
        return _start_of(method, self.best)


def choose_concepts(zoo: Zoo, *, n_tuning: int, n_measured: int) -> tuple[list[Question], list[Question]]:
    """Choose held-out concepts for tuning and others for measuring, taking families in turn.

    Args:
        zoo: the zoo.
        n_tuning: number of concepts for tuning.
        n_measured: maximum number of concepts for measuring.

    Raises:
        InvalidZoo: the zoo has too few held-out concepts to measure on any.
    """
    held_out = [question for question in ask_about_zoo(zoo) if question.split in HELD_OUT]
    families: dict[str, list[Question]] = {}
    for question in held_out:
        families.setdefault(question.family, []).append(question)
    n_all = n_tuning + n_measured
    wanted = -(-n_all // max(1, len(families)))
    spread = {
        name: [family[len(family) * i // wanted] for i in range(wanted)] if len(family) > wanted else family
        for name, family in families.items()
    }
    in_turn = [
        spread[name][i]
        for i in range(max((len(family) for family in spread.values()), default=0))
        for name in sorted(spread)
        if i < len(spread[name])
    ]
    chosen = {question.concept_id for question in in_turn}
    rest = [question for question in held_out if question.concept_id not in chosen]
    in_turn += rest[: max(0, n_all - len(in_turn))]
    if len(in_turn) <= n_tuning:
        raise InvalidZoo(
            f"zoo '{zoo.name}' has {len(in_turn)} held-out concepts, and {n_tuning} are used for tuning. "
            "A benchmark needs at least one more."
        )
    return in_turn[:n_tuning], in_turn[n_tuning:n_all]


def tune(settings: BenchmarkSettings, questions: Sequence[Question], run: Run) -> TuningResult:
    """Choose the best classical initialization, then a learning rate for every method and length.

    Short schedules try every rate of the grid. From there on, a length tries the rate that did best at the
    length before, and its neighbours in the grid: a rate that is good for 40 steps is rarely bad for 80.

    Args:
        settings: settings of the benchmark.
        questions: the tuning concepts.
        run: runs jobs under the name of a stage, e.g. `tune 80 steps`; `question` of a job is an index of
            `questions`.

    Raises:
        BenchmarkError: a method diverged at every rate of its grid.
    """

    def search(stage: str, starts: Mapping[str, _Start], lengths: Sequence[int]) -> dict[str, ByLength]:
        found: dict[str, _Means] = {name: {} for name in starts}
        for part in _parts(lengths):
            names = {
                Job(i, question.concept_id, start.method, start.name, n_steps, rate): name
                for i, question in enumerate(questions)
                for n_steps in part
                for name, start in starts.items()
                for rate in _rates_to_try(settings.grid(start.method), found[name])
            }
            scores: dict[tuple[str, int, float], list[float]] = {}
            # Later parts depend on what earlier ones found, so each is a stage with a progress of its own.
            part_of = stage if len(part) > 1 or not any(found.values()) else f"{stage} {part[0]} steps"
            for job, outcome in run(part_of, list(names)).items():
                psnr = -np.inf if outcome.psnr is None else outcome.psnr
                scores.setdefault((names[job], job.n_steps, job.rate), []).append(psnr)
            for (name, n_steps, rate), values in scores.items():
                found[name].setdefault(n_steps, {})[rate] = float(np.mean(values))
        return {name: _best_rates(settings.grid(starts[name].method), found[name]) for name in starts}

    classical: dict[str, ByLength] = {}
    best = ""
    if SCRATCH in settings.methods:
        starts = {name: _Start(SCRATCH, name) for name in settings.classical}
        classical = search("classical", starts, settings.classical_lengths)
        means = {
            name: float(np.mean([psnr for _, psnr in by_length.values()]))
            for name, by_length in classical.items()
        }
        best = max(means, key=means.__getitem__)
    starts = {method: _Start(method, _start_of(method, best)) for method in settings.methods}
    rates = {}
    for method, by_length in search("tune", starts, settings.lengths[1:]).items():
        lost = [n_steps for n_steps, (_, psnr) in by_length.items() if not np.isfinite(psnr)]
        if lost:
            raise BenchmarkError(
                f"{method} diverged at every rate of its grid, over {lost[0]} steps. Give smaller rates"
            )
        rates[method] = {n_steps: rate for n_steps, (rate, _) in by_length.items()}
    return TuningResult(rates, classical, best)


@dataclass(frozen=True)
class _Start:
    """What is tuned: a method, and the initialization that it starts from."""

    method: str
    name: str


def _start_of(method: str, best: str) -> str:
    if method == SCRATCH:
        return best
    return method if method in ZOO_STARTS else ""


def _parts(lengths: Sequence[int]) -> list[list[int]]:
    """The lengths that are tuned in one go: the short ones, then each of the others.

    Example:
        >>> _parts([5, 20, 40, 80, 160])
        [[5, 20, 40], [80], [160]]
    """
    first = [n_steps for n_steps in lengths if n_steps <= _SHORT] or list(lengths[:1])
    return [first, *([n_steps] for n_steps in lengths[len(first) :])]


def _rates_to_try(grid: Sequence[float], found: _Means) -> list[float]:
    """The rates of the grid that the next length tries: all of them, or the best one and its neighbours."""
    if not found:
        return list(grid)
    longest = max(found)
    best = grid.index(_best_rates(grid, found)[longest][0])
    return list(grid[max(0, best - 1) : best + 2])


def _best_rates(grid: Sequence[float], found: _Means) -> ByLength:
    """The best rate and its mean PSNR over the concepts, by length.

    A few concepts give noisy means. A rate is therefore also judged at half and twice the length, with half
    the weight. A rate at which a run diverged counts as minus infinity, one that was not tried as NaN.
    """
    lengths = sorted(found)
    means = np.array([[found[n_steps].get(rate, np.nan) for rate in grid] for n_steps in lengths])
    chosen = _smoothed_choice(lengths, means)
    return {
        n_steps: (grid[rate], float(means[i, rate]))
        for i, (n_steps, rate) in enumerate(zip(lengths, chosen, strict=True))
    }


def _smoothed_choice(lengths: Sequence[int], means: NDArray[np.float64]) -> list[int]:
    """Choose the index of a rate at each length.

    Args:
        lengths: lengths of the schedules, steps.
        means: mean PSNR, dB, shape `(n_lengths, n_rates)`; minus infinity where a run diverged, NaN where
            none was tried.

    Example:
        >>> means = np.array([[20.0, 21.0, 19.0], [25.1, 25.0, 24.0], [np.nan, 29.0, -np.inf]])
        >>> _smoothed_choice([20, 40, 80], means), _smoothed_choice([2, 40, 800], means)
        ([1, 1, 1], [1, 0, 1])
    """
    is_tried, is_sound = ~np.isnan(means), np.isfinite(means)
    known = np.where(is_sound, means, -1e3)
    # Judged by the loss to the best rate: PSNR itself grows with the length.
    lost = np.where(is_tried, known.max(axis=1, keepdims=True) - known, 0.0)
    apart = np.abs(np.log2(np.divide.outer(np.array(lengths, float), lengths)))
    weights = np.eye(len(lengths)) + np.where((apart > 0) & (apart <= 1), 0.5, 0.0)
    smoothed = weights @ lost / (weights @ is_tried).clip(min=1e-9)
    return [int(rate) for rate in np.where(is_sound, smoothed, np.inf).argmin(axis=1)]
