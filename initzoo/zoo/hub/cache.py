"""Where things lie in the Hub's cache: whole files as its client lays them, checkpoints beside them.

Of huggingface_hub only its constants are imported here: what is cached is found without
the client, whose import takes a third of a second.

    <cache>/datasets--owner--name/
        refs/main               revision that a branch or tag had
        snapshots/<revision>/   links to whole files
        payloads/<ab>/<sha256>  bytes of one checkpoint, named by their digest
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from initzoo.zoo.hub.addresses import HubSettings, is_revision
from initzoo.zoo.manifest import MANIFEST_FILE

__all__ = [
    "CachedZoo",
    "cached_file",
    "cached_revision",
    "cached_zoos",
    "forget_file",
    "is_offline",
    "lock_path",
    "lookup_folder",
    "payload_path",
    "repo_folder",
]


@dataclass(frozen=True)
class CachedZoo:
    """A zoo in the cache.

    Args:
        repo: `owner/name`.
        revision: 40 hex digits.
        names: branches and tags that had this revision when the Hub was last asked.
        n_bytes: bytes of its files in the cache.
        n_payloads: checkpoints in the cache that came alone; they may be of another revision.
    """

    repo: str
    revision: str
    names: tuple[str, ...]
    n_bytes: int
    n_payloads: int


def is_offline(settings: HubSettings) -> bool:
    """Whether the Hub may not be asked."""
    return settings.local_files_only or constants.is_offline_mode()


def repo_folder(settings: HubSettings, kind: str, repo: str) -> Path:
    """The folder of a repo in the cache; `kind` is `dataset` or `model`."""
    cache = Path(settings.cache_dir or constants.HF_HUB_CACHE).expanduser()
    return cache / f"{kind}s--{repo.replace('/', '--')}"


def cached_file(settings: HubSettings, kind: str, repo: str, revision: str, path: str) -> Path | None:
    """A whole file in the cache, or None."""
    pointer = repo_folder(settings, kind, repo).joinpath("snapshots", revision, *path.split("/"))
    return pointer if pointer.is_file() else None


def cached_revision(settings: HubSettings, kind: str, repo: str, name: str) -> str | None:
    """The revision that a branch or tag had when the Hub was last asked, or None."""
    path = repo_folder(settings, kind, repo).joinpath("refs", *name.split("/"))
    try:
        revision = path.read_text("ascii", errors="replace").strip()
    except OSError:
        return None
    return revision if is_revision(revision) else None


def payload_path(settings: HubSettings, repo: str, sha256: str) -> Path:
    """Where the bytes of a checkpoint are kept, by their digest."""
    return repo_folder(settings, "dataset", repo) / "payloads" / sha256[:2] / sha256


def lock_path(settings: HubSettings, repo: str, sha256: str) -> Path:
    """The lock of whoever fetches a checkpoint, where the Hub's client has its own."""
    folder = repo_folder(settings, "dataset", repo)
    return folder.parent / ".locks" / folder.name / f"{sha256}.lock"


def forget_file(pointer: Path) -> None:
    """Remove a damaged file from the cache: the link of the revision, and what it points to."""
    target = Path(os.path.realpath(pointer))
    pointer.unlink(missing_ok=True)
    target.unlink(missing_ok=True)


def lookup_folder() -> Path:
    """Where lookups of large indexes are kept: the cache's place for what libraries derive."""
    return Path(constants.HF_ASSETS_CACHE) / "initzoo" / "lookups"


def cached_zoos(settings: HubSettings) -> list[CachedZoo]:
    """The zoos in the cache, every revision of them, by repo."""
    cache = Path(settings.cache_dir or constants.HF_HUB_CACHE).expanduser()
    zoos = []
    for folder in sorted(cache.glob("datasets--*--*")):
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
                        if path.read_text(errors="replace").strip() == snapshot.name
                    ),
                    n_bytes=sum(path.stat().st_size for path in snapshot.rglob("*") if path.is_file()),
                    n_payloads=n_payloads,
                )
            )
    return zoos
