"""What a harvest makes and where it keeps its work, so that it can be stopped and go on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from initzoo.errors import HarvestError
from initzoo.files.atomic import write_bytes
from initzoo.pairs.concepts import Concept, load_concepts
from initzoo.pairs.photos import TEACHING_SIDE, Photo, load_photos
from initzoo.training.harvest.recipe import HarvestRecipe

__all__ = ["HarvestPlan", "RunFolder"]


@dataclass(frozen=True)
class HarvestPlan:
    """All that decides which bytes a harvest gives.

    Args:
        recipe: how networks are trained.
        concepts: the concepts to make checkpoints for, sorted by id, ids unique.
        photos: folder of photos, or None for the bundled ones.
    """

    recipe: HarvestRecipe
    concepts: tuple[Concept, ...]
    photos: Path | None = None

    @classmethod
    def make(
        cls,
        recipe: HarvestRecipe,
        *,
        concepts_path: Path | None = None,
        photos: Path | None = None,
        limit: int | None = None,
    ) -> HarvestPlan:
        """Plan a harvest of a concepts file, or of `limit` of its concepts spread over the whole file.

        Raises:
            InvalidConcepts: the file is wrong.
            HarvestError: no concept is left, or none of split `train`.
        """
        concepts = sorted(load_concepts(concepts_path), key=lambda concept: concept.id)
        if limit is not None and limit < len(concepts):
            concepts = [concepts[len(concepts) * place // limit] for place in range(limit)]
        assert recipe.photo_size == TEACHING_SIDE
        if not any(concept.split == "train" for concept in concepts):
            raise HarvestError("a harvest needs at least one concept of split 'train', found none.")
        return cls(recipe=recipe, concepts=tuple(concepts), photos=photos)

    @property
    def train_concepts(self) -> tuple[Concept, ...]:
        """The concepts that base and shared A may learn from."""
        return tuple(concept for concept in self.concepts if concept.split == "train")

    def load_photos(self, split: str) -> list[Photo]:
        """The photos of split `train` or `score`."""
        return load_photos(self.photos, split=split)

    @property
    def digest(self) -> str:
        """Sixty-four hex digits that change when any weight of the harvest may change.

        Wordings, licences and sources do not: they enter when the zoo is packed.
        """
        digest = hashlib.sha256(self.recipe.digest.encode())
        for concept in self.concepts:
            values = [concept.id, concept.split, concept.teacher.to_json()]
            digest.update(json.dumps(values, sort_keys=True).encode())
        for photo in load_photos(self.photos, split=None):
            digest.update(
                f"{photo.name} {photo.split} {photo.pixels.shape}".encode() + photo.pixels.tobytes()
            )
        return digest.hexdigest()


class RunFolder:
    """The folder in which a harvest keeps what it has done.

    Args:
        path: made if it is missing.

    Raises:
        HarvestError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            for folder in (self.joint, self.fits, self.mean_scores):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HarvestError(f"cannot make the run folder {path}: {error.strerror}.") from error

    @property
    def joint(self) -> Path:
        """Snapshots of the joint stage."""
        return self.path / "joint"

    @property
    def base(self) -> Path:
        """The base that the joint stage ended with."""
        return self.path / "base.safetensors"

    @property
    def fits(self) -> Path:
        """A file a concept: its adapter and scores, or the reason why it has none."""
        return self.path / "fits"

    @property
    def mean_scores(self) -> Path:
        """A file a concept: the scores of the mean adapter."""
        return self.path / "mean-scores"

    @property
    def packing(self) -> Path:
        """Says into which folder the zoo is being packed, from the first byte to the last."""
        return self.path / "packing.json"

    def has_begun_packing(self, out: Path) -> bool:
        """Whether an interrupted run left its own half of a zoo in a folder."""
        return self.packing.exists() and json.loads(self.packing.read_bytes()) == str(out.resolve())

    def claim(self, plan: HarvestPlan) -> None:
        """Mark the folder as this plan's, or check that it is.

        Raises:
            HarvestError: the folder holds the work of another plan.
        """
        path, digest = self.path / "plan.json", plan.digest
        if not path.exists():
            write_bytes(path, json.dumps({"digest": digest}).encode(), force=True)
        elif json.loads(path.read_bytes()).get("digest") != digest:
            raise HarvestError(
                f"{self.path} holds a harvest of another recipe, concepts or photos. "
                "Name another folder with --run, or delete it."
            )
