"""Choice of the concepts that a base is trained on: one of each cluster of prompts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from initzoo.generator import hash_grams
from initzoo.pairs import Concept

__all__ = ["pick_concepts"]

_N_BUCKETS = 2048
_N_ROUNDS = 50


def pick_concepts(concepts: Sequence[Concept], n_concepts: int) -> tuple[Concept, ...]:
    """Pick concepts that stand for all: those nearest to the centres of as many clusters of their prompts.

    A concept is the sum of the words and letter groups of its prompts, scaled to one. The clusters are found
    by k-means, which begins with concepts that are far from each other, so the choice is the same each time.

    Args:
        concepts: to pick from.
        n_concepts: how many are picked, at least 1; all if there are no more.

    Returns:
        The concepts, in the order that they had.

    Source:
        E2GAN trains its base on a few representative concepts: Gong et al. (2024), arXiv:2401.06127.

    Example:
        >>> from initzoo.pairs import load_concepts
        >>> [concept.id for concept in pick_concepts(load_concepts()[:60], 3)]
        ['tint-lavender', 'tint-crimson', 'half-tint-red']
    """
    if n_concepts >= len(concepts):
        return tuple(concepts)
    vectors = np.stack([_vector_of(concept) for concept in concepts])
    centres = vectors[_spread(vectors, n_concepts)]
    nearest = np.full(len(vectors), -1)
    for _ in range(_N_ROUNDS):
        before, nearest = nearest, np.argmax(vectors @ centres.T, axis=1)
        if (before == nearest).all():
            break
        for place in range(n_concepts):
            members = vectors[nearest == place]
            if len(members):  # an empty cluster keeps its centre
                centres[place] = _unit(members.sum(0))
    likeness = vectors @ centres.T
    picked: list[int] = []
    for place in range(n_concepts):  # by turns, so that no concept is picked for two clusters
        order = np.argsort(-likeness[:, place], kind="stable")
        picked.append(next(int(number) for number in order if int(number) not in picked))
    return tuple(concepts[number] for number in sorted(picked))


def _vector_of(concept: Concept) -> NDArray[np.float64]:
    counts = np.zeros(_N_BUCKETS)
    for prompt in concept.prompts:
        np.add.at(counts, hash_grams(prompt, _N_BUCKETS), 1.0)
    return _unit(counts)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def _spread(vectors: NDArray[np.float64], n_places: int) -> list[int]:
    """Numbers of vectors that are far from each other: first the one nearest to their mean."""
    chosen = [int(np.argmax(vectors @ vectors.sum(0)))]
    likeness = vectors @ vectors[chosen[0]]
    while len(chosen) < n_places:
        likeness[chosen] = np.inf
        chosen.append(int(np.argmin(likeness)))
        likeness = np.maximum(likeness, vectors @ vectors[chosen[-1]])
    return chosen
