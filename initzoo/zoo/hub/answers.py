"""Checks the answers of the Hub whose headers huggingface_hub uses as names of files.

The client names the files of its cache after the ETag and the commit that the server sends. A header with a
path in it would make the client remove or replace files anywhere. So each answer is checked before the client
sees it: also one that a mirror, a proxy or whoever stands between has sent, and also after a redirect.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import TYPE_CHECKING, Any

from initzoo.errors import HubUnavailable
from initzoo.zoo.hub.addresses import is_revision

if TYPE_CHECKING:
    import httpx2

__all__ = ["checked_answers", "guard_answers"]

_ETAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+=-]{0,127}")
_WHOLE_ETAG = re.compile(r'(?:W/)?"?([^"]*)"?')
_ETAGS = ("ETag", "X-Linked-ETag")
_COMMIT = "X-Repo-Commit"

_SUBJECT: ContextVar[str | None] = ContextVar("initzoo_hub_subject", default=None)
_LOCK = Lock()


@contextmanager
def checked_answers(what: str) -> Iterator[None]:
    """Check the answers to all requests of the block.

    Args:
        what: the subject of the requests, for errors.
    """
    token = _SUBJECT.set(what)
    try:
        yield
    finally:
        _SUBJECT.reset(token)


def guard_answers() -> None:
    """Let the client of huggingface_hub check its answers within `checked_answers`.

    The client makes a new session after some errors, so its factory is guarded as well as its session.
    """
    from huggingface_hub.utils import _http, get_session, set_client_factory

    with _LOCK:
        factory: Callable[[], httpx2.Client] = _http._GLOBAL_CLIENT_FACTORY
        if not isinstance(factory, _GuardedFactory):
            set_client_factory(_GuardedFactory(factory))
        _guard(get_session())


class _GuardedFactory:
    """Makes sessions that check their answers."""

    def __init__(self, factory: Callable[[], httpx2.Client]) -> None:
        self._factory = factory

    def __call__(self) -> httpx2.Client:
        return _guard(self._factory())


def _guard(session: httpx2.Client) -> httpx2.Client:
    hooks: dict[str, list[Callable[..., Any]]] = session.event_hooks
    if _check_answer not in hooks["response"]:
        session.event_hooks = {**hooks, "response": [*hooks["response"], _check_answer]}
    return session


def _check_answer(response: httpx2.Response) -> None:
    """Refuse an answer with a header that is unsafe as the name of a file.

    Raises:
        HubUnavailable: a header is unsafe.
    """
    what = _SUBJECT.get()
    if what is None:  # a request of somebody else
        return
    # The client takes names from the answers to HEAD requests alone; a store of files may tag others freely.
    for name in _ETAGS if response.request.method == "HEAD" else ():
        value = response.headers.get(name)
        if value is None:
            continue
        match = _WHOLE_ETAG.fullmatch(value)
        # The client strips letters W and slashes before it uses a tag as a name.
        if match is None or not _ETAG.fullmatch(match[1]):
            raise _unsafe(what, name, value)
    commit = response.headers.get(_COMMIT)
    if commit is not None and not is_revision(commit):
        raise _unsafe(what, _COMMIT, commit)


def _unsafe(what: str, name: str, value: str) -> HubUnavailable:
    return HubUnavailable(
        f"{what}: the Hub answered with the unsafe {name} {value[:60]!a}. "
        "Check HF_ENDPOINT, and tell its operator"
    )
