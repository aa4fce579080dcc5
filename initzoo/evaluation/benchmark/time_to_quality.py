"""Time to quality: the shortest schedule that reaches a target, and how many times shorter it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from initzoo.evaluation.bootstrap import Resampling, bootstrap_means, interval

__all__ = ["Curve", "Reached", "Rung", "bound_of", "compare", "time_to"]


@dataclass(frozen=True)
class Rung:
    """One schedule of a method on a concept.

    Args:
        n_steps: of the schedule.
        psnr: at its end, dB; None if it diverged.
        seconds: that it takes, first weights included.
    """

    n_steps: int
    psnr: float | None
    seconds: float


Curve = Sequence[Rung]
"""A method's schedules on one concept, by length, 0 steps first."""


@dataclass(frozen=True)
class Reached:
    """When a method reaches a target.

    Args:
        n_steps: of the shortest schedule that does; of the longest one there is if none does.
        seconds: the same in seconds.
        is_reached: whether one does.
    """

    n_steps: int
    seconds: float
    is_reached: bool


def time_to(curve: Curve, target: float) -> Reached:
    """The shortest schedule whose end reaches a target.

    A start that is there without a step counts as the shortest schedule with steps: that nothing is left to
    do would be a ratio without bounds.

    Args:
        curve: at least two rungs.
        target: PSNR, dB.

    Example:
        >>> curve = [Rung(0, 20.0, 0.1), Rung(5, 24.0, 0.2), Rung(10, 26.0, 0.3)]
        >>> time_to(curve, 25.0), time_to(curve, 15.0)
        (Reached(n_steps=10, seconds=0.3, is_reached=True), Reached(n_steps=5, seconds=0.2, is_reached=True))
        >>> time_to(curve, 30.0)
        Reached(n_steps=10, seconds=0.3, is_reached=False)
    """
    for place, rung in enumerate(curve):
        if rung.psnr is not None and rung.psnr >= target:
            counted = curve[max(place, 1)]
            return Reached(counted.n_steps, counted.seconds, True)
    return Reached(curve[-1].n_steps, curve[-1].seconds, False)


def compare(
    ours: Sequence[Curve], other: Sequence[Curve], targets: Sequence[float], how: Resampling
) -> dict[str, Any]:
    """How many times longer another method takes: geometric means over concepts.

    Where the other method reaches the target with none of its schedules, its longest one is taken: the
    ratio is at least that. Where ours does not, twice its longest is taken, as if the next one did: then it
    is about that, and not a bound.

    Args:
        ours: a curve a concept.
        other: the same for what it is compared with.
        targets: PSNR, dB, a concept each.
        how: of the intervals, over concepts.

    Returns:
        Plain JSON values: `ratio` of seconds and `ratio_steps`, with their intervals; `n_at_least`, the
        concepts on which the other method reached nothing, and `n_not_reached`, those on which ours did
        not; `ratios`, of seconds, by concept.

    Raises:
        ValueError: there are no concepts, or not one of each for every concept.

    Example:
        >>> ours = [[Rung(0, 20.0, 0.0), Rung(5, 25.0, 1.0)]]
        >>> other = [[Rung(0, 10.0, 0.0), Rung(5, 15.0, 1.0), Rung(10, 25.0, 2.0)]]
        >>> found = compare(ours, other, [25.0], Resampling(n_resamples=10))
        >>> found["ratio"], found["interval"], found["ratio_steps"]
        (2.0, [2.0, 2.0], 2.0)
    """
    if not targets:
        raise ValueError("there are no concepts to compare on")
    logs = np.empty((2, len(targets)))
    n_at_least = n_not_reached = 0
    for place, (own, others, target) in enumerate(zip(ours, other, targets, strict=True)):
        mine, theirs = time_to(own, target), time_to(others, target)
        n_at_least += not theirs.is_reached
        n_not_reached += not mine.is_reached
        penalty = 1 if mine.is_reached else 2
        logs[0, place] = np.log(theirs.seconds / max(penalty * mine.seconds, 1e-9))
        logs[1, place] = np.log(theirs.n_steps / (penalty * mine.n_steps))
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
    """How a ratio is to be read: `at least`, `about` where the generated start was guessed, or as it is.

    Example:
        >>> bound_of({"n_at_least": 3, "n_not_reached": 0}), bound_of({"n_at_least": 3, "n_not_reached": 1})
        ('at least', 'about')
    """
    if ratio["n_not_reached"]:
        return "about"
    return "at least" if ratio["n_at_least"] else ""


def median_seconds(curves: Mapping[int, Sequence[float]]) -> float:
    """Seconds of a step: the median over runs, by length, of their seconds over their steps.

    Args:
        curves: seconds of each run, by number of steps; runs without steps are left out.

    Example:
        >>> median_seconds({0: [0.1], 10: [1.0, 1.2], 20: [2.0, 9.0]})
        0.11
    """
    each = [seconds / n_steps for n_steps, runs in curves.items() if n_steps for seconds in runs]
    return round(float(np.median(each)), 9) if each else 0.0
