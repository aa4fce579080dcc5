"""Are generated adapters copies of training ones? The tests of Zeng et al. (2025), arXiv:2506.07998."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initzoo.evaluation.cases import Question
from initzoo.evaluation.generator.measuring import Job, Measured

__all__ = ["DistanceScale", "distance_report", "overlap_jobs", "overlap_report"]

Blocks = NDArray[np.float32]

N_AVERAGED = 16
_FLOOR = 0.05
_CHUNK = 256

SCALE_NOTE = (
    "L2 distance of all values of an adapter, each divided by its standard deviation over the train "
    "adapters (at least 0.05 of the median one)"
)


@dataclass(frozen=True, eq=False)
class DistanceScale:
    """Measures how far adapters are from the train ones; see `SCALE_NOTE`.

    Args:
        train: blocks of the train adapters, float32, shape `(n_concepts, n_blocks, block_size)`.
    """

    train: Blocks

    def __post_init__(self) -> None:
        flat = self.train.reshape(len(self.train), -1).astype(np.float64)
        spread = flat.std(axis=0)
        varies = spread[spread > 0]
        least = _FLOOR * float(np.median(varies)) if len(varies) else 1.0
        object.__setattr__(self, "_scale", np.maximum(spread, least))
        object.__setattr__(self, "_flat", self._scaled(self.train))

    def nearest(self, blocks: Blocks) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Distance to the nearest train adapter, and its place, for each of some adapters.

        Args:
            blocks: shape `(n, n_blocks, block_size)`.
        """
        return self._nearest(self._scaled(blocks), skip_self=False)

    def leave_one_out(self) -> NDArray[np.float64]:
        """Distance of each train adapter to the nearest other one."""
        flat: NDArray[np.float64] = self._flat  # type: ignore[attr-defined]
        return self._nearest(flat, skip_self=True)[0]

    def noisy_copies(self, places: NDArray[np.int64], distances: NDArray[np.float64], *, seed: int) -> Blocks:
        """Train adapters with Gaussian noise, so much of it that each is as far from itself as said."""
        scale: NDArray[np.float64] = self._scale  # type: ignore[attr-defined]
        flat: NDArray[np.float64] = self._flat  # type: ignore[attr-defined]
        noise = np.random.default_rng(seed).standard_normal((len(places), flat.shape[1]))
        noise *= flat.std(axis=0) > 0  # padding stays zero
        noise *= (distances / np.maximum(np.linalg.norm(noise, axis=1), 1e-12))[:, None]
        return self._blocks((flat[places] + noise) * scale)

    def averages(self, n: int, *, seed: int) -> Blocks:
        """Means of sixteen train adapters each, drawn anew every time."""
        rng = np.random.default_rng(seed)
        count = min(N_AVERAGED, len(self.train))
        drawn = [rng.choice(len(self.train), size=count, replace=False) for _ in range(n)]
        return np.stack([self.train[places].mean(axis=0) for places in drawn])

    def gaussians(self, n: int, *, seed: int) -> Blocks:
        """Adapters whose values are drawn one by one, each with the mean and spread of the train ones."""
        flat = self.train.reshape(len(self.train), -1).astype(np.float64)
        noise = np.random.default_rng(seed).standard_normal((n, flat.shape[1]))
        return self._blocks(flat.mean(axis=0) + noise * flat.std(axis=0))

    def _scaled(self, blocks: Blocks) -> NDArray[np.float64]:
        scale: NDArray[np.float64] = self._scale  # type: ignore[attr-defined]
        return np.asarray(blocks.reshape(len(blocks), -1) / scale)

    def _blocks(self, flat: NDArray[np.float64]) -> Blocks:
        return flat.reshape(-1, *self.train.shape[1:]).astype(np.float32)

    def _nearest(
        self, rows: NDArray[np.float64], *, skip_self: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        flat: NDArray[np.float64] = self._flat  # type: ignore[attr-defined]
        squares = (flat**2).sum(axis=1)
        distances, places = [], []
        for first in range(0, len(rows), _CHUNK):
            part = rows[first : first + _CHUNK]
            found = (part**2).sum(axis=1)[:, None] + squares - 2 * part @ flat.T
            if skip_self:
                found[np.arange(len(part)), first + np.arange(len(part))] = np.inf
            nearest = found.argmin(axis=1)
            places.append(nearest)
            # Once more without the cancellation that the quick formula suffers from.
            distances.append(np.linalg.norm(part - flat[nearest], axis=1))
        return np.concatenate(distances), np.concatenate(places).astype(np.int64)


def distance_report(scale: DistanceScale, generated: Blocks, trained: Blocks, *, seed: int) -> dict[str, Any]:
    """Median distances to the nearest train adapter, as plain JSON values.

    Args:
        scale: measures.
        generated: adapters from words, shape `(n, n_blocks, block_size)`.
        trained: adapters that were trained on the same concepts, held out from the generator.
        seed: draws the averages and the Gaussian adapters.
    """
    n = len(generated)
    left_out = float(np.median(scale.leave_one_out()))
    medians = {
        "generated": generated,
        "trained_heldout": trained,
        "average_16": scale.averages(n, seed=seed),
        "gaussian": scale.gaussians(n, seed=seed),
    }
    found = {name: float(np.median(scale.nearest(blocks)[0])) for name, blocks in medians.items()}
    return {
        "distance": SCALE_NOTE,
        "n_generated": n,
        "train_leave_one_out": round(left_out, 4),
        "nearest_train": {name: round(value, 4) for name, value in found.items()},
        "ratio": round(found["generated"] / left_out, 4) if left_out > 0 else None,
    }


_PAIRS = (("generated", "nearest_checkpoint"), ("noisy_copy", "nearest_checkpoint"))


def overlap_jobs(
    scale: DistanceScale, questions: Sequence[Question], generated: Blocks, *, seed: int
) -> list[Job]:
    """Make the jobs that show whether generated adapters repeat the errors of their nearest train adapter.

    Args:
        scale: measures distances.
        questions: the concepts.
        generated: one adapter per concept.
        seed: seed of noise, averages and Gaussian adapters.
    """
    distances, places = scale.nearest(generated)
    by_method = {
        "generated": generated,
        "nearest_checkpoint": scale.train[places],
        "noisy_copy": scale.noisy_copies(places, distances, seed=seed),
        "average_16": scale.averages(len(generated), seed=seed),
        "gaussian": scale.gaussians(len(generated), seed=seed),
    }
    return [
        Job(question, {name: blocks[number][None] for name, blocks in by_method.items()}, _PAIRS)
        for number, question in enumerate(questions)
    ]


def overlap_report(measured: Sequence[Measured]) -> dict[str, Any]:
    """Mean overlap of wrong pixels with the nearest train adapter, and quality, as plain JSON values."""
    shares = {}
    for pair in _PAIRS:
        found = [one.overlaps[pair] for one in measured]
        kept = [share for share in found if share is not None]
        shares[pair[0]] = round(float(np.mean(kept)), 4) if kept else None
    names = list(measured[0].scores)
    psnr = {name: round(float(np.mean([one.mean(name).psnr for one in measured])), 4) for name in names}
    return {
        "n_concepts": len(measured),
        "wrong": "pixels off by more than 0.1 of the range; overlaps are intersection over union",
        "overlap_with_nearest": shares,
        "psnr": psnr,
    }
