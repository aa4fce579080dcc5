"""A zoo: trained checkpoints, found by words and pulled as inits."""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from pathlib import Path

import numpy as np

from initzoo.bases import Base, BaseConfig, read_base, read_base_config
from initzoo.blocks import join_blocks
from initzoo.concepts import catalog_folder
from initzoo.errors import InvalidZoo, UnknownConcept, UnknownZoo
from initzoo.index import Index, IndexRow
from initzoo.inits import Init, InitMetadata, merge_adapter
from initzoo.recipes import Layout, Recipe
from initzoo.seals import is_file
from initzoo.shards import decode_blocks
from initzoo.verification import VerifyReport, check_row, read_payload, verify_zoo

__all__ = ["BUNDLED_ZOO", "Zoo"]

BUNDLED_ZOO = "starter"
_MAX_WORDING = 200


class Zoo:
    """Index, shards and base at one revision. Open one with `Zoo.from_pretrained`.

    Files are read when they are needed and checked whenever they are read.

    Example:
        >>> zoo = Zoo.from_pretrained("starter")  # doctest: +SKIP
        >>> zoo.find("Pencil-Sketch").concept_id  # doctest: +SKIP
        'pencil-sketch'
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Take a folder as `from_pretrained` checks it, and what to call the zoo."""
        self.folder = folder
        self.name = name

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str]) -> Zoo:
        """Open a zoo.

        Args:
            name: `starter` for the zoo that comes with initzoo, or a folder that holds
                `dataset/index.parquet` and `model/base/`.

        Raises:
            UnknownZoo: there is no such zoo.
        """
        if str(name) == BUNDLED_ZOO:
            folder, label = catalog_folder(), BUNDLED_ZOO
        else:
            folder = Path(name)
            label = _plain(folder.absolute().name)
        if not is_file(folder / "dataset" / "index.parquet"):
            asked = _plain(str(name))[:_MAX_WORDING]
            raise UnknownZoo(
                f"no zoo {asked!r}: found no dataset/index.parquet there. "
                f"Name a folder that holds one, or the zoo that comes with initzoo: --zoo {BUNDLED_ZOO}"
            )
        return cls(folder, label)

    @cached_property
    def index(self) -> Index:
        """The index of the zoo.

        Raises:
            InvalidZoo: it is damaged or of another format version.
        """
        return Index.open(self.folder / "dataset" / "index.parquet")

    @cached_property
    def config(self) -> BaseConfig:
        """What the base says of itself.

        Raises:
            InvalidZoo: there is not exactly one base, or its config is damaged.
        """
        return read_base_config(self._base_folder)

    @property
    def layout(self) -> Layout:
        """The layout of the zoo's adapters."""
        return self.config.layout

    @property
    def recipe(self) -> Recipe:
        """The recipe that the zoo's checkpoints were trained with."""
        return self.config.recipe

    @cached_property
    def revision(self) -> str:
        """Forty hex digits that change when anything of the zoo changes.

        They are a digest of the index and the base's config, which hold the digests of
        all the rest.
        """
        both = f"{self.index.sha256} {self.config.config_sha256}"
        return hashlib.sha256(both.encode()).hexdigest()[:40]

    def find(self, words: str) -> IndexRow:
        """The row of the concept that `words` name, by id or by any wording.

        Raises:
            UnknownConcept: no concept has these words; the message names the three closest.
        """
        row = self.index.find(words)
        if row is None:
            closest = ", ".join(f"'{match.concept_id}'" for match in self.index.nearest(words))
            hint = f"; closest are {closest}" if closest else ""
            asked = _plain(words)[:_MAX_WORDING]
            more = (
                "List all: initzoo list"
                if self.name == BUNDLED_ZOO
                else f"Look for others: initzoo search WORDS --zoo {self.folder}"
            )
            raise UnknownConcept(f"no concept {asked!r} in zoo '{self.name}'{hint}. {more}")
        return row

    def pull(self, words: str, *, adapter_only: bool = False) -> Init:
        """The init of the concept that `words` name.

        Args:
            words: concept id or any wording of it.
            adapter_only: leave the adapter alone instead of merging it with the base.

        Raises:
            UnknownConcept: no concept has these words.
            ChecksumMismatch: the weights are not those that the index promises.
            InvalidZoo: a file of the zoo is missing or damaged.
            LayoutMismatch: the checkpoint was made for another base or layout.
        """
        row = self.find(words)
        weights = join_blocks(self._blocks_of(row), self.layout)
        if not adapter_only:
            weights = merge_adapter(self._base.weights, weights, self.layout)
        metadata = InitMetadata(
            concept=row.concept_id,
            wording=_plain(words)[:_MAX_WORDING],
            origin="exact",
            zoo=self.name,
            revision=self.revision,
            recipe=self.recipe,
            base_sha256=row.base_sha256,
            scores=row.scores,
            licence=row.licence,
            source=row.source,
        )
        return Init(weights=weights, kind="adapter" if adapter_only else "merged", metadata=metadata)

    def blocks(self, concept_id: str) -> np.ndarray:
        """The weight blocks of a checkpoint, float32, shape `(n_blocks, block_size)`.

        Raises:
            KeyError: the zoo has no such concept id.
            ChecksumMismatch: the bytes are not those that the index promises.
            InvalidZoo: the shard is missing, or the row points outside of it.
            LayoutMismatch: the checkpoint was made for another base or layout.
        """
        return self._blocks_of(self.index.row(concept_id))

    def all_blocks(self, *, split: str | None = None) -> tuple[list[str], np.ndarray]:
        """The weight blocks of all checkpoints, or of those of one split.

        Returns:
            Concept ids, and blocks, float32, shape `(n_checkpoints, n_blocks, block_size)`.

        Raises:
            ChecksumMismatch, InvalidZoo, LayoutMismatch: as for `blocks`.
        """
        rows = self.index.rows(split=split)
        blocks = np.empty((len(rows), self.layout.n_blocks, self.layout.block_size), dtype=np.float32)
        for place, row in enumerate(rows):
            blocks[place] = self._blocks_of(row)
        return [row.concept_id for row in rows], blocks

    def mean_adapter_blocks(self) -> np.ndarray:
        """The mean of the train split's blocks, float32, shape `(n_blocks, block_size)`.

        Raises:
            InvalidZoo: the zoo has no train split, or is damaged.
        """
        ids, blocks = self.all_blocks(split="train")
        if not ids:
            raise InvalidZoo(f"zoo '{self.name}' has no train checkpoints to take the mean of.")
        return blocks.mean(axis=0, dtype=np.float64).astype(np.float32)

    def base(self) -> dict[str, np.ndarray]:
        """The base's weights by name, float32: weight, bias and A of its layers.

        Raises:
            ChecksumMismatch: they are not those that the config promises.
            InvalidZoo: a file is missing or damaged.
        """
        return dict(self._base.weights)

    def merge(self, init: Init) -> Init:
        """A merged init from an adapter-only one that was made for this zoo's base.

        Raises:
            ChecksumMismatch: it was made for another base.
        """
        return init if init.kind == "merged" else init.merged_with(self._base)

    def verify(self) -> VerifyReport:
        """Read and check every byte of the zoo; problems are in the report, not raised.

        Raises:
            InvalidZoo: there is not exactly one base.
        """
        return verify_zoo(self.folder / "dataset", self._base_folder, self.name)

    def _blocks_of(self, row: IndexRow) -> np.ndarray:
        check_row(row, self.config)
        data = read_payload(self.folder / "dataset", row)
        return decode_blocks(data, self.layout, row.concept_id)

    @cached_property
    def _base(self) -> Base:
        return read_base(self._base_folder)

    @cached_property
    def _base_folder(self) -> Path:
        parent = self.folder / "model" / "base"
        folders = sorted(path.parent for path in parent.glob("*/config.json"))
        if len(folders) != 1:
            raise InvalidZoo(
                f"zoo '{self.name}': expected one folder with a config.json in '{parent}', "
                f"found {len(folders)}. Get the zoo again."
            )
        return folders[0]


def _plain(text: str) -> str:
    """Text that any file can hold: what is no Unicode becomes a question mark."""
    return text.encode("utf-8", "replace").decode()
