"""Means, their intervals and the share of the gap that is closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initzoo.evaluation.bootstrap import Resampling, bootstrap_means, interval

__all__ = ["PULL", "gap_closed", "summarise"]

Values = NDArray[np.float64]

FLOOR, CEILING, OURS, PULL = "mean", "trained", "generated", "pull"
"""The methods that a gap lies between, and the two that close it."""

COMPARED_WITH = {OURS: "difference", "reference": "difference_to_reference"}
"""Methods that are compared with every other one, and the key of the result in a report."""


def gap_closed(generated: Values, mean: Values, trained: Values) -> Values:
    """The share of the way from the mean adapter to the trained one: `(generated - mean) / (trained - mean)`.

    NaN if the trained adapter is not better than the mean one.

    Example:
        >>> gap_closed(np.array([26.0]), np.array([16.0]), np.array([28.5]))
        array([0.8])
    """
    gap = np.asarray(trained - mean, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(gap > 0, (generated - mean) / gap, np.nan))


def summarise(
    psnr: Mapping[str, Sequence[float]], ssim: Mapping[str, Sequence[float]], how: Resampling
) -> dict[str, Any]:
    """Everything that is said of a group of concepts, as plain JSON values.

    Args:
        psnr: by method, a value a concept, dB.
        ssim: the same for SSIM.
        how: of the intervals.

    Returns:
        Counts; `gap_closed` and its interval, None where a method that it needs is absent; `psnr`, `ssim`,
        `psnr_10th` (one concept in ten is below it) and their intervals by method; and `difference`: what
        `generated` is above each other method, paired by concept. Where there is a method `reference`,
        `difference_to_reference` is the same for it. Where there is a method `pull`, the key `pull` has a
        `gap_closed` and its interval of its own.
    """
    methods = list(psnr)
    values = np.array([psnr[method] for method in methods], float)
    likeness = np.array([ssim[method] for method in methods], float)
    drawn = bootstrap_means(values, n_resamples=how.n_resamples, seed=how.seed)
    drawn_ssim = bootstrap_means(likeness, n_resamples=how.n_resamples, seed=how.seed)
    place = {method: number for number, method in enumerate(methods)}
    summary: dict[str, Any] = {
        "n_concepts": values.shape[1],
        **_gap(OURS, place, values.mean(axis=1), drawn, how.level),
        "psnr": _by(methods, values.mean(axis=1)),
        "psnr_interval": {method: interval(drawn[place[method]], how.level) for method in methods},
        "psnr_10th": _by(methods, np.quantile(values, 0.1, axis=1)),
        "ssim": _by(methods, likeness.mean(axis=1)),
        "ssim_interval": {method: interval(drawn_ssim[place[method]], how.level) for method in methods},
    }
    if PULL in place:
        summary[PULL] = _gap(PULL, place, values.mean(axis=1), drawn, how.level)
    for one in [method for method in COMPARED_WITH if method in place]:
        own = place[one]
        summary[COMPARED_WITH[one]] = {
            method: {
                "psnr": round(float((values[own] - values[place[method]]).mean()), 4),
                "interval": interval(drawn[own] - drawn[place[method]], how.level),
            }
            for method in methods
            if method != one
        }
    return summary


def _gap(method: str, place: Mapping[str, int], means: Values, drawn: Values, level: float) -> dict[str, Any]:
    """The share of the gap that a method closes."""
    nothing: dict[str, Any] = {"gap_closed": None, "gap_closed_interval": None}
    if not {method, FLOOR, CEILING} <= set(place):
        return nothing
    rows = [place[name] for name in (method, FLOOR, CEILING)]
    share = float(gap_closed(*means[rows][:, None])[0])
    shares = gap_closed(*drawn[rows])
    if not np.isfinite(share):
        return nothing
    kept = shares[np.isfinite(shares)]
    return {"gap_closed": round(share, 4), "gap_closed_interval": interval(kept, level)}


def _by(methods: Sequence[str], values: Values) -> dict[str, float]:
    return {method: round(float(value), 4) for method, value in zip(methods, values, strict=True)}
