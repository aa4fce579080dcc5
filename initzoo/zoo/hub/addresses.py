"""How a zoo on the Hub is named, and how it is reached."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

__all__ = ["HubSettings", "is_hub_address", "is_revision", "split_address"]

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_ADDRESS = re.compile(rf"({_PART}/{_PART})(?:@([A-Za-z0-9][A-Za-z0-9._/-]{{0,199}}))?")
_REVISION = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubSettings:
    """How the Hub is reached; None means what the user has set for all programs.

    Args:
        token: access token; False for none, else HF_TOKEN, or the one of `hf auth login`.
        endpoint: address of the Hub; else HF_ENDPOINT.
        cache_dir: folder of the cache; else HF_HUB_CACHE.
        local_files_only: never ask the Hub, as with HF_HUB_OFFLINE=1.
    """

    token: str | bool | None = field(default=None, repr=False)
    endpoint: str | None = None
    cache_dir: str | os.PathLike[str] | None = None
    local_files_only: bool = False


def is_hub_address(name: str) -> bool:
    """Whether a name can be a zoo on the Hub: `owner/name` or `owner/name@revision`.

    Example:
        >>> is_hub_address("me/zoo"), is_hub_address("me/zoo@v1"), is_hub_address("./me/zoo")
        (True, True, False)
    """
    match = _ADDRESS.fullmatch(name)
    return match is not None and ".." not in name and "--" not in match[1]


def split_address(name: str) -> tuple[str, str | None]:
    """The repo and the revision of an address.

    Example:
        >>> split_address("me/zoo@v1"), split_address("me/zoo")
        (('me/zoo', 'v1'), ('me/zoo', None))
    """
    repo, _, revision = name.partition("@")
    return repo, revision or None


def is_revision(text: str) -> bool:
    """Whether a revision is a commit: 40 hex digits, which never move."""
    return _REVISION.fullmatch(text) is not None
