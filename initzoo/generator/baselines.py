"""Baselines: simple methods that predict an adapter from a request, to compare a weight generator with.

Each is a small frozen class with one method, `predict`, from requests to weight blocks. All embed a request
as one vector by the encoder of the generator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
"""Number of principal components of adapters compared in tuning; all values would take ten times as long."""


class Predictor(Protocol):
    """Predicts weight blocks from requests."""

    def predict(self, requests: Sequence[Request]) -> Blocks:
        """Blocks for each request, float32, shape `(n_requests, n_blocks, block_size)`."""


@dataclass(frozen=True, eq=False)
class TaughtAdapters:
    """The train concepts of a zoo: embedded wordings and adapters.

    Args:
        encoder: encoder of the weight generator.
        wordings: unit vectors, float32, shape `(n_wordings, n_values)`; those of a concept are adjacent.
        owners: index in `blocks` of each wording's concept, ascending.
        blocks: float32, shape `(n_concepts, n_blocks, block_size)`.
    """

    encoder: Encoder
    wordings: NDArray[np.float32]
    owners: NDArray[np.int64]
    blocks: Blocks

    @classmethod
    def make(cls, encoder: Encoder, requests: Iterable[Sequence[Request]], blocks: Blocks) -> TaughtAdapters:
        """Embed the requests of each concept and pair them with its blocks."""
        # One concept at a time: the example pairs of all concepts would not fit into memory.
        embedded = [encoder.embed(taught) for taught in requests]
        owners = np.repeat(np.arange(len(embedded)), [len(rows) for rows in embedded])
        return cls(encoder, np.concatenate(embedded), owners.astype(np.int64), blocks)

    def thin(self, n_each: int) -> TaughtAdapters:
        """Keep at most about `n_each` wordings per concept, evenly spaced from the first one."""
        kept = []
        for concept in range(len(self.blocks)):
            rows = np.flatnonzero(self.owners == concept)
            kept.append(rows[:: -(-len(rows) // n_each)])
        rows = np.concatenate(kept)
        return replace(self, wordings=self.wordings[rows], owners=self.owners[rows])

    def folds(self, n_folds: int, *, seed: int) -> Iterator[tuple[TaughtAdapters, TaughtAdapters]]:
        """Split the concepts into folds and yield, for each fold, the other folds and this one.

        Concepts stay whole: wordings of one concept in both parts would make errors look too small.
        """
        fold_of = np.random.default_rng(seed).permutation(len(self.blocks)) % n_folds
        for fold in range(n_folds):
            yield self._pick(fold_of != fold), self._pick(fold_of == fold)

    def _pick(self, chosen: NDArray[np.bool_]) -> TaughtAdapters:
        is_chosen = chosen[self.owners]
        owners = (np.cumsum(chosen) - 1)[self.owners[is_chosen]]
        return replace(self, wordings=self.wordings[is_chosen], owners=owners, blocks=self.blocks[chosen])

    def likeness(self, embedded: NDArray[np.float32]) -> NDArray[np.float32]:
        """The cosine of each request with the nearest wording of each concept.

        Args:
            embedded: unit vectors, shape `(n, n_values)`.

        Returns:
            float32, shape `(n, n_concepts)`.
        """
        firsts = np.searchsorted(self.owners, np.arange(len(self.blocks)))
        return np.maximum.reduceat(embedded @ self.wordings.T, firsts, axis=1)

    def order(self, embedded: NDArray[np.float32]) -> NDArray[np.int64]:
        """Concepts in descending order of likeness to each request, shape `(n, n_concepts)`."""
        return np.argsort(-self.likeness(embedded), axis=1, kind="stable")


@dataclass(frozen=True, eq=False)
class MeanPredictor:
    """Predicts the mean adapter for every request."""

    taught: TaughtAdapters

    def predict(self, requests: Sequence[Request]) -> Blocks:
        """The same blocks for each request, float32, shape `(n_requests, n_blocks, block_size)`."""
        mean = self.taught.blocks.mean(axis=0, dtype=np.float64).astype(np.float32)
        return np.repeat(mean[None], len(requests), axis=0)


@dataclass(frozen=True, eq=False)
class NearestPredictor:
    """Retrieval: the adapter of the concept with the nearest wording."""

    taught: TaughtAdapters

    def predict(self, requests: Sequence[Request]) -> Blocks:
        """Blocks of a checkpoint for each request, float32, shape `(n_requests, n_blocks, block_size)`."""
        return NeighboursPredictor(self.taught, 1).predict(requests)


@dataclass(frozen=True, eq=False)
class NeighboursPredictor:
    """The mean adapter of the nearest concepts.

    Args:
        taught: the concepts to choose from.
        n_neighbours: number of concepts to average, at most all.
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
        taught: the wordings of the fit.
        width: width of the kernel `exp((cosine - 1) / width)`.
        ridge: value added to the kernel's diagonal.
        mean: mean adapter, float32, shape `(n_blocks, block_size)`.
        duals: one row of coefficients per wording, float32, shape `(n_wordings, n_blocks * block_size)`.
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
    """Predicts with a weight generator."""

    generator: WeightGenerator

    def predict(self, requests: Sequence[Request]) -> Blocks:
        """Blocks for each request, float32, shape `(n_requests, n_blocks, block_size)`."""
        return self.generator.generate_many(requests)


@dataclass(frozen=True, eq=False)
class ShuffledPredictor:
    """A control that gives a predictor another request of the list instead of each one.

    Args:
        predictor: the predictor.
        seed: seed of the permutation; no request keeps its position.
    """

    predictor: Predictor
    seed: int = 0

    def predict(self, requests: Sequence[Request]) -> Blocks:
        """Blocks for each request, float32, shape `(n_requests, n_blocks, block_size)`.

        Raises:
            ValueError: there are fewer than two requests.
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
        width: width of the kernel, above 0.
        ridge: value added to the kernel's diagonal, above 0.

    Source:
        Saunders, Gammerman, Vovk (1998), "Ridge regression learning algorithm in dual variables".
    """
    mean = taught.blocks.mean(axis=0, dtype=np.float64).astype(np.float32)
    residuals = (taught.blocks - mean).reshape(len(taught.blocks), -1)
    kernel = _kernel(
        taught.wordings, taught.wordings, width
    )  # float32, since 16,000 wordings make a gigabyte
    kernel[np.diag_indices_from(kernel)] += np.float32(ridge)
    if residuals.shape[1] <= len(residuals):
        duals = np.linalg.solve(kernel, residuals[taught.owners])
    else:  # fewer concepts than values: solve for one indicator column per concept, then multiply
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
    """Choose width and ridge by cross-validation over concepts, with squared error.

    Args:
        taught: train concepts; whole concepts are left out.
        n_folds: number of folds, at most the number of concepts.
        seed: seed of the folds.
        widths: widths to choose from.
        ridges: ridges to choose from.
        callback: called with the number of combinations done and the total.

    Returns:
        Width and ridge.
    """
    reduced = replace(taught, blocks=_principal(taught.blocks))
    parts = list(reduced.folds(min(n_folds, len(taught.blocks)), seed=seed))
    errors = np.zeros((len(widths), len(ridges)))
    for number, width in enumerate(widths):
        for i, ridge in enumerate(ridges):
            for rest, fold in parts:
                fitted = fit_kernel_ridge(rest, width=width, ridge=ridge)
                guess = _kernel(fold.wordings, rest.wordings, width) @ fitted.duals + fitted.mean.ravel()
                wanted = fold.blocks[fold.owners].reshape(len(guess), -1)
                errors[number, i] += float(((guess - wanted) ** 2).sum())
            if callback is not None:
                callback(number * len(ridges) + i + 1, errors.size)
    best = np.unravel_index(int(errors.argmin()), errors.shape)
    return widths[int(best[0])], ridges[int(best[1])]


def tune_neighbours(
    taught: TaughtAdapters, *, n_folds: int = 5, seed: int = 0, choices: Sequence[int] = NEIGHBOURS
) -> int:
    """Choose the number of neighbours by cross-validation over concepts, with squared error.

    Args:
        taught: train concepts; whole concepts are left out.
        n_folds: number of folds, at most the number of concepts.
        seed: seed of the folds.
        choices: numbers to choose from.
    """
    reduced = replace(taught, blocks=_principal(taught.blocks))
    errors = np.zeros(len(choices))
    for rest, fold in reduced.folds(min(n_folds, len(taught.blocks)), seed=seed):
        wanted, order = fold.blocks[fold.owners], rest.order(fold.wordings)
        for i, n_neighbours in enumerate(choices):
            guess = _mean_of_first(rest.blocks, order, n_neighbours)
            errors[i] += float(((guess - wanted) ** 2).sum())
    return choices[int(errors.argmin())]


def _mean_of_first(blocks: Blocks, order: NDArray[np.int64], n_first: int) -> Blocks:
    return np.asarray(blocks[order[:, :n_first]].mean(axis=1), np.float32)


def _kernel(left: NDArray[np.float32], right: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    return np.exp((left @ right.T - 1) / np.float32(width))


def _principal(blocks: Blocks) -> Blocks:
    """Project adapters on their first principal components, shape `(n_concepts, 1, n_components)`."""
    flat = (blocks - blocks.mean(axis=0)).reshape(len(blocks), -1)
    _, _, axes = np.linalg.svd(flat, full_matrices=False)
    return np.asarray(flat @ axes[:_N_COMPONENTS].T, np.float32)[:, None]
