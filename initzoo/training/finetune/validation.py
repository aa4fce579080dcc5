"""Validation beside the training: weights are scored by another thread while steps go on."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from initzoo.networks import ImageNetwork
from initzoo.pairs import Pair, Score, mean_score, score_images
from initzoo.training.start import Start

__all__ = ["Validated", "Validator"]


@dataclass(frozen=True, eq=False)
class Validated:
    """Weights with their score on the validation pairs.

    Args:
        n_done: number of steps that made them.
        weights: the weights, by name.
        score: mean score.
    """

    n_done: int
    weights: Mapping[str, NDArray[np.float32]]
    score: Score


class Validator:
    """Scores weights on validation pairs, one set of weights after the other, in a thread of its own.

    Convolutions leave Python free, so that a second core does this work. The scores are the same as without
    it, since they depend on the weights alone.

    Args:
        start: builds networks from weights.
        pairs: the validation pairs.
    """

    def __init__(self, start: Start, pairs: Sequence[Pair]) -> None:
        self._start, self._pairs = start, pairs
        self._stopped = threading.Event()
        self._executor = ThreadPoolExecutor(1, "validation")
        self._begun: Future[Validated | None] | None = None

    def __enter__(self) -> Validator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._executor.shutdown()

    def begin(self, n_done: int, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Begin to score weights, which are copied. The result before must have been taken."""
        copied = {name: value.copy() for name, value in weights.items()}
        # Built here, since a new network draws random numbers, which are this thread's.
        editor = self._start.editor(copied)
        self._begun = self._executor.submit(self._validate, n_done, copied, editor)

    def result(self) -> Validated | None:
        """Wait for what was begun; None if nothing was."""
        begun, self._begun = self._begun, None
        return None if begun is None else begun.result()

    def _validate(
        self, n_done: int, weights: Mapping[str, NDArray[np.float32]], editor: ImageNetwork
    ) -> Validated | None:
        scores = []
        for pair in self._pairs:  # one by one: all of them together may not fit into memory
            if self._stopped.is_set():  # nobody waits any more
                return None
            scores.append(score_images([editor.edit(pair.given)], [pair.wanted]))
        return Validated(n_done, weights, mean_score(scores))
