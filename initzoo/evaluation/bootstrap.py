"""Bootstrap intervals of means over concepts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from initzoo.files import check_least

__all__ = ["Resampling", "bootstrap_means", "interval"]

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Resampling:
    """Settings of bootstrap intervals.

    Args:
        n_resamples: number of bootstrap resamples of the concepts.
        level: share of the resampled means inside an interval.
        seed: seed of the resamples.

    Raises:
        ValueError: a setting is out of range.
    """

    n_resamples: int = 2000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        check_least(self, n_resamples=1, seed=0)
        if not 0 < self.level < 1:
            raise ValueError(f"level must be above 0 and below 1, found {self.level}")


def bootstrap_means(values: Values, *, n_resamples: int, seed: int) -> Values:
    """Means over concepts resampled with replacement. All rows share the resamples.

    Args:
        values: shape `(n_rows, n_concepts)`.
        n_resamples: number of resamples.
        seed: seed of the resamples.

    Returns:
        Resampled means, shape `(n_rows, n_resamples)`.

    Source:
        Efron (1979), doi:10.1214/aos/1176344552.

    Example:
        >>> bootstrap_means(np.array([[1.0, 1.0], [5.0, 5.0]]), n_resamples=3, seed=0)
        array([[1., 1., 1.],
               [5., 5., 5.]])
    """
    n_concepts = values.shape[1]
    rng = np.random.default_rng(seed)
    # The means need only how often each concept was drawn: multinomial counts, one matmul for all rows.
    # Shared counts keep rows paired, so a difference of two methods is resampled by concept.
    counts = rng.multinomial(n_concepts, np.full(n_concepts, 1 / n_concepts), size=n_resamples)
    return np.asarray(values @ counts.T / n_concepts)


def interval(samples: Values, level: float) -> list[float]:
    """The ends of the central interval that holds a share `level` of samples, rounded to four decimals."""
    ends = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return [round(float(end), 4) for end in ends]
