"""Rounding of weights so that a network's output changes least, and no more finely than its output needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LARGEST", "Tolerance", "round_finely", "round_with_feedback"]

Array = NDArray[np.float64]

LARGEST = 127 + 256 * 127
"""Units are -32639 to 32639: a low part and 256 times a high part, each from -127 to 127 or -128."""

_DAMPING = 0.1
"""Added to the diagonal of the covariance, as a share of its mean. With less, coarse rounding makes up for
errors with weights that hardly matter on typical inputs and much on others."""

_COARSEST = 2.0
"""Step of a layer, at most, as a multiple of the root mean square of its weights. Steps follow from the
effect of small changes, and a layer of zeros alone is no small change."""


@dataclass(frozen=True, eq=False)
class Tolerance:
    """How coarsely the weights of a network may be rounded.

    Args:
        moments: by layer, second moments of its inputs, by `layer_moments`. Others are rounded finely.
        gains: by layer, how much noise in its output reaches the network's output, by `layer_gains`.
        noise: mean square of the change of the network's output that rounding may cause.
    """

    moments: Mapping[str, Array]
    gains: Mapping[str, float]
    noise: float


def round_finely(values: Array) -> tuple[NDArray[np.int16], np.float32]:
    """Round values to the nearest of 65,279 multiples of one scale.

    Returns:
        Units of the values' shape, and the scale.

    Example:
        >>> units, scale = round_finely(np.array([[0.0, -32639.0], [2.0, 0.7]]))
        >>> units.tolist(), float(scale)
        ([[0, -32639], [2, 1]], 1.0)
    """
    scale = np.float32(np.abs(values).max(initial=0.0) / LARGEST)
    return _units(values, scale), scale


def round_with_feedback(
    rows: Array, moments: Array, *, gain: float, noise: float
) -> tuple[NDArray[np.int16], np.float32, Array]:
    """Round the weights of a layer so that the network's output on typical inputs changes least.

    Inputs of a layer are correlated and have means far from zero, so errors of single weights add up: they
    shift whole channels, and behind a pixel shuffle that is a mesh. One column is rounded after the other,
    and those to come make up for its error. The bias makes up for what is left in the mean.

    All weights have one scale. It is chosen so that each weight adds as much noise to the network's output:
    for a given noise, the units then have the fewest bits.

    Args:
        rows: weights, or what is added to weights, shape `(n_out, n_in)`.
        moments: second moments of the inputs and a constant 1 at the end, shape `(n_in + 1, n_in + 1)`.
        gain: of the layer, by `layer_gains`.
        noise: mean square of the change of the network's output that each weight may cause.

    Returns:
        Units of the rows' shape, the scale, and what to add to the bias, shape `(n_out,)`.

    Source:
        Frantar et al. (2023), arXiv:2210.17323; the bias: Nagel et al. (2019), arXiv:1906.04721.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> inputs = np.outer(rng.normal(2, 1, 400), np.ones(20)) + 0.1 * rng.normal(size=(400, 20))
        >>> weights = rng.normal(size=(3, 20))
        >>> with_one = np.hstack([inputs, np.ones((400, 1))])
        >>> moments = with_one.T @ with_one / 400
        >>> def error(units, bias=0.0):
        ...     return float(np.abs(inputs @ (weights - units * scale).T - bias).mean())
        >>> units, scale, shift = round_with_feedback(weights, moments, gain=1.0, noise=1e-5)
        >>> error(units, shift) < error(np.rint(weights / scale)) / 5
        True
    """
    n_out, n_in = rows.shape
    means = moments[:n_in, n_in]
    covariance = moments[:n_in, :n_in] - np.outer(means, means)  # the bias takes care of the means
    covariance += _DAMPING * max(np.trace(covariance) / n_in, 1e-12) * np.eye(n_in)
    # What matters most comes first, when most others can make up for it.
    order = np.argsort(-np.diag(covariance))
    # Row j of this factor says how the columns after j make up for an error in column j.
    factor = np.linalg.cholesky(np.linalg.inv(covariance[np.ix_(order, order)])).T
    # An error of a weight with variance v, after what is made up, has variance v / factor[j, j]**2 in the
    # layer's output, of which the network's output gets the channel's share of the gain.
    spread = float(np.mean(np.diag(factor) ** -2.0))
    step = math.sqrt(12 * noise * n_out / max(gain * spread, 1e-30))
    step = min(step, _COARSEST * math.sqrt(np.mean(rows**2)))
    scale = np.float32(max(step, 2 * np.abs(rows).max() / LARGEST))  # twice: room for what is made up
    left, units = rows[:, order], np.zeros(rows.shape, np.int16)
    for place, column in enumerate(order):
        units[:, column] = _units(left[:, place], scale)
        error = (left[:, place] - units[:, column] * np.float64(scale)) / factor[place, place]
        left[:, place + 1 :] -= np.outer(error, factor[place, place + 1 :])
    missing = rows - units * np.float64(scale)
    return units, scale, missing @ means


def _units(values: Array, scale: np.float32) -> NDArray[np.int16]:
    if not scale > 0:
        return np.zeros(values.shape, np.int16)
    return np.clip(np.rint(values / np.float64(scale)), -LARGEST, LARGEST).astype(np.int16)
