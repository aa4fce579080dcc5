"""Means, bootstrap intervals and the share of the gap that is closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Resampling", "bootstrap_means", "gap_closed", "interval", "summarise"]

Values = NDArray[np.float64]

FLOOR, CEILING, OURS = "mean", "trained", "generated"
"""The methods that a gap lies between, and the one that closes it."""


@dataclass(frozen=True)
class Resampling:
    """How bootstrap intervals are made.

    Args:
        n_resamples: how often the concepts are drawn anew.
        level: share of the resampled means inside an interval.
        seed: draws them.
    """

    n_resamples: int = 2000
    level: float = 0.95
    seed: int = 0


def bootstrap_means(values: Values, *, n_resamples: int, seed: int) -> Values:
    """Means over concepts drawn anew with replacement; all rows are drawn alike.

    Args:
        values: shape `(n_rows, n_concepts)`.
        n_resamples: draws.
        seed: of the draws.

    Returns:
        Shape `(n_rows, n_resamples)`.

    Source:
        Efron (1979), doi:10.1214/aos/1176344552.

    Example:
        >>> bootstrap_means(np.array([[1.0, 1.0], [5.0, 5.0]]), n_resamples=3, seed=0)
        array([[1., 1., 1.],
               [5., 5., 5.]])
    """
    n_concepts = values.shape[1]
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n_concepts, np.full(n_concepts, 1 / n_concepts), size=n_resamples)
    return np.asarray(values @ counts.T / n_concepts)


def interval(samples: Values, level: float) -> list[float]:
    """The middle share of samples: its lower and upper end, rounded to four places."""
    ends = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return [round(float(end), 4) for end in ends]


def gap_closed(generated: Values, mean: Values, trained: Values) -> Values:
    """The share of the way from the mean adapter to the trained one: `(generated - mean) / (trained - mean)`.

    NaN where the trained adapter is no better than the mean one.

    Example:
        >>> gap_closed(np.array([26.0]), np.array([16.0]), np.array([28.5]))
        array([0.8])
    """
    gap = np.asarray(trained - mean, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(gap > 0, (generated - mean) / gap, np.nan))


def summarise(
    psnr: Mapping[str, Sequence[float]], ssim: Mapping[str, Sequence[float]], how: Resampling
) -> dict[str, object]:
    """Everything that is said of a group of concepts, as plain JSON values.

    Args:
        psnr: by method, a value a concept, dB.
        ssim: the same for SSIM.
        how: of the intervals.

    Returns:
        Counts; `gap_closed` and its interval, None where a method that it needs is absent; `psnr`, `ssim`,
        `psnr_10th` (one concept in ten is below it) and their intervals by method; and `difference`: what
        `generated` is above each other method, paired by concept.
    """
    methods = list(psnr)
    values = np.array([psnr[method] for method in methods], float)
    likeness = np.array([ssim[method] for method in methods], float)
    drawn = bootstrap_means(values, n_resamples=how.n_resamples, seed=how.seed)
    drawn_ssim = bootstrap_means(likeness, n_resamples=how.n_resamples, seed=how.seed)
    place = {method: number for number, method in enumerate(methods)}
    summary: dict[str, object] = {
        "n_concepts": values.shape[1],
        **_gap(place, values.mean(axis=1), drawn, how.level),
        "psnr": _by(methods, values.mean(axis=1)),
        "psnr_interval": {method: interval(drawn[place[method]], how.level) for method in methods},
        "psnr_10th": _by(methods, np.quantile(values, 0.1, axis=1)),
        "ssim": _by(methods, likeness.mean(axis=1)),
        "ssim_interval": {method: interval(drawn_ssim[place[method]], how.level) for method in methods},
    }
    if OURS in place:
        own = place[OURS]
        summary["difference"] = {
            method: {
                "psnr": round(float((values[own] - values[place[method]]).mean()), 4),
                "interval": interval(drawn[own] - drawn[place[method]], how.level),
            }
            for method in methods
            if method != OURS
        }
    return summary


def _gap(place: Mapping[str, int], means: Values, drawn: Values, level: float) -> dict[str, object]:
    nothing: dict[str, object] = {"gap_closed": None, "gap_closed_interval": None}
    if not {OURS, FLOOR, CEILING} <= set(place):
        return nothing
    rows = [place[name] for name in (OURS, FLOOR, CEILING)]
    share = float(gap_closed(*means[rows][:, None])[0])
    shares = gap_closed(*drawn[rows])
    if not np.isfinite(share):
        return nothing
    kept = shares[np.isfinite(shares)]
    return {"gap_closed": round(share, 4), "gap_closed_interval": interval(kept, level)}


def _by(methods: Sequence[str], values: Values) -> dict[str, float]:
    return {method: round(float(value), 4) for method, value in zip(methods, values, strict=True)}
