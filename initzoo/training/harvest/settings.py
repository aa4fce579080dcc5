"""What a harvest makes and where it keeps its work, so that it can be stopped and go on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from initzoo.errors import HarvestError
from initzoo.files import make_folder
from initzoo.pairs import TEACHING_SIDE, Concept, Photo, load_concepts, load_named_looks, load_photos
from initzoo.training.harvest.clusters import pick_concepts
from initzoo.training.harvest.recipe import QUICK_HARVEST, HarvestRecipe, recipe_of_base
from initzoo.work import read_json_piece, read_piece
from initzoo.zoo import Zoo

__all__ = ["HarvestPlan", "RunFolder"]


@dataclass(frozen=True)
class HarvestPlan:
    """All that decides which bytes a harvest gives.

    Args:
        recipe: how networks are trained.
        concepts: the concepts to make checkpoints for, sorted by id, ids unique.
        photos: folder of photos, or None for the bundled ones.
        zoo: a zoo to add to: its base takes the place of the joint stage, and its checkpoints are kept.
        named_looks: ids of the concepts that people name, most named first: they get a detail first.
    """

    recipe: HarvestRecipe
    concepts: tuple[Concept, ...]
    photos: Path | None = None
    zoo: Zoo | None = None
    named_looks: tuple[str, ...] = ()

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
        if recipe.photo_size != TEACHING_SIDE or not 8 <= recipe.crop_size <= TEACHING_SIDE:
            raise HarvestError(
                f"recipe '{recipe.name}': photo_size must be {TEACHING_SIDE} and crop_size from 8 to "
                f"{TEACHING_SIDE}, found {recipe.photo_size} and {recipe.crop_size}. Change the recipe"
            )
        if not any(concept.split == "train" for concept in concepts):
            raise HarvestError("a harvest needs at least one concept of split 'train', found none.")
        named = load_named_looks() if concepts_path is None else ()
        return cls(recipe=recipe, concepts=tuple(concepts), photos=photos, named_looks=named)

    @classmethod
    def add_to(
        cls,
        zoo: Zoo,
        recipe: HarvestRecipe,
        *,
        concepts_path: Path | None = None,
        photos: Path | None = None,
        limit: int | None = None,
    ) -> HarvestPlan:
        """Plan to add the concepts of a file that a zoo lacks.

        Args:
            zoo: the zoo; its base stays as it is.
            recipe: the zoo's recipe, in which the settings of fits and details may differ.
            concepts_path, photos, limit: as for `make`.

        Raises:
            InvalidConcepts: the file is wrong.
            InvalidZoo: the zoo is damaged, or does not note how it was trained.
            HarvestError: the zoo has all concepts of the file.
        """
        own = recipe_of_base(zoo.config)
        is_quick = recipe.joint == replace(own.joint, **QUICK_HARVEST["joint"])
        if (recipe.joint != own.joint and not is_quick) or recipe.checkpoint != own.checkpoint:
            raise HarvestError(
                f"zoo '{zoo.name}' has its base already: block size and settings of the joint stage cannot "
                "change. Leave these options out"
            )
        known = set(zoo.index.ids)
        listed = sorted(load_concepts(concepts_path), key=lambda concept: concept.id)
        new = [concept for concept in listed if concept.id not in known]
        if not new:
            raise HarvestError(
                f"zoo '{zoo.name}' has all {len(listed)} concepts of the file. Add concepts with other ids"
            )
        if limit is not None and limit < len(new):
            new = [new[len(new) * place // limit] for place in range(limit)]
        recipe = replace(recipe, joint=own.joint)
        return cls(recipe=recipe, concepts=tuple(new), photos=photos, zoo=zoo)

    @property
    def train_concepts(self) -> tuple[Concept, ...]:
        """The concepts that base and shared A may learn from."""
        return tuple(concept for concept in self.concepts if concept.split == "train")

    @cached_property
    def joint_concepts(self) -> tuple[Concept, ...]:
        """The train concepts that base and shared A do learn from: all, or as many as the recipe picks."""
        n_concepts = self.recipe.joint.n_concepts
        return pick_concepts(self.train_concepts, n_concepts) if n_concepts else self.train_concepts

    def load_photos(self, split: str) -> list[Photo]:
        """The photos of split `train` or `score`."""
        return load_photos(self.photos, split=split)

    @property
    def digests(self) -> dict[str, str]:
        """Sixteen hex digits each of recipe, concepts and photos: all that decides the weights.

        Wordings, licences and sources do not: they enter when the zoo is packed.
        """
        concepts, photos = hashlib.sha256(), hashlib.sha256()
        for concept in self.concepts:
            values = [concept.id, concept.split, concept.teacher.to_json()]
            concepts.update(json.dumps(values, sort_keys=True).encode())
        for photo in load_photos(self.photos, split=None):
            photos.update(
                f"{photo.name} {photo.split} {photo.pixels.shape}".encode() + photo.pixels.tobytes()
            )
        digests = {
            "recipe": self.recipe.digest[:16],
            "concepts": concepts.hexdigest()[:16],
            "photos": photos.hexdigest()[:16],
        }
        return digests | ({} if self.zoo is None else {"zoo": self.zoo.revision})


class RunFolder:
    """The folder in which a harvest keeps what it has done.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def make_folders(self) -> None:
        """Make the folders that the stages write into.

        Raises:
            OutputError: one cannot be made.
        """
        for folder in (self.joint, self.fits, self.mean_scores, self.details):
            make_folder(folder)

    @property
    def joint(self) -> Path:
        """Snapshots of the joint stage."""
        return self.path / "joint"

    @property
    def base(self) -> Path:
        """The base that the joint stage ended with."""
        return self.path / "base.safetensors"

    @property
    def joint_adapters(self) -> Path:
        """The adapters of the joint stage by concept, from which the fits start."""
        return self.path / "joint-adapters.safetensors"

    @property
    def fits(self) -> Path:
        """A file a concept: its adapter and scores, or the reason why it has none."""
        return self.path / "fits"

    @property
    def details(self) -> Path:
        """A file per concept with the bytes of its detail, and one with its scores."""
        return self.path / "details"

    @property
    def chosen_details(self) -> Path:
        """The ids of the concepts that get a detail, JSON."""
        return self.path / "details.json"

    @property
    def mean_scores(self) -> Path:
        """A file a concept: the scores of the mean adapter."""
        return self.path / "mean-scores"

    @property
    def mean_adapter(self) -> Path:
        """The mean adapter of the zoo."""
        return self.path / "mean.safetensors"

    @property
    def packing(self) -> Path:
        """Says into which folder the zoo is being packed, from the first byte to the last."""
        return self.path / "packing.json"

    def has_begun_packing(self, out: Path) -> bool:
        """Whether an interrupted run left its own half of a zoo in a folder."""
        return read_piece(self.packing, lambda path: json.loads(path.read_bytes())) == str(out.resolve())

    def fit_notes(self, concept_id: str) -> dict[str, Any] | None:
        """The notes of a fit; None if it is not done, or its files are damaged and it is to be made again."""
        path = self.fits / f"{concept_id}.json"
        notes = read_json_piece(path)
        if notes is None or "failure" in notes:
            return notes
        if "trained" in notes and read_blocks(self.fits / f"{concept_id}.safetensors") is not None:
            return notes
        path.unlink(missing_ok=True)
        return None


def read_blocks(path: Path) -> NDArray[np.float32] | None:
    """The blocks of an adapter in a run folder; None if the file is missing or damaged."""
    blocks: NDArray[np.float32] | None = read_piece(path, lambda path: load_file(path)["blocks"])
    return blocks
