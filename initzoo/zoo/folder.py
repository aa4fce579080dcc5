"""Access to the files of a zoo: the protocol that `Zoo` uses, and its implementation for a folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from initzoo.errors import InvalidGenerator, InvalidZoo
from initzoo.files import is_file, list_files, read_file, reported_as
from initzoo.generator import PHRASE_FOLDER
from initzoo.networks import GRAPH_FILE
from initzoo.zoo.effects import EFFECTS_FILE
from initzoo.zoo.index import IndexRow
from initzoo.zoo.manifest import (
    MANIFEST_FILE,
    MAX_MANIFEST_BYTES,
    MAX_SIGNATURE_BYTES,
    SIGNATURE_FILE,
    FileDigest,
    Manifest,
    not_plain,
)
from initzoo.zoo.verify import VerifyReport, read_payload, verify_zoo

__all__ = ["FolderFiles", "PlannedFile", "ZooFiles", "base_path", "folder_of", "has_phrases", "model_files"]

_ADVICE = "Get the zoo again, or accept its files as they are: initzoo verify FOLDER --accept"


@dataclass(frozen=True)
class PlannedFile:
    """A file, or a byte range of one, that a pull reads.

    Args:
        repo: `owner/name` on the Hub, or the name of a zoo in a folder.
        path: path of the file in the repo or folder.
        n_bytes: number of bytes to read.
        is_cached: whether it is on this machine already.
    """

    repo: str
    path: str
    n_bytes: int
    is_cached: bool


class ZooFiles(Protocol):
    """Gives access to the files of a zoo. A file is returned whole and verified, or an error is raised."""

    @property
    def name(self) -> str:
        """The name of the zoo."""

    @property
    def address(self) -> str:
        """The name that opens the same zoo again, as `--zoo` takes it."""

    @property
    def revision(self) -> str | None:
        """The revision of all files, 40 hex digits; None for a zoo in a folder."""

    def index_path(self) -> Path:
        """The index file."""

    @property
    def manifest(self) -> Manifest:
        """The manifest of the zoo."""

    def base_folder(self, recipe: str) -> Path:
        """The folder of a recipe's base, with `config.json` and `model.safetensors`."""

    def graph_file(self, recipe: str) -> Path | None:
        """The graph of a recipe's network, beside its base, or None if there is none."""

    def effects_file(self, recipe: str) -> Path | None:
        """The effects of a recipe's checkpoints, beside its base, or None if there are none."""

    def generator_folder(self, recipe: str) -> Path:
        """The folder of a recipe's weight generator."""

    def phrase_folder(self) -> Path | None:
        """The folder of the zoo's phrase encoder, or None if it has none."""

    def payload(self, row: IndexRow, *, with_detail: bool = False) -> bytes:
        """The bytes of a checkpoint's blocks, and of its detail after them, checked against its row."""

    def payloads(self, rows: Iterable[IndexRow]) -> Iterator[bytes]:
        """The bytes of the blocks of several checkpoints, in the order of `rows`, checked."""

    def plan(self, row: IndexRow | None, *, recipe: str, with_base: bool) -> list[PlannedFile]:
        """The files and byte ranges that a pull reads; `row` is None for generated weights."""

    def verify(self) -> VerifyReport:
        """Read and check every byte of the zoo."""

    def signed(self) -> tuple[bytes, bytes] | None:
        """The content of the manifest and of its signature; None if the zoo is not signed."""


@dataclass(frozen=True)
class FolderFiles:
    """The files of a zoo in a folder.

    Args:
        folder: holds `dataset/` and `model/`.
        name: name of the zoo.
        address: the name that opens the same zoo again.
    """

    folder: Path
    name: str
    address: str

    @property
    def revision(self) -> None:
        """None: files in a folder have no revision."""
        return None

    def index_path(self) -> Path:
        """The index file."""
        return self.folder / "dataset" / "index.parquet"

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest of the zoo.

        Raises:
            InvalidZoo: `dataset/zoo.json` is missing, damaged or of another format.
        """
        path = self.folder / "dataset" / MANIFEST_FILE
        with reported_as(InvalidZoo, f"zoo '{self.name}', '{path}'", _ADVICE):
            return Manifest.from_bytes(read_file(path, max_bytes=MAX_MANIFEST_BYTES))

    def signed(self) -> tuple[bytes, bytes] | None:
        """The content of the manifest and of its signature; None if the zoo is not signed.

        Raises:
            InvalidZoo: one of them cannot be read.
        """
        path = self.folder / "dataset" / MANIFEST_FILE
        signature = path.with_name(SIGNATURE_FILE)
        if not is_file(signature):
            return None
        with reported_as(InvalidZoo, f"zoo '{self.name}', '{path}'", _ADVICE):
            return (
                read_file(path, max_bytes=MAX_MANIFEST_BYTES),
                read_file(signature, max_bytes=MAX_SIGNATURE_BYTES),
            )

    def base_folder(self, recipe: str) -> Path:
        """The folder of a recipe's base.

        Raises:
            InvalidZoo: the zoo has no base of that recipe.
        """
        return self.folder / "model" / folder_of(self.manifest.bases, recipe, self.name)

    def graph_file(self, recipe: str) -> Path | None:
        """The graph of a recipe's network, or None if the zoo has none."""
        path = base_path(self.manifest, recipe, GRAPH_FILE)
        return None if path is None else self.folder / "model" / path

    def effects_file(self, recipe: str) -> Path | None:
        """The effects of a recipe's checkpoints, or None if the zoo has none."""
        path = base_path(self.manifest, recipe, EFFECTS_FILE)
        return None if path is None else self.folder / "model" / path

    def generator_folder(self, recipe: str) -> Path:
        """The folder of a recipe's weight generator.

        Raises:
            InvalidGenerator: the zoo has no weight generator for that recipe.
        """
        folder = self.manifest.generators.get(recipe)
        if folder is None:
            raise InvalidGenerator(
                f"zoo '{self.name}' has no weight generator for recipe '{recipe}'. "
                "Train one: initzoo generator train --help"
            )
        return self.folder / "model" / folder

    def phrase_folder(self) -> Path | None:
        """The folder of the zoo's phrase encoder, or None if it has none."""
        return self.folder / "model" / PHRASE_FOLDER if has_phrases(self.manifest) else None

    def payload(self, row: IndexRow, *, with_detail: bool = False) -> bytes:
        """The bytes of a checkpoint's blocks, and of its detail after them.

        Raises:
            InvalidZoo: the shard cannot be read, or the row points outside it.
            ChecksumMismatch: the bytes do not match the digests of the row.
        """
        return read_payload(self.folder / "dataset", row, with_detail=with_detail)

    def payloads(self, rows: Iterable[IndexRow]) -> Iterator[bytes]:
        """The bytes of the blocks of several checkpoints, in the order of `rows`."""
        return map(self.payload, rows)

    def verify(self) -> VerifyReport:
        """Read and check every byte of the zoo.

        Raises:
            InvalidZoo: the manifest is missing, damaged or of another format.
        """
        problems = []
        for part in ("dataset", "model"):
            if (self.folder / part).is_symlink():
                problems.append(not_plain(self.folder / part, "a link"))
            problems += [not_plain(*other) for other in list_files(self.folder / part)[1].items()]
        if problems:  # what they point to is not read
            return VerifyReport(self.name, "zoo", 0, 0, 0, tuple(problems))
        return verify_zoo(self.folder / "dataset", self.folder / "model", self.manifest, self.name)

    def plan(self, row: IndexRow | None, *, recipe: str, with_base: bool) -> list[PlannedFile]:
        """The files that a pull reads, all of them local; `row` is None for generated weights."""
        manifest = self.manifest
        files = [("dataset/index.parquet", manifest.dataset_files["index.parquet"].n_bytes)]
        files += [
            (f"model/{path}", file.n_bytes) for path, file in model_files(manifest, row, recipe, with_base)
        ]
        if row is not None:
            parts = row.parts(with_detail=with_base)
            files.append((f"dataset/{row.shard}", parts[-1].end - parts[0].start))
        return [PlannedFile(self.name, path, n_bytes, True) for path, n_bytes in files]


def has_phrases(manifest: Manifest) -> bool:
    """Whether a zoo has a phrase encoder."""
    return f"{PHRASE_FOLDER}/config.json" in manifest.model_files


def base_path(manifest: Manifest, recipe: str, name: str) -> str | None:
    """The path in the model folder of a file beside a recipe's base, or None if the zoo has none."""
    path = f"{manifest.bases.get(recipe, '')}/{name}"
    return path if path in manifest.model_files else None


def folder_of(folders: Mapping[str, str], recipe: str, zoo_name: str) -> str:
    """The folder of a recipe's base.

    Raises:
        InvalidZoo: the zoo has no base of that recipe.
    """
    if recipe not in folders:
        raise InvalidZoo(
            f"zoo '{zoo_name}' has no base of recipe {recipe[:80]!r}, only of {', '.join(folders)}. "
            "Get the zoo again."
        )
    return folders[recipe]


def model_files(
    manifest: Manifest, row: IndexRow | None, recipe: str, with_base: bool
) -> list[tuple[str, FileDigest]]:
    """The files of the model folder that a pull reads."""
    folders = [manifest.bases[recipe]] if with_base and recipe in manifest.bases else []
    if row is None and recipe in manifest.generators:
        folders.append(manifest.generators[recipe])
    starts = tuple(f"{folder}/" for folder in folders)
    return [(path, file) for path, file in manifest.model_files.items() if starts and path.startswith(starts)]
