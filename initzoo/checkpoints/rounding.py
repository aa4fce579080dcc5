"""Rounding of weights to eight bits so that a layer's output changes least, not its weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["STEPS", "round_nearest", "round_with_feedback"]

Array = NDArray[np.float64]

STEPS = 127
"""Int8 values are -127 to 127; -128 is never written."""

_DAMPING = 1e-3
"""Added to the diagonal of the covariance, as a share of its mean: some inputs hardly vary."""


def round_nearest(rows: Array, *, room: int = STEPS) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round each row to multiples of its own scale.

    Args:
        rows: shape `(n_out, n_in)`.
        room: the largest value gets this integer, at most 127.

    Returns:
        Integers of the rows' shape, and the scales, shape `(n_out,)`.

    Example:
        >>> units, scales = round_nearest(np.array([[0.5, -1.0], [0.0, 0.0]]))
        >>> units.tolist(), scales.round(4).tolist()
        ([[64, -127], [0, 0]], [0.007899999618530273, 0.0])
    """
    scales = (np.abs(rows).max(axis=1) / room).astype("<f4")
    return _units(rows, scales[:, None]), scales


def round_with_feedback(
    rows: Array, moments: Array
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float64]]:
    """Round the rows of a layer's weights so that its outputs on typical inputs change least.

    Inputs of a layer are correlated and have means far from zero, so errors of single weights add up: they
    shift whole channels, and behind a pixel shuffle that is a mesh. One column is rounded after the other,
    and those to come make up for its error. The bias makes up for what is left in the mean.

    Args:
        rows: weights, or what is added to weights, shape `(n_out, n_in)`.
        moments: second moments of the inputs and a constant 1 at the end, shape `(n_in + 1, n_in + 1)`.

    Returns:
        Integers of the rows' shape, the scales, shape `(n_out,)`, and what to add to the bias, same shape.

    Source:
        Frantar et al. (2023), arXiv:2210.17323; the bias: Nagel et al. (2019), arXiv:1906.04721.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> inputs = np.outer(rng.normal(2, 1, 400), np.ones(20)) + 0.1 * rng.normal(size=(400, 20))
        >>> weights = rng.normal(size=(3, 20))
        >>> with_one = np.hstack([inputs, np.ones((400, 1))])
        >>> moments = with_one.T @ with_one / 400
        >>> def error(units, scales, bias=0.0):
        ...     return float(np.abs(inputs @ (weights - units * scales[:, None]).T - bias).mean())
        >>> error(*round_with_feedback(weights, moments)) < error(*round_nearest(weights)) / 5
        True
    """
    n_in = rows.shape[1]
    means = moments[:n_in, n_in]
    covariance = moments[:n_in, :n_in] - np.outer(means, means)  # the bias takes care of the means
    covariance += _DAMPING * max(np.trace(covariance) / n_in, 1e-12) * np.eye(n_in)
    order = np.argsort(
        -np.diag(covariance)
    )  # what matters most comes first, when most others can make up for it
    # Row j of this factor says how the columns after j make up for an error in column j.
    factor = np.linalg.cholesky(np.linalg.inv(covariance[np.ix_(order, order)])).T
    scales = (np.abs(rows).max(axis=1) / (STEPS - 1)).astype("<f4")  # room for what is made up
    left, units = rows[:, order], np.zeros(rows.shape, np.int8)
    for place, column in enumerate(order):
        units[:, column] = _units(left[:, place], scales)
        error = (left[:, place] - units[:, column] * scales.astype(np.float64)) / factor[place, place]
        left[:, place + 1 :] -= np.outer(error, factor[place, place + 1 :])
    missing = rows - units * scales[:, None].astype(np.float64)
    return units, scales, missing @ means


def _units(values: Array, scales: NDArray[np.float32]) -> NDArray[np.int8]:
    units = np.divide(values, scales, out=np.zeros_like(values), where=scales > 0)
    return np.clip(np.rint(units), -STEPS, STEPS).astype(np.int8)
