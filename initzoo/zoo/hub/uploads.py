"""Publishing to a repo on the Hub: compare local files with the repo, then upload in one commit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from initzoo.errors import HubUnavailable, PublishRefused
from initzoo.zoo.hub.addresses import HubSettings, without_secrets
from initzoo.zoo.hub.client import hub_call, make_api

__all__ = ["RepoState", "Upload", "commit", "look_at_repo", "set_tag"]

Content = Path | bytes
"""A file to publish, as its path or its bytes."""


@dataclass(frozen=True)
class RepoState:
    """The content of a repo.

    Args:
        kind: `dataset` or `model`.
        repo: `owner/name`.
        head: revision of its main branch, 40 hex digits.
        is_private: whether the repo is private.
        files: path -> SHA-256 of a file in LFS, or `git:` and the blob id of a small file.
        tags: tag -> revision.
    """

    kind: str
    repo: str
    head: str
    is_private: bool
    files: Mapping[str, str]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Upload:
    """The difference between local files and a repo.

    Args:
        changed: files to upload, by path in the repo.
        removed: paths to remove from the repo.
        n_bytes: total size of `changed`.
        n_unchanged: number of files that the repo has already.
    """

    changed: Mapping[str, Content]
    removed: Sequence[str]
    n_bytes: int
    n_unchanged: int

    @classmethod
    def between(cls, state: RepoState, files: Mapping[str, Content], owned: Sequence[str]) -> Upload:
        """Compare files with a repo.

        Args:
            state: content of the repo.
            files: desired content, by path.
            owned: path prefixes; files under them are removed if `files` lacks them.
        """
        changed = {path: content for path, content in files.items() if not _is_there(state, path, content)}
        removed = [path for path in state.files if path.startswith(tuple(owned)) and path not in files]
        n_bytes = sum(len(c) if isinstance(c, bytes) else c.stat().st_size for c in changed.values())
        return cls(changed, removed, n_bytes, len(files) - len(changed))

    @property
    def is_empty(self) -> bool:
        """Whether the repo needs no change."""
        return not self.changed and not self.removed


def look_at_repo(settings: HubSettings, kind: str, repo: str, *, private: bool) -> RepoState:
    """Create a repo if it is missing, and list its content.

    Raises:
        PublishRefused: `private` is given and the repo is public.
        AccessDenied, HubUnavailable, UnknownZoo: the repo cannot be created or read.
    """
    api = make_api(settings)
    what = f"{kind} repo '{repo}'"
    with hub_call(what):
        # `private` applies to new repos only; an existing repo keeps its visibility.
        api.create_repo(repo, repo_type=kind, private=private or None, exist_ok=True)
        info = api.repo_info(repo, repo_type=kind)
        refs = api.list_repo_refs(repo, repo_type=kind)
        entries = list(api.list_repo_tree(repo, repo_type=kind, revision=info.sha, recursive=True))
    if private and not info.private:
        raise PublishRefused(
            f"{what} is public already. Make it private in its settings first, or leave out --private"
        )
    files = {
        entry.path: entry.lfs.sha256 if entry.lfs is not None else f"git:{entry.blob_id}"
        for entry in entries
        if hasattr(entry, "blob_id")
    }
    tags = {ref.name: ref.target_commit for ref in refs.tags}
    return RepoState(kind, repo, info.sha, bool(info.private), files, tags)


def commit(settings: HubSettings, state: RepoState, upload: Upload, message: str) -> str:
    """Upload the changes as one commit. Readers see all of them or none.

    Returns:
        The new revision, 40 hex digits; the old one if nothing changed.

    Raises:
        PublishRefused: somebody else has published since `state` was read.
        AccessDenied, HubUnavailable: the Hub refuses the commit or does not answer.
    """
    if upload.is_empty:
        return state.head
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.errors import HfHubHTTPError

    operations: list[Any] = [CommitOperationDelete(path_in_repo=path) for path in upload.removed]
    operations += [
        CommitOperationAdd(
            path_in_repo=path, path_or_fileobj=content if isinstance(content, bytes) else str(content)
        )
        for path, content in upload.changed.items()
    ]
    what = f"{state.kind} repo '{state.repo}'"
    with hub_call(what):
        try:
            made = make_api(settings).create_commit(
                state.repo,
                operations,
                commit_message=message,
                repo_type=state.kind,
                parent_commit=state.head,
            )
        except HfHubHTTPError as error:
            if error.response.status_code in (409, 412):
                raise PublishRefused(
                    f"{what}: somebody else published to it meanwhile. Push again"
                ) from error
            raise
        except RuntimeError as error:  # raised by the client for a failed upload of a file
            if error.__cause__ is None:
                raise
            reason = without_secrets(str(error.__cause__).strip().splitlines()[0])[:200]
            raise HubUnavailable(
                f"{what}: an upload failed ({reason}). Push again: uploaded files are not sent twice"
            ) from error
    revision: str = made.oid
    return revision


def set_tag(settings: HubSettings, state: RepoState, tag: str, revision: str) -> None:
    """Tag a revision. Does nothing if the tag names it already.

    Raises:
        PublishRefused: the tag names another revision.
        AccessDenied, HubUnavailable: the Hub refuses the tag or does not answer.
    """
    if state.tags.get(tag, revision) != revision:
        raise PublishRefused(
            f"{state.kind} repo '{state.repo}': tag '{tag}' names revision {state.tags[tag][:7]}, and tags "
            "do not move. Choose another tag"
        )
    if tag not in state.tags:
        with hub_call(f"{state.kind} repo '{state.repo}', tag '{tag}'"):
            make_api(settings).create_tag(state.repo, tag=tag, revision=revision, repo_type=state.kind)


def _is_there(state: RepoState, path: str, content: Content) -> bool:
    digest = state.files.get(path)
    if digest is None:
        return False
    data = content if isinstance(content, bytes) else content.read_bytes()
    if digest.startswith("git:"):
        # The blob id of git.
        return (
            digest
            == "git:" + hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        )
    return digest == hashlib.sha256(data).hexdigest()
