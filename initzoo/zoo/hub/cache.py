"""Paths in the Hub's cache: whole files in the client's own layout, single checkpoints beside them.

Only the constants of huggingface_hub are imported here, so that cached files are found without
importing the client, which takes a third of a second.

    <cache>/datasets--owner--name/
        refs/main               last known revision of a branch or tag
        snapshots/<revision>/   links to whole files
        payloads/<ab>/<sha256>  bytes of one checkpoint, named by their digest: shared by all revisions
        initzoo-server          endpoint that all this came from, if initzoo made the folder
        servers/<digest>/       a cache of its own for each other endpoint

Nothing ties a manifest to its commit but the word of the server, so the files of one server are never taken
for those of another: a mirror cannot decide what a later pull from the Hub finds in the cache.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import constants

from initzoo.errors import InvalidZoo, UnknownZoo
from initzoo.files import path_within, reported_as
from initzoo.zoo.hub.addresses import HubSettings, is_revision
from initzoo.zoo.manifest import MANIFEST_FILE

__all__ = [
    "CachedZoo",
    "cache_folder",
    "cached_file",
    "cached_revision",
    "cached_zoos",
    "claim_repo",
    "forget_file",
    "is_offline",
    "lock_path",
    "lookup_folder",
    "payload_path",
    "ref_path",
    "replace_blob",
    "repo_cache",
    "repo_folder",
    "sha256_of",
]


_SERVER_FILE = "initzoo-server"
_PUBLIC_HUB = "https://huggingface.co"


@dataclass(frozen=True)
class CachedZoo:
    """A zoo in the cache.

    Args:
        repo: `owner/name`.
        revision: 40 hex digits.
        names: branches and tags that last resolved to this revision.
        n_bytes: total size of its cached files.
        n_payloads: number of checkpoints cached one by one, of any revision.
    """

    repo: str
    revision: str
    names: tuple[str, ...]
    n_bytes: int
    n_payloads: int


def is_offline(settings: HubSettings) -> bool:
    """Whether contacting the Hub is forbidden."""
    return settings.local_files_only or constants.is_offline_mode()


def cache_folder(settings: HubSettings) -> Path:
    """The folder of the cache."""
    return Path(settings.cache_dir or constants.HF_HUB_CACHE).expanduser()


def repo_folder(settings: HubSettings, kind: str, repo: str) -> Path:
    """The folder of a repo in the cache; `kind` is `dataset` or `model`."""
    return repo_cache(settings, kind, repo) / _folder_name(kind, repo)


def repo_cache(settings: HubSettings, kind: str, repo: str) -> Path:
    """The cache for a repo at one endpoint: the user's, or one of its own if that has it from elsewhere.

    While the Hub is off, a repo that is cached from another endpoint alone is the one that is meant.
    """
    root, server = cache_folder(settings), _server(settings)
    folder = root / _folder_name(kind, repo)
    if _server_of(folder) in (None, server):
        return root
    apart = folder / "servers" / hashlib.sha256(server.encode()).hexdigest()[:16]
    return root if is_offline(settings) and not apart.exists() else apart


def claim_repo(settings: HubSettings, kind: str, repo: str) -> None:
    """Write down which endpoint the folder of a repo belongs to, before the first file comes into it."""
    root = cache_folder(settings)
    folder = root / _folder_name(kind, repo)
    if _server_of(folder) is not None:
        return
    # It appears with its note at once, so that two processes with two endpoints cannot share it.
    made = root / ".locks" / f"initzoo-{uuid.uuid4().hex}"
    with suppress(OSError):  # another process was first, or the write that follows tells what is wrong
        made.mkdir(parents=True)
        (made / _SERVER_FILE).write_text(_server(settings), "utf-8")
        made.rename(folder)
    shutil.rmtree(made, ignore_errors=True)


def _folder_name(kind: str, repo: str) -> str:
    return f"{kind}s--{repo.replace('/', '--')}"


def _server(settings: HubSettings) -> str:
    """The endpoint, without user, password and the differences that are none."""
    parts = urlsplit(settings.endpoint or constants.ENDPOINT)
    place = parts.netloc.rpartition("@")[2].lower()
    return f"{parts.scheme.lower()}://{place}{parts.path.rstrip('/')}"


def _server_of(folder: Path) -> str | None:
    """The endpoint that the folder of a repo belongs to; None if there is no folder."""
    try:
        return (folder / _SERVER_FILE).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        pass
    try:
        is_there = any(folder.iterdir())
    except OSError:
        is_there = False
    return _PUBLIC_HUB if is_there else None  # made by another program


def cached_file(settings: HubSettings, kind: str, repo: str, revision: str, path: str) -> Path | None:
    """The path of a cached file, or None."""
    with reported_as(InvalidZoo, f"zoo '{repo}'", "Tell its publisher"):
        pointer = path_within(repo_folder(settings, kind, repo), f"snapshots/{revision}/{path}")
    return pointer if pointer.is_file() else None


def cached_revision(settings: HubSettings, kind: str, repo: str, name: str) -> str | None:
    """The revision that a branch or tag last resolved to, or None."""
    path = ref_path(settings, kind, repo, name)
    try:
        revision = path.read_text("ascii", errors="replace").strip()
    except OSError:
        return None
    return revision if is_revision(revision) else None


def ref_path(settings: HubSettings, kind: str, repo: str, name: str) -> Path:
    """The file with the revision that a branch or tag last resolved to.

    Raises:
        UnknownZoo: the name cannot be that of a branch or tag.
    """
    with reported_as(UnknownZoo, f"zoo '{repo}', revision {name[:80]!r}", "Name a branch, tag or commit"):
        return path_within(repo_folder(settings, kind, repo) / "refs", name)


def payload_path(settings: HubSettings, repo: str, sha256: str) -> Path:
    """The path at which the bytes of a checkpoint are cached."""
    with reported_as(InvalidZoo, f"zoo '{repo}'", "Tell its publisher"):
        return path_within(repo_folder(settings, "dataset", repo), f"payloads/{sha256[:2]}/{sha256}")


def lock_path(settings: HubSettings, repo: str, sha256: str) -> Path:
    """The lock for fetching a checkpoint, in the folder of the client's own locks."""
    folder = repo_folder(settings, "dataset", repo)
    with reported_as(InvalidZoo, f"zoo '{repo}'", "Tell its publisher"):
        return path_within(folder.parent / ".locks" / folder.name, f"{sha256}.lock")


def forget_file(pointer: Path) -> None:
    """Remove a damaged file that was just downloaded from the cache: the link and its target."""
    target = Path(os.path.realpath(pointer))
    pointer.unlink(missing_ok=True)
    target.unlink(missing_ok=True)


def replace_blob(blob: Path, sound: Path) -> bool:
    """Move sound bytes into the place of a cached file, if its name says that it should have them.

    The client names files after their ETag, which is the digest of LFS or of git. Any other file stays: its
    bytes may be right for the program that cached it.

    Returns:
        Whether the file was replaced.
    """
    data = Path(os.path.realpath(sound))
    if blob.parent.name != "blobs" or blob.name not in (sha256_of(data), _git_digest(data)):
        return False
    os.replace(data, blob)
    return True


def sha256_of(path: Path) -> str:
    """The digest of a file, which is read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git_digest(path: Path) -> str:
    """The name that git gives to the content of a file."""
    start = b"blob %d\0" % path.stat().st_size
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.sha1(start, usedforsecurity=False)).hexdigest()


def lookup_folder() -> Path:
    """The folder for lookups of indexes, in the cache for derived assets."""
    return Path(constants.HF_ASSETS_CACHE) / "initzoo" / "lookups"


def cached_zoos(settings: HubSettings) -> list[CachedZoo]:
    """List the cached zoos, each revision, sorted by repo."""
    cache = cache_folder(settings)
    zoos = []
    folders = [*cache.glob("datasets--*--*"), *cache.glob("datasets--*--*/servers/*/datasets--*--*")]
    for folder in sorted(folders):
        repo = folder.name.removeprefix("datasets--").replace("--", "/")
        refs = folder / "refs"
        names = {path.relative_to(refs).as_posix(): path for path in refs.rglob("*") if path.is_file()}
        n_payloads = sum(1 for path in folder.glob("payloads/??/*") if len(path.name) == 64)
        for snapshot in sorted(folder.glob("snapshots/*")):
            if not (snapshot / MANIFEST_FILE).is_file():
                continue
            zoos.append(
                CachedZoo(
                    repo=repo,
                    revision=snapshot.name,
                    names=tuple(
                        name
                        for name, path in sorted(names.items())
                        if path.read_text("ascii", errors="replace").strip() == snapshot.name
                    ),
                    n_bytes=sum(path.stat().st_size for path in snapshot.rglob("*") if path.is_file()),
                    n_payloads=n_payloads,
                )
            )
    return zoos
