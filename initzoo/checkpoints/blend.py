"""Blends: an init between two others."""

from __future__ import annotations

import numpy as np

from initzoo.checkpoints.init import SCORES, Init, InitMetadata, name_words
from initzoo.errors import ChecksumMismatch, InvalidInit

__all__ = ["blend_inits"]

_MAX_WORDING = 200


def blend_inits(first: Init, second: Init, share: float) -> Init:
    """An init on the straight line between two others of the same base.

    Adapters change the base linearly in what is learned of them, so a blend of merged inits is the
    merged blend of their adapters.

    Args:
        first: where the line begins; merged or adapter, as `second`.
        second: where it ends.
        share: of `second`, from 0 to 1: 0 gives the weights of `first`.

    Returns:
        An init of origin `blended`, whose source says what it was blended from.

    Raises:
        ValueError: `share` is not from 0 to 1.
        ChecksumMismatch: the two were made for different bases.
        InvalidInit: one is merged and the other an adapter.

    Example:
        >>> from initzoo.zoo.zoo import Zoo
        >>> zoo = Zoo.from_pretrained("starter")
        >>> day, night = zoo.pull("pencil sketch"), zoo.pull("night")
        >>> blend_inits(day, night, 0.25).metadata.source
        '75% pencil-sketch (exact), 25% night (exact) of zoo starter'
    """
    if not 0 <= share <= 1:  # a NaN is refused, too
        raise ValueError(f"share must be from 0 to 1, found {share!r}")
    one, other = first.metadata, second.metadata
    if (one.base_sha256, one.recipe) != (other.base_sha256, other.recipe):
        raise ChecksumMismatch(
            f"cannot blend '{one.concept}' and '{other.concept}': they were made for different bases "
            f"({one.base_sha256[:12]}, {other.base_sha256[:12]}). Take both from one zoo"
        )
    if first.kind != second.kind:
        raise InvalidInit(
            f"cannot blend '{one.concept}' ({first.kind}) and '{other.concept}' ({second.kind}). "
            "Pull both merged, or both with adapter_only=True"
        )
    weights = {
        name: ((1 - share) * value.astype(np.float64) + share * second.weights[name]).astype(np.float32)
        for name, value in first.weights.items()
    }
    percent = round(100 * share)
    zoos = one.zoo if one.zoo == other.zoo else f"{one.zoo} and {other.zoo}"
    told = InitMetadata(
        concept=name_words(f"{one.concept} {100 - percent} {other.concept} {percent}"),
        wording=f"{one.wording} + {other.wording}"[:_MAX_WORDING],
        origin="blended",
        zoo=one.zoo,
        revision=one.revision,
        recipe=one.recipe,
        base_sha256=one.base_sha256,
        scores=dict.fromkeys(SCORES),
        licence=one.licence if one.licence == other.licence else f"{one.licence} AND {other.licence}",
        source=f"{100 - percent}% {_told(one)}, {percent}% {_told(other)} of zoo {zoos}",
    )
    return Init(weights, first.kind, told)


def _told(metadata: InitMetadata) -> str:
    seed = "" if metadata.generation is None else f" seed {metadata.generation.seed}"
    return f"{metadata.concept} ({metadata.origin}{seed})"
