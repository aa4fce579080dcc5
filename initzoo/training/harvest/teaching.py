"""The pairs of teachers that run a large model: made by one process before the stages read them."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InitzooWarning
from initzoo.pairs import TEACHING_SIDE, Concept, Refused, fit_short_side, teach_each, training_photos
from initzoo.training.harvest.joint import has_base
from initzoo.training.harvest.settings import HarvestPlan, RunFolder

__all__ = ["make_model_pairs"]

Pixels = NDArray[np.uint8]


def make_model_pairs(plan: HarvestPlan, run: RunFolder, callback: Callable[[int, int], None]) -> None:
    """Make all pairs that the stages of a harvest will read, with the teachers that run a model.

    The stages run in many processes, and a GPU has no room for a model in each. A pair that is stored is not
    made again. A warning says how many pictures are no good to train on.

    Args:
        plan: what is harvested.
        run: where it has got to; the photos of a joint stage that is done are left out.
        callback: called with the concepts done and the concepts in all.

    Raises:
        TeacherError: a teacher failed: then hardly any of the others would do better.
    """
    concepts = sorted(
        (concept for concept in plan.concepts if concept.teacher.model_id is not None),
        key=lambda concept: str(concept.teacher.model_id),  # one model after the other, each loaded once
    )
    if not concepts:
        return
    fitted, joint = _photos_of_fits(plan), []
    if not has_base(plan, run):
        photos, seed = plan.load_photos("train"), plan.recipe.seed + 1
        joint = training_photos(photos, plan.recipe.joint.n_photos, seed=seed)
    n_pairs, refused, reasons = 0, Counter[str](), Counter[str]()
    for number, concept in enumerate(concepts):
        callback(number, len(concepts))
        is_joint = concept.split == "train"
        for pair in _taught(concept, [*fitted, *(joint if is_joint else [])]):
            n_pairs += 1
            if isinstance(pair, Refused):
                refused[concept.id] += 1
                reasons[pair.reason] += 1
        following = concepts[number + 1].teacher.model_id if number + 1 < len(concepts) else None
        if following != concept.teacher.model_id:
            concept.teacher.release()
    callback(len(concepts), len(concepts))
    if refused:
        why = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        most = ", ".join(f"{count} of {name}" for name, count in refused.most_common(3))
        warnings.warn(
            f"{refused.total()} of {n_pairs} pictures of models are not trained on: {why}; {most}",
            InitzooWarning,
            stacklevel=2,
        )


def _photos_of_fits(plan: HarvestPlan) -> list[Pixels]:
    """The photos of fits, details and scores; those of fits and details are the same, or more of them."""
    recipe = plan.recipe
    n_photos = max(recipe.fit.n_photos, recipe.detail.n_photos if recipe.detail.n_concepts else 0)
    photos = training_photos(plan.load_photos("train"), n_photos, seed=recipe.seed)
    return photos + [fit_short_side(photo.pixels, TEACHING_SIDE) for photo in plan.load_photos("score")]


def _taught(concept: Concept, photos: list[Pixels]) -> Iterator[tuple[Pixels, Pixels] | Refused]:
    for variant in range(max(1, concept.teacher.n_variants)):
        yield from teach_each(concept.teacher, photos, [variant] * len(photos))
