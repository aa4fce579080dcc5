"""A zoo: trained checkpoints, found by words and pulled as inits, and new inits made from words."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from initzoo.bases import Base, BaseConfig, read_base, read_base_config
from initzoo.blocks import join_blocks
from initzoo.concepts import alphabets_of, catalog_folder
from initzoo.errors import InvalidGenerator, InvalidWords, InvalidZoo, UnknownConcept, UnknownZoo
from initzoo.index import SCORES, Index, IndexRow
from initzoo.inits import Generation, Init, InitMetadata, check_draw, merge_adapter, name_words
from initzoo.recipes import Layout, Recipe
from initzoo.seals import is_file
from initzoo.shards import decode_blocks
from initzoo.verification import VerifyReport, check_row, read_payload, verify_zoo

if TYPE_CHECKING:
    from initzoo.calibration import Calibration, Expectation
    from initzoo.generator_files import GeneratorFiles
    from initzoo.weight_generator import WeightGenerator

__all__ = ["BUNDLED_ZOO", "Zoo"]

BUNDLED_ZOO = "starter"
_MAX_WORDING = 200


class Zoo:
    """Index, shards, base and weight generator. Open one with `Zoo.from_pretrained`.

    Files are read when they are needed and checked whenever they are read. Not every zoo has a weight
    generator.

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
        """Forty hex digits that change when a checkpoint, a wording or the base changes.

        They are a digest of the index and the base's config, which hold the digests of
        all the rest. The weight generator has a digest of its own, which generated inits name.
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
            if self.has_generator:
                more += ". Or generate weights from the words: initzoo pull WORDS"
            raise UnknownConcept(f"no concept {asked!r} in zoo '{self.name}'{hint}. {more}")
        return row

    def pull(
        self,
        words: str,
        *,
        adapter_only: bool = False,
        origin: str | None = None,
        seed: int = 0,
        n_timesteps: int = 1,
    ) -> Init:
        """The init that `words` name, or one that the weight generator makes from them.

        Args:
            words: concept id, any wording of a concept, or any other words for an edit.
            adapter_only: leave the adapter alone instead of merging it with the base.
            origin: `exact` for a checkpoint of the zoo or nothing, `generated` to generate even when there
                is one; None takes the checkpoint where there is one.
            seed: of a generated init, 0 to 2**63 - 1; another one gives a variation of it.
            n_timesteps: denoising steps of a generated init, 1 to 1000.

        Raises:
            UnknownConcept: no concept has these words, and the zoo cannot or shall not generate.
            InvalidWords: the words are empty, too long, or hold nothing that the weight generator knows.
            ChecksumMismatch: weights are not those that index or config promise, or the weight generator
                was made for another base.
            InvalidGenerator: the weight generator is asked for and missing, or damaged.
            InvalidZoo: a file of the zoo is missing or damaged.
            LayoutMismatch: checkpoint or weight generator was made for another base or layout.
            ValueError: origin, seed or timesteps are out of range.

        Example:
            >>> zoo = Zoo.from_pretrained("starter")
            >>> zoo.pull("a graphite drawing", origin="exact").metadata.concept
            'pencil-sketch'
            >>> zoo.pull("faded teal charcoal at dusk", seed=3).metadata.origin  # doctest: +SKIP
            'generated'
        """
        if origin not in (None, "exact", "generated"):
            raise ValueError(f"origin must be exact, generated or None, found {origin!r}")
        check_draw(seed=seed, n_timesteps=n_timesteps)
        row = None if origin == "generated" else self.index.find(words)
        if row is None and (origin == "generated" or (origin is None and self.has_generator)):
            return self._generate(words, adapter_only, seed, n_timesteps)
        row = row or self.find(words)
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
        return self._init(self._blocks_of(row), metadata, adapter_only)

    @property
    def has_generator(self) -> bool:
        """Whether there is a weight generator, sound or not."""
        names = ("config.json", "model.safetensors")
        return any(is_file(self.generator_folder / name) for name in names)

    @property
    def generator_folder(self) -> Path:
        """Where the zoo's weight generator is, if it has one."""
        return self.folder / "model" / "weight_generator"

    @cached_property
    def generator(self) -> WeightGenerator:
        """The weight generator, checked to be made for the zoo's base. The first use loads torch.

        Raises:
            InvalidGenerator: there is none, or it is damaged.
            ChecksumMismatch, LayoutMismatch: it was made for another base or layout.
        """
        files = self._generator_files  # what is wrong with them shows before torch is loaded
        from initzoo.weight_generator import WeightGenerator

        return WeightGenerator.from_files(files)

    def expect(self, words: str) -> Expectation | None:
        """Say how far words are from what the zoo knows, and what PSNR to expect of a generated init.

        Returns:
            Distance and range; None when the weight generator is not calibrated.

        Raises:
            InvalidWords: the words are empty, too long, or hold nothing that the weight generator knows.
            InvalidGenerator: there is no weight generator, or it or its calibration is damaged.
            ChecksumMismatch, LayoutMismatch: it was made for another base or layout.
        """
        vectors = self._generator_files.words
        return self._calibration.expect(vectors, words) if self._calibration else None

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
        generator = self.generator_folder if self.has_generator else None
        return verify_zoo(self.folder / "dataset", self._base_folder, self.name, generator)

    def _generate(self, words: str, adapter_only: bool, seed: int, n_timesteps: int) -> Init:
        """An init from words. All that can be wrong with them shows before torch is loaded."""
        from initzoo.words import check_words

        plain = check_words(words)
        self._check_alphabet(plain)
        files, expected = self._generator_files, self.expect(plain)
        files.words.tokenise(plain)
        blocks = self.generator.generate(plain, seed=seed, n_timesteps=n_timesteps)
        generation = Generation(seed, n_timesteps, files.digest)
        if expected is not None:
            generation = replace(
                generation,
                distance=round(expected.distance, 4),
                expected_psnr=(round(expected.low, 2), round(expected.high, 2)),
                is_far=expected.is_far,
            )
        metadata = InitMetadata(
            concept=name_words(plain),
            wording=plain,
            origin="generated",
            zoo=self.name,
            revision=self.revision,
            recipe=self.recipe,
            base_sha256=self.config.base_sha256,
            scores=dict.fromkeys(SCORES),
            licence=self.generator.config.licence,
            source=f"made from the words by the weight generator of zoo '{self.name}'",
            generation=generation,
        )
        return self._init(blocks, metadata, adapter_only)

    def _check_alphabet(self, words: str) -> None:
        """Token vectors know the letters of many alphabets, and nothing of what is written with them."""
        taught = self.index.alphabets
        odd = next((letter for letter in words if alphabets_of(letter) - taught), None)
        if odd is not None:
            raise InvalidWords(
                f"the letter {odd!r} is of an alphabet that no wording in zoo '{self.name}' is written in. "
                "Say it in plain words of the zoo's language."
            )

    def _init(self, blocks: np.ndarray, metadata: InitMetadata, adapter_only: bool) -> Init:
        weights = join_blocks(blocks, self.layout)
        if not adapter_only:
            weights = merge_adapter(self._base.weights, weights, self.layout)
        return Init(weights=weights, kind="adapter" if adapter_only else "merged", metadata=metadata)

    @cached_property
    def _generator_files(self) -> GeneratorFiles:
        if not self.has_generator:
            raise InvalidGenerator(
                f"zoo '{self.name}' has no weight generator: found no model/weight_generator/config.json in "
                f"'{self.folder}'. Train one: initzoo generator train --help"
            )
        from initzoo.generator_files import read_generator_files

        files = read_generator_files(self.generator_folder)
        files.check_made_for(base_sha256=self.config.base_sha256, layout=self.layout)
        return files

    @cached_property
    def _calibration(self) -> Calibration | None:
        """None when there is no file: a zoo with few held-out concepts has nothing to calibrate on."""
        from initzoo.calibration import CALIBRATION_FILE, Calibration

        if not is_file(self.generator_folder / CALIBRATION_FILE):
            return None
        files = self._generator_files
        return Calibration.load(files.folder, files.words, generator_sha256=files.digest)

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
