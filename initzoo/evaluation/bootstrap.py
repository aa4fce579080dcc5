"""Bootstrap intervals: what else the mean over concepts might have been."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Resampling", "bootstrap_means", "interval"]

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Resampling:
    """How bootstrap intervals are made.

    Args:
        n_resamples: number of times that the concepts are drawn anew, for intervals.
        level: share of the resampled means inside an interval.
        seed: seed of these draws.

    Raises:
        ValueError: a setting is out of range.
    """

    n_resamples: int = 2000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_resamples < 1:
            raise ValueError(f"n_resamples must be at least 1, found {self.n_resamples}")
        if not 0 < self.level < 1:
            raise ValueError(f"level must be above 0 and below 1, found {self.level}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, found {self.seed}")


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
