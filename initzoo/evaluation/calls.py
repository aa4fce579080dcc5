"""Measuring in one call: the checkpoints of a zoo, and whether a start can be trained."""

from __future__ import annotations

import os
from pathlib import Path

from initzoo.evaluation.checkpoints import ConceptScores, evaluate_zoo
from initzoo.networks import Diagnosis, ImageNetwork, diagnose_network, to_images
from initzoo.pairs import load_concepts, load_photos, middle_squares
from initzoo.training import AutoNetwork
from initzoo.work import Backend
from initzoo.zoo import BUNDLED_ZOO, Zoo

__all__ = ["diagnose", "evaluate"]


def diagnose(
    source: str | os.PathLike[str] | ImageNetwork,
    *,
    words: str = "",
    zoo: str | os.PathLike[str] | Zoo = BUNDLED_ZOO,
    photos: str | os.PathLike[str] | None = None,
    seed: int = 0,
) -> Diagnosis:
    """Say whether a network can be trained from its weights: do signals and gradients pass, do units differ?

    Args:
        source: a network, or what `AutoNetwork.from_pretrained` takes.
        words: for the schemes `nearest` and `generated`.
        zoo: the zoo to look in.
        photos: folder of photos that are passed through; the bundled ones otherwise.
        seed: of schemes that draw weights, and of the gradient.

    Raises:
        InvalidImage: a photo cannot be read.
        UnknownConcept, InvalidInit, LayoutMismatch: there is no such network.

    Example:
        >>> diagnose("zeros").verdict, diagnose("he_normal").verdict
        ('symmetric', 'healthy')
    """
    network = source
    if not isinstance(network, ImageNetwork):
        network = AutoNetwork.from_pretrained(network, zoo=zoo, words=words, seed=seed)
    folder = None if photos is None else Path(photos)
    images = to_images(middle_squares(load_photos(folder, split="score")))
    return diagnose_network(network, images, seed=seed)


def evaluate(
    zoo: str | os.PathLike[str] | Zoo = BUNDLED_ZOO,
    *,
    split: str | None = None,
    concepts: str | os.PathLike[str] | None = None,
    photos: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    n_workers: int = 1,
    backend: Backend = "processes",
    address: str | None = None,
) -> list[ConceptScores]:
    """Measure a zoo's checkpoints on photos that training never saw.

    Args:
        zoo: the zoo.
        split: only checkpoints of this split.
        concepts: the concepts file of the zoo, for teachers that a zoo does not hold.
        photos: folder of photos, of which those of split `score` are used; the bundled ones otherwise.
        limit: measure only so many, spread evenly over the zoo.
        n_workers: processes, one core each.
        backend: where workers run: in processes of this machine, or on a ray cluster.
        address: address of the cluster; by default that of RAY_ADDRESS, or one that is started here.

    Returns:
        Scores per concept, beside the untouched photo and the mean adapter.

    Raises:
        InvalidZoo: no checkpoint is of this split, or the zoo is damaged.
        TeacherError: the zoo does not hold the teacher of a concept.

    Example:
        >>> [one.concept_id for one in evaluate(limit=1)]  # doctest: +SKIP
        ['acid-green']
    """
    opened = zoo if isinstance(zoo, Zoo) else Zoo.from_pretrained(zoo)
    folder = None if photos is None else Path(photos)
    known = [] if concepts is None else load_concepts(Path(concepts))
    return evaluate_zoo(
        opened,
        split=split,
        photos_folder=folder,
        teachers=[concept.teacher for concept in known],
        limit=limit,
        n_workers=n_workers,
        backend=backend,
        address=address,
    )
