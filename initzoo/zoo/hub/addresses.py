"""Addresses of zoos on the Hub, and the settings of the connection."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from initzoo.errors import AccessDenied, HubUnavailable

__all__ = [
    "HubSettings",
    "check_token",
    "is_hub_address",
    "is_revision",
    "split_address",
    "start_of_commit",
    "without_secrets",
]

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_ADDRESS = re.compile(rf"({_PART}/{_PART})(?:@([A-Za-z0-9][A-Za-z0-9._/-]{{0,199}}))?")
_REVISION = re.compile(r"[0-9a-f]{40}")
_ABBREVIATED = re.compile(r"[0-9A-Fa-f]{7,40}")


@dataclass(frozen=True)
class HubSettings:
    """Settings of the connection to the Hub. None stands for the user's environment.

    White space around a token is removed, since a token read from a file ends with a line break. So is the
    slash at the end of an endpoint. A blank token or endpoint counts as None.

    Args:
        token: access token, or False for none; by default HF_TOKEN or the token of `hf auth login`.
        endpoint: URL of the Hub; by default HF_ENDPOINT.
        cache_dir: folder of the cache; by default HF_HUB_CACHE.
        local_files_only: never contact the Hub, as HF_HUB_OFFLINE=1 does.

    Raises:
        AccessDenied: the token has invalid characters; the message does not repeat the token.
        HubUnavailable: the endpoint is not an http or https URL.

    Example:
        >>> HubSettings(endpoint="https://hub.example/").endpoint
        'https://hub.example'
        >>> HubSettings(token="hf_abc" + chr(10)).token
        'hf_abc'
    """

    token: str | bool | None = field(default=None, repr=False)
    endpoint: str | None = None
    cache_dir: str | os.PathLike[str] | None = None
    local_files_only: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.token, str):
            object.__setattr__(self, "token", self.token.strip() or None)
            check_token(self.token)
        if self.endpoint is not None:
            object.__setattr__(self, "endpoint", self.endpoint.strip().rstrip("/") or None)
            _check_endpoint(self.endpoint)


def check_token(token: str | bool | None) -> None:
    """Raise if a token cannot be sent in a header. The HTTP client would print it.

    Raises:
        AccessDenied: the token has blanks, control characters or letters that are not ASCII.

    Example:
        >>> check_token("hf_abc def")
        Traceback (most recent call last):
            ...
        initzoo.errors.AccessDenied: the token for the Hub has blanks, line breaks or letters that ...
    """
    if isinstance(token, str) and not all("!" <= letter <= "~" for letter in token):
        raise AccessDenied(
            "the token for the Hub has blanks, line breaks or letters that are not ASCII. "
            "Copy it again from the settings of your account"
        )


def _check_endpoint(endpoint: str | None) -> None:
    if endpoint is None:
        return
    try:
        parts = urlsplit(endpoint)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is not a number, or half of an IPv6 address
        is_address = False
    if not is_address:
        raise HubUnavailable(
            f"the endpoint {without_secrets(endpoint)[:200]!r} is not an address. "
            "Name one such as https://hub.example or http://127.0.0.1:8080"
        )


def without_secrets(text: str) -> str:
    """A text for messages: tokens and the user part of URLs are masked.

    Example:
        >>> without_secrets("Bearer hf_abc via http://me:secret@proxy:3128")
        'Bearer *** via http://***@proxy:3128'
    """
    text = re.sub(r"(?i)\b(bearer) +[^\s'\",)]+", r"\1 ***", text)
    text = re.sub(r"hf_[A-Za-z0-9]+", "hf_***", text)
    return re.sub(r"//[^/\s]*@", "//***@", text)


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


def start_of_commit(name: str) -> str:
    """The digits that the commit of a revision has to begin with; none for the name of a branch or tag.

    An abbreviated commit is resolved by the server, which may answer with any other one.

    Example:
        >>> start_of_commit("3f2a91c"), start_of_commit("v1")
        ('3f2a91c', '')
    """
    return name.lower() if _ABBREVIATED.fullmatch(name) else ""
