"""What is settled on tuning concepts, before anything is measured: rates, and the best classical start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import BenchmarkError, InvalidZoo
from initzoo.evaluation.benchmark.jobs import Job, Outcome
from initzoo.evaluation.benchmark.settings import SCRATCH, BenchmarkSettings
from initzoo.evaluation.cases import Question, ask_about_zoo
from initzoo.generator.given import FROM_ZOO
from initzoo.pairs.concepts import HELD_OUT
from initzoo.zoo.zoo import Zoo

__all__ = ["Tuned", "choose_concepts", "tune"]

Run = Callable[[str, Sequence[Job]], dict[Job, Outcome]]
ByLength = dict[int, tuple[float, float]]


@dataclass(frozen=True)
class Tuned:
    """What was settled.

    Args:
        rates: by method and length, the learning rate that did best on average.
        classical: by initialization and length, that rate and the mean PSNR at it, dB.
        best: the classical initialization with the highest mean of these; empty if none competed.
    """

    rates: Mapping[str, Mapping[int, float]]
    classical: Mapping[str, ByLength]
    best: str

    def start_of(self, method: str) -> str:
        """The initialization that a method starts from; empty for the U-Net, which has its own."""
        return _start_of(method, self.best)


def choose_concepts(zoo: Zoo, *, n_tuning: int, n_measured: int) -> tuple[list[Question], list[Question]]:
    """Held-out concepts of a zoo to choose rates on, and others to measure on: all families in turn.

    Args:
        zoo: is asked.
        n_tuning: of the former.
        n_measured: of the latter; fewer if there are no more.

    Raises:
        InvalidZoo: the zoo has no more held-out concepts than are needed for tuning.
    """
    held_out = [question for question in ask_about_zoo(zoo) if question.split in HELD_OUT]
    families: dict[str, list[Question]] = {}
    for question in held_out:
        families.setdefault(question.family, []).append(question)
    n_all = n_tuning + n_measured
    wanted = -(-n_all // max(1, len(families)))
    spread = {
        name: [own[len(own) * place // wanted] for place in range(wanted)] if len(own) > wanted else own
        for name, own in families.items()
    }
    in_turn = [
        spread[name][place]
        for place in range(max((len(own) for own in spread.values()), default=0))
        for name in sorted(spread)
        if place < len(spread[name])
    ]
    chosen = {question.concept_id for question in in_turn}
    rest = [question for question in held_out if question.concept_id not in chosen]
    in_turn += rest[: max(0, n_all - len(in_turn))]
    if len(in_turn) <= n_tuning:
        raise InvalidZoo(
            f"zoo '{zoo.name}' has {len(in_turn)} held-out concepts; more than the {n_tuning} for tuning "
            "are needed to measure on any."
        )
    return in_turn[:n_tuning], in_turn[n_tuning:n_all]


def tune(settings: BenchmarkSettings, questions: Sequence[Question], run: Run) -> Tuned:
    """Let the classical initializations compete, then choose every method's rate at each length.

    Args:
        settings: what competes, and on which grids.
        questions: tuning concepts.
        run: does jobs under the name of a stage; `question` of a job is the place in `questions`.

    Raises:
        BenchmarkError: a method diverged at every rate of its grid.
    """

    def jobs_of(starts: Mapping[str, tuple[str, str]], lengths: Sequence[int]) -> list[Job]:
        return [
            Job(place, question.concept_id, method, start, n_steps, rate)
            for place, question in enumerate(questions)
            for n_steps in lengths
            for method, start in starts.values()
            for rate in settings.grid(method)
        ]

    classical: dict[str, ByLength] = {}
    best = ""
    if SCRATCH in settings.methods:
        starts = {name: (SCRATCH, name) for name in settings.classical}
        found = run("classical", jobs_of(starts, settings.classical_lengths))
        classical = _best_rates(found, lambda job: job.start)
        means = {name: float(np.mean([psnr for _, psnr in own.values()])) for name, own in classical.items()}
        best = max(means, key=means.__getitem__)
    starts = {method: (method, _start_of(method, best)) for method in settings.methods}
    found = run("tune", jobs_of(starts, settings.lengths[1:]))
    rates = {}
    for method, by_length in _best_rates(found, lambda job: job.method).items():
        lost = [n_steps for n_steps, (_, psnr) in by_length.items() if not np.isfinite(psnr)]
        if lost:
            raise BenchmarkError(
                f"{method} diverged at every rate of its grid, over {lost[0]} steps. Give smaller ones"
            )
        rates[method] = {n_steps: rate for n_steps, (rate, _) in by_length.items()}
    return Tuned(rates, classical, best)


def _start_of(method: str, best: str) -> str:
    if method == SCRATCH:
        return best
    return method if method in FROM_ZOO else ""


def _best_rates(found: Mapping[Job, Outcome], key: Callable[[Job], str]) -> dict[str, ByLength]:
    """By key and length, the rate that did best on average over the concepts, and its mean PSNR.

    Few concepts choose, so that a rate is judged by what it loses to the best one over half and twice as
    many steps too, where these were run, each half as much: what is good for 40 steps is hardly bad for 80.
    A rate at which one run diverged counts as minus infinity.
    """
    scores: dict[str, dict[int, dict[float, list[float]]]] = {}
    for job, outcome in found.items():
        psnr = -np.inf if outcome.psnr is None else outcome.psnr
        by_rate = scores.setdefault(key(job), {}).setdefault(job.n_steps, {})
        by_rate.setdefault(job.rate, []).append(psnr)
    best: dict[str, ByLength] = {}
    for name, by_length in scores.items():
        best[name] = {}
        lengths = sorted(by_length)
        rates = list(by_length[lengths[0]])
        means = np.array(
            [[float(np.mean(by_length[n_steps][rate])) for rate in rates] for n_steps in lengths]
        )
        for place, rate in enumerate(_smoothed_choice(lengths, means)):
            best[name][lengths[place]] = (rates[rate], float(means[place, rate]))
    return best


def _smoothed_choice(lengths: Sequence[int], means: NDArray[np.float64]) -> list[int]:
    """Which rate to take at each length.

    Args:
        lengths: of schedules, steps.
        means: PSNR, dB, shape `(n_lengths, n_rates)`; minus infinity where a run diverged.

    Example:
        >>> means = np.array([[20.0, 21.0, 19.0], [25.1, 25.0, 24.0], [27.0, 29.0, -np.inf]])
        >>> _smoothed_choice([20, 40, 80], means), _smoothed_choice([2, 40, 800], means)
        ([1, 1, 1], [1, 0, 1])
    """
    is_sound = np.isfinite(means)
    known = np.where(is_sound, means, -1e3)
    lost = known.max(axis=1, keepdims=True) - known
    apart = np.abs(np.log2(np.divide.outer(np.array(lengths, float), lengths)))
    weights = np.eye(len(lengths)) + np.where((apart > 0) & (apart <= 1), 0.5, 0.0)
    smoothed = np.where(is_sound, weights @ lost, np.inf)
    return [int(place) for place in smoothed.argmin(axis=1)]
