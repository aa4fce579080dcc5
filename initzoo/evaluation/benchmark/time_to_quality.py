"""Time to quality: the shortest schedule that reaches a target, and the ratio of two methods' times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from initzoo.evaluation.bootstrap import Resampling, bootstrap_means, interval

__all__ = ["Curve", "Rung", "TimeToTarget", "bound_of", "compare", "time_to"]


@dataclass(frozen=True)
class Rung:
    """One schedule of a method on a concept.

    Args:
        n_steps: length of the schedule.
        psnr: PSNR at its end, dB; None if it diverged.
        seconds: its duration, including the making of the initial weights.
    """

    n_steps: int
    psnr: float | None
    seconds: float


Curve = Sequence[Rung]
"""The schedules of a method on one concept, in ascending order of length from 0 steps."""


@dataclass(frozen=True)
class TimeToTarget:
    """The time that a method needs to reach a target.

    Args:
        n_steps: length of the shortest schedule that reaches it, else of the longest schedule.
        seconds: duration of that schedule.
        is_reached: whether a schedule reaches the target.
    """

    n_steps: int
    seconds: float
    is_reached: bool


def time_to(curve: Curve, target: float) -> TimeToTarget:
    """Find the shortest schedule that reaches a target at its end.

    A start that reaches the target without training counts as the shortest schedule with steps, since a
    time of zero would make ratios infinite.

    Args:
        curve: at least two rungs.
        target: target PSNR, dB.

    Example:
        >>> curve = [Rung(0, 20.0, 0.1), Rung(5, 24.0, 0.2), Rung(10, 26.0, 0.3)]
        >>> time_to(curve, 25.0)
        TimeToTarget(n_steps=10, seconds=0.3, is_reached=True)
        >>> time_to(curve, 15.0)
        TimeToTarget(n_steps=5, seconds=0.2, is_reached=True)
        >>> time_to(curve, 30.0)
        TimeToTarget(n_steps=10, seconds=0.3, is_reached=False)
    """
    # The first rung that reaches the target, even if a later one falls below it again: each rung is a
    # finished run that a user could have chosen.
    for i, rung in enumerate(curve):
        if rung.psnr is not None and rung.psnr >= target:
            counted = curve[max(i, 1)]
            return TimeToTarget(counted.n_steps, counted.seconds, True)
    return TimeToTarget(curve[-1].n_steps, curve[-1].seconds, False)


def compare(
    ours: Sequence[Curve], other: Sequence[Curve], targets: Sequence[float], how: Resampling
) -> dict[str, Any]:
    """Compute how many times longer another method takes than ours, as geometric means over concepts.

    If the other method misses the target with all schedules, its longest one counts; the ratio is then a
    lower bound. If ours misses it, twice its longest schedule counts, as if the next one had reached it;
    the ratio is then an estimate and not a bound.

    Args:
        ours: our curve on each concept.
        other: the other method's curve on each concept.
        targets: target PSNR on each concept, dB.
        how: settings of the bootstrap intervals over concepts.

    Returns:
        JSON values: `ratio` of seconds and `ratio_steps`, with their intervals; `n_at_least` and
        `n_not_reached`, the numbers of concepts on which the other method and ours missed the target;
        `ratios`, of seconds, by concept.

    Raises:
        ValueError: there are no concepts, or the arguments differ in length.

    Example:
        >>> ours = [[Rung(0, 20.0, 0.0), Rung(5, 25.0, 1.0)]]
        >>> other = [[Rung(0, 10.0, 0.0), Rung(5, 15.0, 1.0), Rung(10, 25.0, 2.0)]]
        >>> result = compare(ours, other, [25.0], Resampling(n_resamples=10))
        >>> result["ratio"], result["interval"], result["ratio_steps"]
        (2.0, [2.0, 2.0], 2.0)
    """
    if not targets:
        raise ValueError("there are no concepts to compare on")
    # Ratios are averaged as logarithms: twice as fast and half as fast cancel.
    logs = np.empty((2, len(targets)))
    n_at_least = n_not_reached = 0
    for i, (own, others, target) in enumerate(zip(ours, other, targets, strict=True)):
        mine, theirs = time_to(own, target), time_to(others, target)
        n_at_least += not theirs.is_reached
        n_not_reached += not mine.is_reached
        penalty = 1 if mine.is_reached else 2
        logs[0, i] = np.log(theirs.seconds / max(penalty * mine.seconds, 1e-9))
        logs[1, i] = np.log(theirs.n_steps / (penalty * mine.n_steps))
    drawn = np.exp(bootstrap_means(logs, n_resamples=how.n_resamples, seed=how.seed))
    means = np.exp(logs.mean(axis=1))
    return {
        "ratio": round(float(means[0]), 4),
        "interval": interval(drawn[0], how.level),
        "ratio_steps": round(float(means[1]), 4),
        "interval_steps": interval(drawn[1], how.level),
        "n_at_least": n_at_least,
        "n_not_reached": n_not_reached,
        "ratios": [round(float(value), 4) for value in np.exp(logs[0])],
    }


def bound_of(ratio: Mapping[str, Any]) -> str:
    """The qualifier of a ratio: `at least` for a lower bound, `about` for an estimate, else empty.

    Example:
        >>> bound_of({"n_at_least": 3, "n_not_reached": 0}), bound_of({"n_at_least": 3, "n_not_reached": 1})
        ('at least', 'about')
    """
    if ratio["n_not_reached"]:
        return "about"
    return "at least" if ratio["n_at_least"] else ""


def median_seconds(curves: Mapping[int, Sequence[float]]) -> float:
    """Seconds per step: the median over all runs.

    Args:
        curves: number of steps -> seconds of each run; runs of 0 steps are ignored.

    Example:
        >>> median_seconds({0: [0.1], 10: [1.0, 1.2], 20: [2.0, 9.0]})
        0.11
    """
    each = [seconds / n_steps for n_steps, runs in curves.items() if n_steps for seconds in runs]
    return round(float(np.median(each)), 9) if each else 0.0
