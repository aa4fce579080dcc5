"""Addresses of zoos on the Hub, and the settings of the connection."""

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
    """Settings of the connection to the Hub. None stands for the user's environment.

    Args:
        token: access token, or False for none; by default HF_TOKEN or the token of `hf auth login`.
        endpoint: URL of the Hub; by default HF_ENDPOINT.
        cache_dir: folder of the cache; by default HF_HUB_CACHE.
        local_files_only: never contact the Hub, as HF_HUB_OFFLINE=1 does.
    """

    token: str | bool | None = field(default=None, repr=False)
    endpoint: str | None = None
    cache_dir: str | os.PathLike[str] | None = None
    local_files_only: bool = False


def is_hub_address(name: str) -> bool:
    """Whether a name is the address of a zoo on the Hub: `owner/name` or `owner/name@revision`.

    Example:
        >>> is_hub_address("me/zoo"), is_hub_address("me/zoo@v1"), is_hub_address("./me/zoo")
        (True, True, False)
    """
    match = _ADDRESS.fullmatch(name)
    return match is not None and ".." not in name and "--" not in match[1]


def split_address(name: str) -> tuple[str, str | None]:
    """Split an address into repo and revision.

    Example:
        >>> split_address("me/zoo@v1"), split_address("me/zoo")
        (('me/zoo', 'v1'), ('me/zoo', None))
    """
    repo, _, revision = name.partition("@")
    return repo, revision or None


def is_revision(text: str) -> bool:
    """Whether a revision is a full commit hash, 40 hex digits. A commit never changes."""
    return _REVISION.fullmatch(text) is not None
