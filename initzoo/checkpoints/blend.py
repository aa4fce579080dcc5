"""Blends: linear interpolation between two inits."""

from __future__ import annotations

import numpy as np

from initzoo.checkpoints.init import SCORES, Init, InitMetadata, name_words
from initzoo.errors import ChecksumMismatch, InvalidInit

__all__ = ["blend_inits"]

_MAX_WORDING = 200


def blend_inits(first: Init, second: Init, share: float) -> Init:
    """Interpolate linearly between two inits of the same base.

    Merged weights are linear in B and bias, the learned part of an adapter, since A is shared. A blend
    of merged inits therefore equals the merged blend of their adapters.

    Args:
        first: the init at share 0, merged or adapter-only.
        second: the init at share 1, of the same kind.
        share: weight of `second`, from 0 to 1.

    Returns:
        An init of origin `blended`; its source names both inits.

    Raises:
        ValueError: `share` is not between 0 and 1.
        ChecksumMismatch: the two were made for different bases.
        InvalidInit: one is merged and the other an adapter.

    Example:
        >>> from initzoo.zoo.zoo import Zoo
        >>> zoo = Zoo.from_pretrained("starter")
        >>> day, night = zoo.pull("pencil sketch"), zoo.pull("night")
        >>> blend_inits(day, night, 0.25).metadata.source
        '75% pencil-sketch (exact), 25% night (exact) of zoo starter'
    """
    if not 0 <= share <= 1:  # also refuses NaN
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
    metadata = InitMetadata(
        concept=name_words(f"{one.concept} {100 - percent} {other.concept} {percent}"),
        wording=f"{one.wording} + {other.wording}"[:_MAX_WORDING],
        origin="blended",
        zoo=one.zoo,
        revision=one.revision,
        recipe=one.recipe,
        base_sha256=one.base_sha256,
        scores=dict.fromkeys(SCORES),
        licence=one.licence if one.licence == other.licence else f"{one.licence} AND {other.licence}",
        source=f"{100 - percent}% {_summary(one)}, {percent}% {_summary(other)} of zoo {zoos}",
    )
    return Init(weights, first.kind, metadata)


def _summary(metadata: InitMetadata) -> str:
    seed = "" if metadata.generation is None else f" seed {metadata.generation.seed}"
    return f"{metadata.concept} ({metadata.origin}{seed})"
