"""Measure what each checkpoint of a zoo does to photos, so that example pairs find those that do the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from initzoo.pairs import effect_of, fit_short_side, load_photos
from initzoo.work import Pool
from initzoo.zoo import Effects, Zoo

__all__ = ["measure_effects"]

_N_PHOTOS, _SHORT_SIDE = 6, 160
"""Training photos that checkpoints edit, evenly spaced, and their shorter side, pixels."""


def measure_effects(
    zoo: Zoo,
    *,
    photos_folder: Path | None = None,
    n_workers: int | None = None,
    callback: Callable[[int, int], None] | None = None,
) -> Effects:
    """Edit photos by each checkpoint of the default recipe, and describe what it does.

    Args:
        zoo: the zoo.
        photos_folder: photos, of which those of split `train` are used; None for the bundled ones.
        n_workers: processes, one core each; None for as many as there are cores.
        callback: called with checkpoints done and checkpoints in all.

    Raises:
        ChecksumMismatch, InvalidZoo: the zoo is damaged.
        WorkerDied: a process died.
    """
    ids = zoo.ids_of(zoo.recipe.name)
    load_photos(photos_folder, split="train")  # what is missing or damaged is to show here, in words
    effects: dict[str, NDArray[np.float32]] = {}
    for concept_id, effect in Pool.make(n_workers).run(partial(_Worker, zoo, photos_folder), ids):
        effects[concept_id] = effect
        if callback is not None:
            callback(len(effects), len(ids))
    taught = np.array([zoo.index.row(concept_id).split == "train" for concept_id in ids])
    return Effects.of(ids, np.stack([effects[concept_id] for concept_id in ids]), taught)


class _Worker:
    """What a worker process loads once."""

    def __init__(self, zoo: Zoo, photos_folder: Path | None) -> None:
        photos = load_photos(photos_folder, split="train")
        count = min(_N_PHOTOS, len(photos))
        chosen = (photos[len(photos) * number // count] for number in range(count))
        self.zoo, self.photos = zoo, [fit_short_side(photo.pixels, _SHORT_SIDE) for photo in chosen]

    def __call__(self, concept_id: str) -> NDArray[np.float32]:
        network = self.zoo.checkpoint(concept_id)
        return effect_of([(photo, network.edit(photo)) for photo in self.photos])
