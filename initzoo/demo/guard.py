"""Middleware that refuses requests the page never makes, before anything is read or fetched."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from initzoo.demo.calls import ENDPOINTS, UnknownEndpoint, check_call, complete_call
from initzoo.demo.quota import Quota
from initzoo.demo.turns import RETRY_SECONDS
from initzoo.demo.uploads import MAX_UPLOAD_BYTES
from initzoo.errors import InitzooError

__all__ = ["MAX_BODY_BYTES", "Guard"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY_BYTES = 64_000
"""Maximum size of a request other than an upload; words and numbers need a fraction of it."""

_PREFIX = "/gradio_api"
_UNUSED = (
    *("proxy=", "runs", "run-history", "process_recording", "component_server", "custom_component"),
    *("stream/", "vibe-edit", "vibe-code", "undo-vibe-edit", "dev/", "deep_link"),
)
_UNUSED_AT_ROOT = ("/monitoring", "/custom_component")
_UPLOADS = (f"{_PREFIX}/upload", "/photo")
_CALLS = (f"{_PREFIX}/call/v2/", f"{_PREFIX}/call/", f"{_PREFIX}/run/", f"{_PREFIX}/api/")
_JOIN = f"{_PREFIX}/queue/join"
_FORM_HEADERS = 8_000
_HOURLY_BYTES = 25 * MAX_UPLOAD_BYTES
_MAX_DEPTH = 20
_FILE = b'; filename="'
_MAX_FILES = 40
"""Files of one form: both sides of twenty pairs. Each takes a folder, however small it is."""


class Guard:
    """ASGI middleware that passes only the requests that the page and its endpoints need.

    It refuses routes that fetch URLs for a visitor, files named by a URL, bodies that are too large, more
    uploads than a quota, and JSON that names a file other than an upload or is nested too deeply. Calls of
    the endpoints are checked here, so that a refusal waits for nothing. A full server says when to come back.

    Args:
        app: the wrapped application.
        folder: folder of the uploads.
        quota: the quota on uploads.
    """

    def __init__(self, app: App, folder: str, quota: Quota | None = None) -> None:
        self.app = app
        self.folder = folder
        self.quota = quota or Quota(max_bytes=_HOURLY_BYTES, max_total=10 * _HOURLY_BYTES, seconds=3600)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request or pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        send = _with_headers(send)
        path = _plain_path(scope)
        if refusal := _refused_path(path):
            await _answer(send, *refusal)
            return
        if scope["method"] not in ("POST", "PUT", "PATCH"):
            await self.app(scope, receive, send)
            return
        length = _content_length(scope)
        if path.rstrip("/") in _UPLOADS:
            await self._take_upload(length, scope, receive, send)
            return
        body = b"" if length is not None and length > MAX_BODY_BYTES else await _read(receive)
        if body is None:  # the client left
            return
        n_bytes = max(length or 0, len(body))
        if n_bytes > MAX_BODY_BYTES:
            await _answer(send, 413, _too_large(n_bytes, MAX_BODY_BYTES))
            return
        if refusal := _refused_body(body, self.folder):
            await _answer(send, *refusal)
            return
        try:
            body = _checked_call(path, body, Path(self.folder))
        except InitzooError as error:
            await _answer(send, 404 if isinstance(error, UnknownEndpoint) else 400, str(error))
            return
        await self.app(_with_length(scope, len(body)), _replay(body, receive), send)

    async def _take_upload(self, length: int | None, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an upload on, up to the limit. The server limits each file but not their sum."""
        most = MAX_UPLOAD_BYTES + _FORM_HEADERS
        if length is not None and length > most:  # refused without reading the body
            await _answer(send, 413, _too_large(length, MAX_UPLOAD_BYTES))
            return
        # An upload that says nothing of its size counts as a large one.
        seconds = self.quota.wait_of(_client(scope), MAX_UPLOAD_BYTES if length is None else length)
        if seconds:
            detail = f"you have sent many photos. Try again in {-(-seconds // 60)} minutes"
            await _answer(send, 429, detail, retry_after=seconds)
            return
        n_bytes = n_files = 0
        end = b""

        async def counted() -> Message:
            nonlocal n_bytes, n_files, end
            message = await receive()
            body = message.get("body", b"")
            n_bytes += len(body)
            n_files += (end + body).count(_FILE)
            end = (end + body)[-len(_FILE) + 1 :]  # the mark of a file may lie across two messages
            if n_bytes > most or n_files > _MAX_FILES:
                raise _TooMuch
            return message

        try:
            await self.app(scope, counted, send)
        except _TooMuch:
            text = f"at most {_MAX_FILES} files at a time" if n_files > _MAX_FILES else None
            await _answer(send, 413, text or _too_large(n_bytes, MAX_UPLOAD_BYTES))


class _TooMuch(Exception):
    """An upload exceeds the limit."""


def _plain_path(scope: Scope) -> str:
    """The path as a router may see it: decoded twice, with forward slashes."""
    path = unquote(str(scope["path"])).replace("\\", "/")
    root = str(scope.get("root_path") or "")
    return path.removeprefix(root) if root else path


def _refused_path(path: str) -> tuple[int, str] | None:
    lower = path.lower()
    inside = lower.removeprefix(f"{_PREFIX}/")
    if inside == lower:
        is_unused = lower.startswith(_UNUSED_AT_ROOT)
        return (404, "there is nothing at this address") if is_unused else None
    if inside.startswith(_UNUSED):
        return 404, "there is nothing at this address"
    if inside.startswith("file="):
        named = inside.removeprefix("file=").strip()
        if "://" in named or named.startswith(("//", "http:", "https:", "data:")) or ".." in named.split("/"):
            return 403, "only files that this page made are given out"
    return None


def _content_length(scope: Scope) -> int | None:
    """The size that a request says it has; None for one in chunks, whose header the server does not heed."""
    if any(name.lower() == b"transfer-encoding" for name, _ in scope["headers"]):
        return None
    for name, value in scope["headers"]:
        if name.lower() == b"content-length":
            text = value.decode("latin-1")
            return int(text) if text.isdecimal() and len(text) < 20 else None
    return None


async def _read(receive: Receive) -> bytes | None:
    """The body, read until it exceeds the limit; None if the client disconnected."""
    parts, n_bytes = [], 0
    while n_bytes <= MAX_BODY_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        n_bytes += len(parts[-1])
        if not message.get("more_body", False):
            break
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns the body read so far, then later messages."""
    is_given = False

    async def again() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _checked_call(path: str, body: bytes, folder: Path) -> bytes:
    """The body of a call with every parameter in it; other bodies stay as they are.

    Raises:
        UnknownEndpoint, InvalidRequest, InvalidWords: as for `check_call`.
    """
    loaded = json.loads(body) if body else None
    values: dict[str, Any] = loaded if isinstance(loaded, dict) else {}
    data = values.get("data")
    if path.rstrip("/") == _JOIN:
        # Clients of the queue read errors from its stream, so that only the number of values is checked here.
        number = values.get("fn_index")
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(ENDPOINTS):
            data = complete_call([*ENDPOINTS][number], data)
            return json.dumps(values | {"data": data}).encode()
        return body
    prefix = next((prefix for prefix in _CALLS if path.startswith(prefix)), None)
    if prefix is None:
        return body
    name = path.removeprefix(prefix).rstrip("/")
    if prefix == _CALLS[0]:  # values by name
        check_call(name, values, folder)
        return body
    return json.dumps(values | {"data": check_call(name, data, folder)}).encode()


def _with_length(scope: Scope, n_bytes: int) -> Scope:
    """The scope with the length of a body that may have grown."""
    headers = [(name, value) for name, value in scope["headers"] if name.lower() != b"content-length"]
    return {**scope, "headers": [*headers, (b"content-length", str(n_bytes).encode())]}


def _with_headers(send: Send) -> Send:
    """A `send` by which browsers guess no type of a file, and which adds to each 503 when to come back."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            added = {b"x-content-type-options": b"nosniff"}
            if message["status"] == 503:
                added[b"retry-after"] = str(RETRY_SECONDS).encode()
            headers = [(name, value) for name, value in message["headers"] if name.lower() not in added]
            message = {**message, "headers": [*headers, *added.items()]}
        await send(message)

    return sent


def _client(scope: Scope) -> str:
    """The address of a client. On a Space the connection is that of a proxy, which names the client.

    A proxy appends the address that it sees, and a client can send any before it. So the last one counts that
    is no address inside a network.
    """
    if "SPACE_ID" in os.environ:
        for name, value in scope["headers"]:
            if name.lower() == b"x-forwarded-for":
                named = [text.strip()[:64] for text in value.decode("latin-1").split(",")]
                return next((text for text in reversed(named) if _is_outside(text)), named[-1])
    return str((scope.get("client") or ("",))[0])


def _is_outside(address: str) -> bool:
    try:
        return ip_address(address).is_global
    except ValueError:
        return False


def _refused_body(body: bytes, folder: str) -> tuple[int, str] | None:
    """The problem with a body, or None. It must be JSON and name no files but uploads."""
    try:
        values = json.loads(body) if body else None
    except (ValueError, RecursionError):
        return 400, "the request is not valid JSON. The README of the Space has examples"
    if _names_another_file(values, folder):
        return 400, "photo must be an uploaded image file: upload it first"
    return None


def _names_another_file(values: object, folder: str) -> bool:
    """Whether JSON names a file other than an upload, which the server would read or fetch from a URL."""
    level = [values]
    for _ in range(_MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                path = value.get("path")
                if isinstance(path, str) and not _is_inside(path, folder):
                    return True
                below += value.values()
            elif isinstance(value, list):
                below += value
        if not below:
            return False
        level = below
    return True  # no request of the page is so deep


def _is_inside(path: str, folder: str) -> bool:
    if "\0" in path or not os.path.isabs(path):
        return False
    return os.path.realpath(path).startswith(f"{os.path.realpath(folder)}{os.sep}")


def _too_large(n_bytes: int, most: int) -> str:
    return f"the request has {n_bytes:,} bytes, the limit is {most:,}. Make the photo or the text smaller"


async def _answer(send: Send, status: int, detail: str, *, retry_after: int | None = None) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if retry_after is not None:
        headers.append((b"retry-after", str(retry_after).encode()))
    headers.append((b"connection", b"close"))  # the rest of the body is not read
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
