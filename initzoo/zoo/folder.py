"""The files of a zoo, wherever they are: what `Zoo` asks for, and the answer of a folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from initzoo.errors import InvalidZoo
from initzoo.files.digests import is_file
from initzoo.zoo.index import IndexRow
from initzoo.zoo.verify import VerifyReport, read_payload, verify_zoo

__all__ = ["FolderFiles", "PlannedFile", "ZooFiles"]


@dataclass(frozen=True)
class PlannedFile:
    """A file, or a byte range of one, that a pull takes.

    Args:
        repo: where it is: `owner/name`, or the name of a zoo in a folder.
        path: the file.
        n_bytes: bytes that are read of it.
        is_cached: it is on this machine already.
    """

    repo: str
    path: str
    n_bytes: int
    is_cached: bool


class ZooFiles(Protocol):
    """Gives a zoo its files: each whole, or one line of error."""

    @property
    def name(self) -> str:
        """What to call the zoo."""

    @property
    def address(self) -> str:
        """What opens the same zoo again, as `--zoo` takes it."""

    @property
    def revision(self) -> str | None:
        """The revision that all files belong to, 40 hex digits; None where nobody gave them one."""

    def index_path(self) -> Path:
        """The index file."""

    def base_folder(self) -> Path:
        """The folder with `config.json` and `model.safetensors` of the base."""

    def has_generator(self) -> bool:
        """Whether there is a weight generator, sound or not."""

    def generator_folder(self) -> Path:
        """The folder of the weight generator."""

    def payload(self, row: IndexRow) -> bytes:
        """The bytes of a checkpoint, checked against the digest of its row."""

    def payloads(self, rows: Iterable[IndexRow]) -> Iterator[bytes]:
        """The bytes of several checkpoints, in the order of `rows`, checked."""

    def plan(self, row: IndexRow | None, *, with_base: bool) -> list[PlannedFile]:
        """The files and byte ranges that pulling a checkpoint takes, or generating one without a row."""

    def verify(self) -> VerifyReport:
        """Read and check every byte of the zoo."""


@dataclass(frozen=True)
class FolderFiles:
    """The files of a zoo in a folder.

    Args:
        folder: holds `dataset/` and `model/`.
        name: what to call the zoo.
        address: what opens the same zoo again.
    """

    folder: Path
    name: str
    address: str

    @property
    def revision(self) -> None:
        """None: a folder has none of its own."""
        return None

    def index_path(self) -> Path:
        """The index file."""
        return self.folder / "dataset" / "index.parquet"

    def base_folder(self) -> Path:
        """The only folder with a base.

        Raises:
            InvalidZoo: there is not exactly one base.
        """
        parent = self.folder / "model" / "base"
        folders = sorted(path.parent for path in parent.glob("*/config.json"))
        if len(folders) != 1:
            raise InvalidZoo(
                f"zoo '{self.name}': expected one folder with a config.json in '{parent}', "
                f"found {len(folders)}. Get the zoo again."
            )
        return folders[0]

    def has_generator(self) -> bool:
        """Whether there is a weight generator, sound or not."""
        names = ("config.json", "model.safetensors")
        return any(is_file(self.generator_folder() / name) for name in names)

    def generator_folder(self) -> Path:
        """The folder of the weight generator, if the zoo has one."""
        return self.folder / "model" / "weight_generator"

    def payload(self, row: IndexRow) -> bytes:
        """The bytes of a checkpoint.

        Raises:
            InvalidZoo: the shard cannot be read, or the row points outside of it.
            ChecksumMismatch: the bytes are not those that the row promises.
        """
        return read_payload(self.folder / "dataset", row)

    def payloads(self, rows: Iterable[IndexRow]) -> Iterator[bytes]:
        """The bytes of several checkpoints, in the order of `rows`."""
        return map(self.payload, rows)

    def verify(self) -> VerifyReport:
        """Read and check every byte of the zoo.

        Raises:
            InvalidZoo: there is not exactly one base.
        """
        generator = self.generator_folder() if self.has_generator() else None
        return verify_zoo(self.folder / "dataset", self.base_folder(), self.name, generator)

    def plan(self, row: IndexRow | None, *, with_base: bool) -> list[PlannedFile]:
        """The files that pulling a checkpoint takes, or generating one without a row: all are here."""
        paths = [self.index_path()]
        if with_base:
            paths += [self.base_folder() / name for name in ("config.json", "model.safetensors")]
        if row is None:
            paths += sorted(path for path in self.generator_folder().rglob("*") if path.is_file())
        files = [
            PlannedFile(self.name, path.relative_to(self.folder).as_posix(), path.stat().st_size, True)
            for path in paths
        ]
        if row is not None:
            n_bytes = row.byte_end - row.byte_start
            files.append(PlannedFile(self.name, f"dataset/{row.shard}", n_bytes, True))
        return files
