"""Simpler ways from a request to an adapter, to hold a weight generator against.

Each is a small frozen class with one method, `predict`: requests in, weight blocks out. All of them see
requests through the encoder of the generator, as one vector a request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from initzoo.generator.encoders import Encoder
from initzoo.generator.model import WeightGenerator
from initzoo.generator.request import Request

__all__ = [
    "GeneratorPredictor",
    "KernelRidgePredictor",
    "MeanPredictor",
    "NearestPredictor",
    "NeighboursPredictor",
    "Predictor",
    "ShuffledPredictor",
    "TaughtAdapters",
    "fit_kernel_ridge",
    "tune_kernel_ridge",
    "tune_neighbours",
]

Blocks = NDArray[np.float32]

NEIGHBOURS = (1, 2, 3, 5, 8, 12, 20)
"""Numbers of neighbours that tuning chooses from."""

WIDTHS = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Kernel widths that tuning chooses from, in units of one minus the cosine."""

RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Ridges that tuning chooses from; the kernel of a wording with itself is one."""

_N_COMPONENTS = 96
"""Principal components of the adapters that tuning compares; all values would take ten times as long."""


class Predictor(Protocol):
    """Anything that makes weight blocks from requests."""

    def predict(self, requests: Sequence[Request]) -> Blocks:
        """Blocks for each request, float32, shape `(n_requests, n_blocks, block_size)`."""


@dataclass(frozen=True, eq=False)
class TaughtAdapters:
    """The train concepts of a zoo: wordings as vectors, and adapters.

    Args:
        encoder: of the weight generator.
        wordings: vectors of unit length, float32, shape `(n_wordings, n_values)`; those of a concept
            stand together.
        owners: for each wording, its concept's place in `blocks`, in ascending order.
        blocks: float32, shape `(n_concepts, n_blocks, block_size)`.
    """

    encoder: Encoder
    wordings: NDArray[np.float32]
    owners: NDArray[np.int64]
    blocks: Blocks

    @classmethod
    def make(cls, encoder: Encoder, requests: Sequence[Sequence[Request]], blocks: Blocks) -> TaughtAdapters:
        """Take the requests that mean each concept, and its blocks."""
        owners = [concept for concept, taught in enumerate(requests) for _ in taught]
        embedded = encoder.embed([request for taught in requests for request in taught])
        return cls(encoder, embedded, np.array(owners, np.int64), blocks)

    def thin(self, n_each: int) -> TaughtAdapters:
        """The same with so many wordings of each concept, spread evenly, the first one among them."""
        kept = []
        for concept in range(len(self.blocks)):
            own = np.flatnonzero(self.owners == concept)
            kept.append(own[:: -(-len(own) // n_each)])
        places = np.concatenate(kept)
        return replace(self, wordings=self.wordings[places], owners=self.owners[places])

    def folds(self, n_folds: int, *, seed: int) -> Iterator[tuple[TaughtAdapters, TaughtAdapters]]:
        """Cut whole concepts into folds: for each fold, the others and this one."""
        fold_of = np.random.default_rng(seed).permutation(len(self.blocks)) % n_folds
        for fold in range(n_folds):
            yield self._pick(fold_of != fold), self._pick(fold_of == fold)

    def _pick(self, chosen: NDArray[np.bool_]) -> TaughtAdapters:
        here = chosen[self.owners]
        owners = (np.cumsum(chosen) - 1)[self.owners[here]]
        return replace(self, wordings=self.wordings[here], owners=owners, blocks=self.blocks[chosen])

    def likeness(self, embedded: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cosine of each request with the nearest wording of each concept.

        Args:
            embedded: unit vectors, shape `(n, n_values)`.

        Returns:
            float32, shape `(n, n_concepts)`.
        """
        firsts = np.searchsorted(self.owners, np.arange(len(self.blocks)))
        return np.maximum.reduceat(embedded @ self.wordings.T, firsts, axis=1)

    def order(self, embedded: NDArray[np.float32]) -> NDArray[np.int64]:
        """Concepts by likeness to each request, the likest first, shape `(n, n_concepts)`."""
        return np.argsort(-self.likeness(embedded), axis=1, kind="stable")


@dataclass(frozen=True, eq=False)
class MeanPredictor:
    """The mean adapter, whatever the request."""

    taught: TaughtAdapters

    def predict(self, requests: Sequence[Request]) -> Blocks:
        """The same blocks for each request, float32, shape `(n_requests, n_blocks, block_size)`."""
        mean = self.taught.blocks.mean(axis=0, dtype=np.float64).astype(np.float32)
        return np.repeat(mean[None], len(requests), axis=0)


@dataclass(frozen=True, eq=False)
class NearestPredictor:
    """The adapter of the concept with the nearest wording: retrieval."""

    taught: TaughtAdapters

    def predict(self, requests: Sequence[Request]) -> Blocks:
        """Blocks of a checkpoint for each request, float32, shape `(n_requests, n_blocks, block_size)`."""
        return NeighboursPredictor(self.taught, 1).predict(requests)


@dataclass(frozen=True, eq=False)
class NeighboursPredictor:
    """The mean adapter of the nearest concepts.

    Args:
        taught: to choose from.
        n_neighbours: how many; all of them if there are fewer.
    """

    taught: TaughtAdapters
    n_neighbours: int

    def predict(self, requests: Sequence[Request]) -> Blocks:
        """Blocks for each request, float32, shape `(n_requests, n_blocks, block_size)`."""
        embedded = self.taught.encoder.embed(requests)
        return _mean_of_first(self.taught.blocks, self.taught.order(embedded), self.n_neighbours)


@dataclass(frozen=True, eq=False)
class KernelRidgePredictor:
    """Kernel ridge regression from wordings to the residual from the mean adapter.

    Args:
        taught: the wordings that it was fitted on.
        width: of the kernel `exp((cosine - 1) / width)`.
        ridge: added to the kernel's diagonal.
        mean: mean adapter, float32, shape `(n_blocks, block_size)`.
        duals: a row of coefficients for each wording, float32, shape `(n_wordings, n_blocks * block_size)`.
    """

    taught: TaughtAdapters
    width: float
    ridge: float
    mean: Blocks
    duals: NDArray[np.float32]

    def predict(self, requests: Sequence[Request]) -> Blocks:
        """Blocks for each request, float32, shape `(n_requests, n_blocks, block_size)`."""
        embedded = self.taught.encoder.embed(requests)
        residuals = _kernel(embedded, self.taught.wordings, self.width) @ self.duals
        return self.mean + residuals.reshape(-1, *self.mean.shape)


@dataclass(frozen=True, eq=False)
class GeneratorPredictor:
    """A weight generator."""

    generator: WeightGenerator

    def predict(self, requests: Sequence[Request]) -> Blocks:
        """Blocks for each request, float32, shape `(n_requests, n_blocks, block_size)`."""
        return self.generator.generate_many(requests)


@dataclass(frozen=True, eq=False)
class ShuffledPredictor:
    """Another predictor that is given another request of the list in place of each one.

    Args:
        predictor: is asked.
        seed: draws who is given which request; none keeps its own.
    """

    predictor: Predictor
    seed: int = 0

    def predict(self, requests: Sequence[Request]) -> Blocks:
        """Blocks for each request, float32, shape `(n_requests, n_blocks, block_size)`.

        Raises:
            ValueError: there is only one request, and so no other.
        """
        if len(requests) < 2:
            raise ValueError("shuffling needs at least two requests")
        order = np.random.default_rng(self.seed).permutation(len(requests))
        shuffled = list(requests)
        for index, other in zip(order, np.roll(order, 1), strict=True):
            shuffled[index] = requests[other]
        return self.predictor.predict(shuffled)


def fit_kernel_ridge(taught: TaughtAdapters, *, width: float, ridge: float) -> KernelRidgePredictor:
    """Fit kernel ridge regression in closed form.

    Args:
        taught: wordings and adapters.
        width: of the kernel, above 0.
        ridge: added to the kernel's diagonal, above 0.

    Source:
        Saunders, Gammerman, Vovk (1998), "Ridge regression learning algorithm in dual variables".
    """
    mean = taught.blocks.mean(axis=0, dtype=np.float64).astype(np.float32)
    residuals = (taught.blocks - mean).reshape(len(taught.blocks), -1)
    kernel = _kernel(taught.wordings, taught.wordings, width)  # float32: there may be 16,000 wordings
    kernel[np.diag_indices_from(kernel)] += np.float32(ridge)
    if residuals.shape[1] <= len(residuals):
        duals = np.linalg.solve(kernel, residuals[taught.owners])
    else:  # wordings of a concept share their target: solve for columns of zeros and ones, then mix
        belongs = np.zeros((len(kernel), len(residuals)), np.float32)
        belongs[np.arange(len(kernel)), taught.owners] = 1
        duals = np.linalg.solve(kernel, belongs) @ residuals
    return KernelRidgePredictor(taught, width, ridge, mean, duals.astype(np.float32))


def tune_kernel_ridge(
    taught: TaughtAdapters,
    *,
    n_folds: int = 3,
    seed: int = 0,
    widths: Sequence[float] = WIDTHS,
    ridges: Sequence[float] = RIDGES,
    callback: Callable[[int, int], None] | None = None,
) -> tuple[float, float]:
    """The width and ridge with the least squared error on concepts left out of the fit.

    Args:
        taught: train concepts; whole concepts are left out in turn.
        n_folds: parts that they are cut into; no more than there are concepts.
        seed: draws the parts.
        widths: to choose from.
        ridges: to choose from.
        callback: called with fits done and fits in all.

    Returns:
        Width and ridge.
    """
    reduced = replace(taught, blocks=_principal(taught.blocks))
    parts = list(reduced.folds(min(n_folds, len(taught.blocks)), seed=seed))
    errors = np.zeros((len(widths), len(ridges)))
    for number, width in enumerate(widths):
        for place, ridge in enumerate(ridges):
            for rest, fold in parts:
                fitted = fit_kernel_ridge(rest, width=width, ridge=ridge)
                guess = _kernel(fold.wordings, rest.wordings, width) @ fitted.duals + fitted.mean.ravel()
                wanted = fold.blocks[fold.owners].reshape(len(guess), -1)
                errors[number, place] += float(((guess - wanted) ** 2).sum())
            if callback is not None:
                callback(number * len(ridges) + place + 1, errors.size)
    best = np.unravel_index(int(errors.argmin()), errors.shape)
    return widths[int(best[0])], ridges[int(best[1])]


def tune_neighbours(
    taught: TaughtAdapters, *, n_folds: int = 5, seed: int = 0, choices: Sequence[int] = NEIGHBOURS
) -> int:
    """The number of neighbours with the least squared error on concepts left out.

    Args:
        taught: train concepts; whole concepts are left out in turn.
        n_folds: parts that they are cut into; no more than there are concepts.
        seed: draws the parts.
        choices: to choose from.
    """
    reduced = replace(taught, blocks=_principal(taught.blocks))
    errors = np.zeros(len(choices))
    for rest, fold in reduced.folds(min(n_folds, len(taught.blocks)), seed=seed):
        wanted, order = fold.blocks[fold.owners], rest.order(fold.wordings)
        for place, n_neighbours in enumerate(choices):
            guess = _mean_of_first(rest.blocks, order, n_neighbours)
            errors[place] += float(((guess - wanted) ** 2).sum())
    return choices[int(errors.argmin())]


def _mean_of_first(blocks: Blocks, order: NDArray[np.int64], n_first: int) -> Blocks:
    return np.asarray(blocks[order[:, :n_first]].mean(axis=1), np.float32)


def _kernel(left: NDArray[np.float32], right: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    return np.exp((left @ right.T - 1) / np.float32(width))


def _principal(blocks: Blocks) -> Blocks:
    """Adapters by their first principal components, shape `(n_concepts, 1, n_components)`."""
    flat = (blocks - blocks.mean(axis=0)).reshape(len(blocks), -1)
    _, _, axes = np.linalg.svd(flat, full_matrices=False)
    return np.asarray(flat @ axes[:_N_COMPONENTS].T, np.float32)[:, None]
