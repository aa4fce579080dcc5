"""The files of a zoo on the Hub at one revision, cached and verified."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from initzoo.errors import ChecksumMismatch, InvalidGenerator, InvalidZoo, OutputError
from initzoo.files import one_at_a_time, read_file, write_bytes
from initzoo.generator import PHRASE_FOLDER
from initzoo.networks import GRAPH_FILE
from initzoo.zoo.effects import EFFECTS_FILE
from initzoo.zoo.folder import PlannedFile, base_path, folder_of, has_phrases, model_files
from initzoo.zoo.hub.addresses import HubSettings
from initzoo.zoo.hub.cache import cached_file, claim_repo, lock_path, payload_path
from initzoo.zoo.hub.client import (
    MissingFile,
    check_cache_room,
    check_digest,
    download,
    fetch_range,
    resolve_revision,
)
from initzoo.zoo.index import IndexRow, Part
from initzoo.zoo.manifest import (
    MANIFEST_FILE,
    MAX_MANIFEST_BYTES,
    MAX_SIGNATURE_BYTES,
    SIGNATURE_FILE,
    FileDigest,
    Manifest,
)
from initzoo.zoo.shards import read_range
from initzoo.zoo.verify import VerifyReport, verify_zoo

__all__ = ["HubFiles", "open_hub_zoo"]

_ALWAYS_CHECKED_BYTES = 2**24  # hashing 16 MiB takes some 10 ms, so smaller files are checked on every use
_WHOLE_SHARD_SHARE = 0.5  # above this share, one whole file is faster than many ranges


def open_hub_zoo(repo: str, revision: str | None, settings: HubSettings) -> HubFiles:
    """Open a zoo on the Hub at the commit that its revision resolves to now.

    Raises:
        AccessDenied, HubUnavailable, UnknownZoo: the repo or revision does not exist, or cannot be read.
    """
    return HubFiles(repo, resolve_revision(settings, "dataset", repo, revision), settings)


@dataclass(frozen=True)
class HubFiles:
    """The files of a zoo on the Hub.

    Args:
        repo: dataset repo, `owner/name`.
        revision: revision of that repo, 40 hex digits.
        settings: connection to the Hub.
    """

    repo: str
    revision: str
    settings: HubSettings

    @property
    def name(self) -> str:
        """`owner/name`."""
        return self.repo

    @property
    def address(self) -> str:
        """`owner/name@revision`."""
        return f"{self.repo}@{self.revision}"

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest of the zoo.

        Raises:
            InvalidZoo: the repo is not a zoo, or has a newer format.
        """
        manifests: list[Manifest] = []

        def check(path: Path) -> None:
            manifests.append(Manifest.from_bytes(read_file(path, max_bytes=MAX_MANIFEST_BYTES)))

        try:
            download(
                self.settings,
                "dataset",
                self.repo,
                self.revision,
                MANIFEST_FILE,
                max_bytes=MAX_MANIFEST_BYTES,
                check=check,
                checks_cached=True,
                is_small=True,
            )
        except MissingFile as error:
            raise InvalidZoo(
                f"'{self.repo}' at {self.revision[:7]} is not a zoo: it has no {MANIFEST_FILE}. "
                "Name another repo, or publish a zoo there: initzoo push FOLDER OWNER/NAME"
            ) from error
        return manifests[-1]

    def signed(self) -> tuple[bytes, bytes] | None:
        """The content of the manifest and of its signature; None if the zoo is not signed.

        Raises:
            HubUnavailable, InvalidZoo: one of them cannot be fetched.
        """

        def fetched(name: str, max_bytes: int) -> bytes:
            contents: list[bytes] = []

            def check(path: Path) -> None:
                contents.append(read_file(path, max_bytes=max_bytes))

            download(
                self.settings,
                "dataset",
                self.repo,
                self.revision,
                name,
                max_bytes=max_bytes,
                check=check,
                checks_cached=True,
                is_small=True,
            )
            return contents[-1]

        try:
            return fetched(MANIFEST_FILE, MAX_MANIFEST_BYTES), fetched(SIGNATURE_FILE, MAX_SIGNATURE_BYTES)
        except MissingFile:
            return None

    def index_path(self) -> Path:
        """The index file, fetched if it is not in the cache.

        Raises:
            ChecksumMismatch, HubUnavailable, InvalidZoo: the file cannot be fetched or is damaged.
        """
        return self._dataset_file("index.parquet")

    def base_folder(self, recipe: str) -> Path:
        """The folder of a recipe's base, fetched if it is not in the cache.

        Raises:
            ChecksumMismatch, HubUnavailable, InvalidZoo: the file cannot be fetched or is damaged.
        """
        folder = folder_of(self.manifest.bases, recipe, self.repo)
        self._model_file(f"{folder}/model.safetensors")
        return self._model_file(f"{folder}/config.json").parent

    def graph_file(self, recipe: str) -> Path | None:
        """The graph of a recipe's network, fetched if it is not in the cache; None if the zoo has none.

        Raises:
            ChecksumMismatch, HubUnavailable, InvalidZoo: the file cannot be fetched or is damaged.
        """
        path = base_path(self.manifest, recipe, GRAPH_FILE)
        return None if path is None else self._model_file(path)

    def effects_file(self, recipe: str) -> Path | None:
        """The effects of a recipe's checkpoints, fetched if not in the cache; None if the zoo has none.

        Raises:
            ChecksumMismatch, HubUnavailable, InvalidZoo: the file cannot be fetched or is damaged.
        """
        path = base_path(self.manifest, recipe, EFFECTS_FILE)
        return None if path is None else self._model_file(path)

    def generator_folder(self, recipe: str) -> Path:
        """The folder of a recipe's weight generator, fetched if it is not in the cache.

        Raises:
            InvalidGenerator: the zoo has no weight generator for that recipe.
            ChecksumMismatch, HubUnavailable, InvalidZoo: the file cannot be fetched or is damaged.
        """
        folder = self.manifest.generators.get(recipe)
        if folder is None:
            raise InvalidGenerator(
                f"zoo '{self.repo}' has no weight generator for recipe '{recipe}'. Name another zoo."
            )
        for path in self.manifest.model_files:
            if path.startswith(f"{folder}/"):
                self._model_file(path)
        return self._model_file(f"{folder}/config.json").parent

    def phrase_folder(self) -> Path | None:
        """The folder of the zoo's phrase encoder, fetched if it is not in the cache; None if it has none.

        Raises:
            ChecksumMismatch, HubUnavailable, InvalidZoo: a file cannot be fetched or is damaged.
        """
        if not has_phrases(self.manifest):
            return None
        for path in self.manifest.model_files:
            if path.startswith(f"{PHRASE_FOLDER}/"):
                self._model_file(path)
        return self._model_file(f"{PHRASE_FOLDER}/config.json").parent

    def payload(self, row: IndexRow, *, with_detail: bool = False) -> bytes:
        """The bytes of a checkpoint: from the cache, alone or in a whole shard, else fetched by range.

        Blocks and detail are adjacent, so one request fetches both. Each has a file of its own in the cache.

        Raises:
            ChecksumMismatch: the bytes do not match the digests in the index, twice.
            HubUnavailable, InvalidZoo: the bytes cannot be fetched.
        """
        parts = row.parts(with_detail=with_detail)
        data = [self._cached_part(row, part) for part in parts]
        if None in data:
            with one_at_a_time(lock_path(self.settings, self.repo, row.sha256)):
                # Another process may have fetched them meanwhile.
                data = [self._cached_part(row, part) for part in parts]
                missing = [part for part, known in zip(parts, data, strict=True) if known is None]
                fetched = dict(zip(missing, self._fetch(row, missing), strict=True)) if missing else {}
            data = [fetched.get(part, known) for part, known in zip(parts, data, strict=True)]
        return b"".join(part for part in data if part is not None)

    def _fetch(self, row: IndexRow, parts: Sequence[Part]) -> list[bytes]:
        """Fetch adjacent parts of a shard, twice if they are damaged, and put them into the cache."""
        claim_repo(self.settings, "dataset", self.repo)
        paths = [self._path_of(part) for part in parts]
        for path in paths:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(
                    f"cannot write to the cache at {path.parent} ({error.strerror}). "
                    "Name another with HF_HUB_CACHE"
                ) from error
        unfinished, start = paths[0].with_suffix(".part"), parts[0].start
        wrong: tuple[str, str] = ("", "")
        for _ in range(2):
            fetch_range(
                self.settings,
                self.repo,
                self.revision,
                row.shard,
                start=start,
                end=parts[-1].end,
                part=unfinished,
            )
            whole = unfinished.read_bytes()
            data = [whole[part.start - start : part.end - start] for part in parts]
            digests = [
                (part.sha256, hashlib.sha256(one).hexdigest()) for part, one in zip(parts, data, strict=True)
            ]
            if all(expected == found for expected, found in digests):
                for path, one in zip(paths, data, strict=True):
                    write_bytes(path, one, force=True)
                unfinished.unlink()
                return data
            wrong = next(pair for pair in digests if pair[0] != pair[1])
            unfinished.unlink()
        raise ChecksumMismatch(
            f"zoo '{self.repo}' at {self.revision[:7]}, concept '{row.concept_id}': expected sha256 "
            f"{wrong[0]}, found {wrong[1]}, twice. Try again later, or tell its publisher"
        )

    def payloads(self, rows: Iterable[IndexRow]) -> Iterator[bytes]:
        """The bytes of the blocks of several checkpoints, in the order of `rows`.

        A shard is fetched whole if more than half of it is needed.

        Raises:
            ChecksumMismatch, HubUnavailable, InvalidZoo: as for `payload`.
        """
        chosen = list(rows)
        wanted: dict[str, int] = {}
        for row in chosen:
            wanted[row.shard] = wanted.get(row.shard, 0) + row.byte_end - row.byte_start
        for row in chosen:
            if wanted[row.shard] > _WHOLE_SHARD_SHARE * self._shard(row).n_bytes:
                self._dataset_file(row.shard)
            yield self.payload(row)

    def verify(self) -> VerifyReport:
        """Fetch missing files, then read and check every byte of the zoo.

        Raises:
            ChecksumMismatch, HubUnavailable, InvalidZoo: a file cannot be fetched or is damaged.
        """
        checked = replace(self)
        for path in checked.manifest.dataset_files:
            checked._dataset_file(path, checks_cached=True)
        for path in checked.manifest.model_files:
            checked._model_file(path, checks_cached=True)
        manifest = checked.manifest
        config = f"{manifest.bases[manifest.recipe]}/config.json"
        model = checked._model_file(config).parents[len(Path(config).parts) - 1]
        return verify_zoo(checked.index_path().parent, model, manifest, self.address)

    def plan(self, row: IndexRow | None, *, recipe: str, with_base: bool) -> list[PlannedFile]:
        """The files and byte ranges that a pull reads; `row` is None for generated weights."""
        manifest = self.manifest
        files = [
            ("dataset", self.repo, self.revision, "index.parquet", manifest.dataset_files["index.parquet"])
        ]
        files += [
            ("model", *self._model_repo, path, file)
            for path, file in model_files(manifest, row, recipe, with_base)
        ]
        planned = []
        for kind, repo, revision, path, file in files:
            is_cached = cached_file(self.settings, kind, repo, revision, path) is not None
            planned.append(PlannedFile(repo, path, file.n_bytes, is_cached))
        if row is not None:
            parts = row.parts(with_detail=with_base)
            is_cached = all(self._cached_part(row, part) is not None for part in parts)
            n_bytes = parts[-1].end - parts[0].start
            planned.append(PlannedFile(self.repo, row.shard, n_bytes, is_cached))
        return planned

    def _cached_part(self, row: IndexRow, part: Part) -> bytes | None:
        """The bytes of a part of a checkpoint if they are cached."""
        path = self._path_of(part)
        try:
            is_whole = path.stat().st_size == part.end - part.start
            data = path.read_bytes() if is_whole else b""
        except OSError:
            data = b""
        if hashlib.sha256(data).hexdigest() == part.sha256:
            return data  # a damaged copy stays until sound bytes replace it
        shard = self._shard(row)
        if not 0 <= part.start < part.end <= shard.n_bytes:
            raise InvalidZoo(
                f"zoo '{self.repo}' at {self.revision[:7]}, concept '{row.concept_id}': the index points "
                f"to bytes {part.start} to {part.end} of {row.shard}, which has {shard.n_bytes}. "
                "Tell its publisher"
            )
        whole = cached_file(self.settings, "dataset", self.repo, self.revision, row.shard)
        if whole is not None:
            data = read_range(whole, part.start, part.end)
            if hashlib.sha256(data).hexdigest() == part.sha256:
                return data
        return None

    def _path_of(self, part: Part) -> Path:
        """Where the cache keeps a part that was fetched alone."""
        path = payload_path(self.settings, self.repo, part.sha256)
        return path.with_suffix(".detail") if part.is_detail else path

    @property
    def _model_repo(self) -> tuple[str, str]:
        """The model repo and its revision.

        Raises:
            InvalidZoo: the manifest does not name them, like the manifest of a folder.
        """
        repo, revision = self.manifest.model_repo, self.manifest.model_revision
        if repo is None or revision is None:
            raise InvalidZoo(
                f"zoo '{self.repo}' at {self.revision[:7]}: {MANIFEST_FILE} names no model repo. Publish it "
                "with: initzoo push FOLDER OWNER/NAME"
            )
        return repo, revision

    def _shard(self, row: IndexRow) -> FileDigest:
        if row.shard not in self.manifest.dataset_files:
            raise InvalidZoo(
                f"zoo '{self.repo}' at {self.revision[:7]}, concept '{row.concept_id}': {MANIFEST_FILE} "
                f"does not list '{row.shard}'. Tell its publisher"
            )
        return self.manifest.dataset_files[row.shard]

    def _dataset_file(self, path: str, *, checks_cached: bool = False) -> Path:
        want = self.manifest.dataset_files[path]
        return self._file("dataset", self.repo, self.revision, path, want, checks_cached=checks_cached)

    def _model_file(self, path: str, *, checks_cached: bool = False) -> Path:
        manifest = self.manifest
        want = manifest.model_files.get(path)
        if want is None:
            raise InvalidZoo(
                f"zoo '{self.repo}' at {self.revision[:7]}: {MANIFEST_FILE} does not list '{path}'."
            )
        repo, revision = self._model_repo
        return self._file("model", repo, revision, path, want, checks_cached=checks_cached)

    def _file(
        self, kind: str, repo: str, revision: str, path: str, want: FileDigest, *, checks_cached: bool
    ) -> Path:
        what = f"zoo '{self.repo}' at {self.revision[:7]}, file '{path}'"
        if cached_file(self.settings, kind, repo, revision, path) is None:
            check_cache_room(self.settings, want.n_bytes, what)
        return download(
            self.settings,
            kind,
            repo,
            revision,
            path,
            max_bytes=want.n_bytes,
            check=partial(check_digest, want=want, what=what),
            checks_cached=checks_cached or want.n_bytes <= _ALWAYS_CHECKED_BYTES,
        )
