"""The manifest of a zoo: `zoo.json` in its dataset folder or repo.

It lists the bases and weight generators by recipe, and the size and digest of every file, so that a
reader can verify each file as it arrives. In a published zoo it also names the revision of the model repo,
which ties the two repos together.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from initzoo.errors import InvalidZoo
from initzoo.files import DamagedFile, list_files, path_within, read_file, read_json, write_bytes, write_json
from initzoo.generator import PHRASE_FOLDER

__all__ = [
    "MANIFEST_FILE",
    "MAX_MANIFEST_BYTES",
    "MAX_SIGNATURE_BYTES",
    "SIGNATURE_FILE",
    "FileDigest",
    "Manifest",
    "check_plain",
    "describe_folder",
    "digest_files",
    "not_plain",
    "refresh_around",
    "refresh_manifest",
]

MANIFEST_FILE = "zoo.json"
MAX_MANIFEST_BYTES = 2**26
SIGNATURE_FILE = f"{MANIFEST_FILE}.sig"
MAX_SIGNATURE_BYTES = 2**20

_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_PATH = re.compile(rf"({_PART}/){{0,8}}{_PART}")
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_REVISION = re.compile(r"[0-9a-f]{40}")
_MAX_FILE_BYTES = 2**48


@dataclass(frozen=True)
class FileDigest:
    """Size of a file in bytes and its SHA-256 in hex."""

    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The bases, weight generators and files of a zoo.

    Args:
        recipe: the default recipe, which generated inits have; one of `bases`.
        bases: recipe -> folder of its base, relative to the model folder.
        generators: recipe -> folder of its weight generator; a recipe may lack one.
        dataset_files: files of the dataset folder by path.
        model_files: files of the model folder by path.
        model_repo: model repo of a published zoo, `owner/name`; else None.
        model_revision: revision of that repo, 40 hex digits; else None.

    Raises:
        ValueError: a name, path, digest or size is invalid, or a required file is not listed.

    Example:
        >>> digest = FileDigest(3, "0" * 64)
        >>> files = {"index.parquet": digest}, {"base/a/config.json": digest}
        >>> manifest = Manifest("a", {"a": "base/a"}, {}, *files)
        >>> Manifest.from_bytes(manifest.to_bytes()) == manifest
        True
    """

    recipe: str
    bases: Mapping[str, str]
    generators: Mapping[str, str]
    dataset_files: Mapping[str, FileDigest]
    model_files: Mapping[str, FileDigest]
    model_repo: str | None = None
    model_revision: str | None = None

    def __post_init__(self) -> None:
        folders = [*self.bases.values(), *self.generators.values()]
        for path in (*folders, *self.dataset_files, *self.model_files):
            _check(_PATH, path, "path")
            path_within(Path(), path)
        for file in (*self.dataset_files.values(), *self.model_files.values()):
            _check(_DIGEST, file.sha256, "digest")
            if not 0 <= file.n_bytes < _MAX_FILE_BYTES:
                raise ValueError(f"a file cannot have {file.n_bytes} bytes")
        if self.model_repo is not None or self.model_revision is not None:
            _check(_REPO, self.model_repo or "", "name of a repo")
            _check(_REVISION, self.model_revision or "", "revision")
        for folder in folders:
            if f"{folder}/config.json" not in self.model_files:
                raise ValueError(f"it does not list {folder}/config.json")
        if "index.parquet" not in self.dataset_files:
            raise ValueError("it does not list index.parquet")
        if self.recipe not in self.bases:
            raise ValueError(f"recipe {self.recipe[:80]!r} has no base")

    def to_bytes(self) -> bytes:
        """The content of `zoo.json`. Equal manifests give the same bytes."""
        return write_json(
            {
                "recipe": self.recipe,
                "bases": self.bases,
                "weight_generators": self.generators,
                "model_repo": self.model_repo,
                "model_revision": self.model_revision,
                "dataset_files": {path: [f.n_bytes, f.sha256] for path, f in self.dataset_files.items()},
                "model_files": {path: [f.n_bytes, f.sha256] for path, f in self.model_files.items()},
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Read the content of `zoo.json`.

        Raises:
            DamagedFile: it is damaged, has another format version, or names an unsafe path.
        """
        values = read_json(data, _ManifestFile)
        try:
            return cls(
                recipe=values.recipe,
                bases=values.bases,
                generators=values.weight_generators,
                dataset_files={path: FileDigest(*file) for path, file in values.dataset_files.items()},
                model_files={path: FileDigest(*file) for path, file in values.model_files.items()},
                model_repo=values.model_repo,
                model_revision=values.model_revision,
            )
        except ValueError as error:
            raise DamagedFile(f"is not the manifest of a zoo: {error}") from error


@dataclass(frozen=True)
class _ManifestFile:
    """The fields of `zoo.json`; unknown keys are ignored."""

    recipe: str
    bases: dict[str, str]
    dataset_files: dict[str, tuple[int, str]]
    model_files: dict[str, tuple[int, str]]
    weight_generators: dict[str, str] = field(default_factory=dict)
    model_repo: str | None = None
    model_revision: str | None = None


def digest_files(folder: Path, paths: Iterable[Path]) -> dict[str, FileDigest]:
    """Size and digest of files, by their paths relative to a folder.

    Raises:
        InvalidZoo: a file cannot be read.
    """
    digests = {}
    for path in paths:
        try:
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                digests[path.relative_to(folder).as_posix()] = FileDigest(file.tell(), sha256)
        except OSError as error:
            raise InvalidZoo(f"cannot read '{path}' ({error.strerror}). Get the zoo again.") from error
    return digests


def describe_folder(folder: Path, *, recipe: str | None = None) -> Manifest:
    """Make the manifest of the files in a zoo's folder.

    Args:
        folder: holds `dataset/` and `model/`.
        recipe: the default recipe; required if the zoo has several bases.

    Raises:
        InvalidZoo: the zoo has no base, or several and no `recipe` is given, or a file cannot be read.
    """
    model, dataset = folder / "model", folder / "dataset"
    bases = {path.parent.name: path.parent for path in sorted(model.glob("base/*/config.json"))}
    generators = {
        path.parent.name: path.parent for path in sorted(model.glob("weight_generator/*/config.json"))
    }
    if recipe is None and len(bases) == 1:
        recipe = next(iter(bases))
    if recipe not in bases:
        raise InvalidZoo(
            f"zoo '{folder}': expected a base at model/base/{recipe or 'RECIPE'}/config.json, found bases "
            f"{', '.join(bases) or 'none'}. Name one of them, or get the zoo again."
        )
    parts = [*bases.values(), *generators.values(), model / PHRASE_FOLDER]
    model_paths = [path for part in parts for path in _files_below(part)]
    dataset_paths = [dataset / "index.parquet", *_files_below(dataset / "blocks")]
    try:
        return Manifest(
            recipe=recipe,
            bases={name: f"base/{name}" for name in bases},
            generators={name: f"weight_generator/{name}" for name in generators},
            dataset_files=digest_files(dataset, dataset_paths),
            model_files=digest_files(model, model_paths),
        )
    except ValueError as error:
        raise InvalidZoo(f"zoo '{folder}' cannot be described: {error}.") from error


def refresh_manifest(folder: str | os.PathLike[str], *, recipe: str | None = None) -> Manifest:
    """Rewrite `dataset/zoo.json` after a file of the zoo was changed on purpose.

    Args:
        folder: holds `dataset/` and `model/`.
        recipe: the default recipe; by default that of the old manifest.

    Raises:
        InvalidZoo: the folder does not hold a complete zoo.
        OutputError: the manifest cannot be written.
    """
    path = Path(folder) / "dataset" / MANIFEST_FILE
    if recipe is None and path.is_file():
        try:
            recipe = Manifest.from_bytes(read_file(path, max_bytes=MAX_MANIFEST_BYTES)).recipe
        except DamagedFile:
            recipe = None
    manifest = describe_folder(Path(folder), recipe=recipe)
    write_bytes(path, manifest.to_bytes(), force=True)
    return manifest


def refresh_around(generator_folder: Path) -> None:
    """Rewrite the manifest of the zoo that contains a weight generator's folder, if a zoo does."""
    folder = Path(generator_folder).absolute()
    is_inside = len(folder.parts) > 3 and [part.name for part in (folder.parent, folder.parents[1])] == [
        "weight_generator",
        "model",
    ]
    if is_inside and (folder.parents[2] / "dataset" / "index.parquet").is_file():
        refresh_manifest(folder.parents[2])


def check_plain(folder: Path) -> None:
    """Raise if a folder of a zoo has a link, a device or the like below it, which no reader accepts.

    Raises:
        InvalidZoo: it has one.
    """
    _files_below(folder)


def _files_below(folder: Path) -> list[Path]:
    """The plain files below a folder that do not begin with a dot.

    Raises:
        InvalidZoo: the folder has a link, a device or the like.
    """
    files, others = list_files(folder)
    if others:
        path, kind = next(iter(others.items()))
        raise InvalidZoo(not_plain(path, kind))
    return [path for path in files if not path.name.startswith(".")]


def not_plain(path: Path, kind: str) -> str:
    """The problem with a path of a zoo that is a link, a device or the like, in one line."""
    return f"'{path}' is {kind}, and a zoo has plain files alone. Remove it, or copy the file there."


def _check(pattern: re.Pattern[str], text: str, what: str) -> None:
    if not pattern.fullmatch(text):
        raise ValueError(f"{text[:80]!r} cannot be a {what} in a zoo")
