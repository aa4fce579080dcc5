"""Checks the answers of the Hub before huggingface_hub uses them.

The client names the files of its cache after the ETag and the commit that the server sends. A header with a
path in it would make the client remove or replace files anywhere. It waits as long as the server asks it to,
writes down as many bytes as the server sends, and prints a line for each try. So each answer is checked
before the client sees it: also one that a mirror, a proxy or whoever stands between has sent, and also after
a redirect.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from initzoo.errors import HubUnavailable
from initzoo.zoo.hub.addresses import is_revision, without_secrets
from initzoo.zoo.hub.connections import current_pace, watch_connections

if TYPE_CHECKING:
    import httpx2

__all__ = ["Subject", "checked_answers", "guard_answers"]

_ETAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+=-]{0,127}")
_WHOLE_ETAG = re.compile(r'(?:W/)?"?([^"]*)"?')
_ETAGS = ("ETag", "X-Linked-ETag")
_COMMIT = "X-Repo-Commit"
_XET = (
    "X-Xet-Hash",
    "X-Xet-Refresh-Route",
)  # with these, another client fetches the file, which nothing checks
_SIZES = ("X-Linked-Size", "Content-Length")
_LONG_WORD = re.compile(r"[^\s,;]{24,}")
_NUMBER = re.compile(r"[0-9]{1,18}")
_RESET = re.compile(r"\br=0\s*;\s*t=([0-9]+)")

_MAX_WAIT = 60  # seconds that a server may ask for, all tries of a request together
_ENCODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 47}  # window bits of zlib
_PIECE = 2**20  # bytes that are unpacked at a time
_MAX_PAGE = 2**20  # bytes of an answer that is no file


@dataclass
class Subject:
    """What the requests of a block are about.

    Args:
        what: for errors.
        max_bytes: the size of the file that is fetched, or a limit for it; None for other requests.
        commit: first digits of the commit that is asked for; none for a branch or tag.
        waited: seconds that the server has asked for so far.
        has_fetched: whether the body of a file came.
        secrets: tokens that were sent, which a server could send back.
    """

    what: str
    max_bytes: int | None
    commit: str = ""
    waited: int = 0
    has_fetched: bool = False
    secrets: set[str] = field(default_factory=set, repr=False)

    def without_secrets(self, text: str) -> str:
        """A text for messages: the tokens that were sent are masked."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = re.sub(re.escape(secret), "***", text, flags=re.IGNORECASE)
        return without_secrets(text)

    def quoted(self, value: str) -> str:
        """A value of the server for messages, without long words, which could be secrets in disguise."""
        return ascii(_LONG_WORD.sub("***", self.without_secrets(value))[:60])


_SUBJECT: ContextVar[Subject | None] = ContextVar("initzoo_hub_subject", default=None)
_LOCK = Lock()


@contextmanager
def checked_answers(what: str, max_bytes: int | None = None, *, commit: str = "") -> Iterator[Subject]:
    """Check the answers to all requests of the block.

    Args:
        what: the subject of the requests, for errors.
        max_bytes: refuse answers that announce or have more bytes.
        commit: refuse answers of a commit that does not begin with these digits.
    """
    subject = Subject(what, max_bytes, commit)
    token = _SUBJECT.set(subject)
    try:
        yield subject
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
        for handler in logging.getLogger("huggingface_hub").handlers:
            if _is_shown not in handler.filters:
                handler.addFilter(_is_shown)


def _is_shown(record: logging.LogRecord) -> bool:
    """Whether a line of the client's log is shown: a warning of each try only if somebody asks for more."""
    is_verbose = logging.getLogger("huggingface_hub").isEnabledFor(logging.INFO)
    return _SUBJECT.get() is None or is_verbose or record.levelno > logging.WARNING


class _GuardedFactory:
    """Makes sessions that check their answers."""

    def __init__(self, factory: Callable[[], httpx2.Client]) -> None:
        self._factory = factory

    def __call__(self) -> httpx2.Client:
        return _guard(self._factory())


def _guard(session: httpx2.Client) -> httpx2.Client:
    hooks: dict[str, list[Callable[..., Any]]] = session.event_hooks
    if _check_answer not in hooks["response"]:
        session.event_hooks = {
            **hooks,
            "request": [*hooks["request"], _note_request],
            "response": [*hooks["response"], _check_answer],
        }
        watch_connections(session)
    return session


def _note_request(request: httpx2.Request) -> None:
    """Note where the first request goes to, which is the Hub, and the token that it sends."""
    if subject := _SUBJECT.get():
        subject.secrets |= set(request.headers.get("Authorization", "").split()[1:])
    if (pace := current_pace()) and not pace.host:
        pace.host = request.url.host


def _check_answer(response: httpx2.Response) -> None:
    """Refuse an answer with a header that is unsafe as the name of a file, too many bytes or too long a wait.

    Raises:
        HubUnavailable: the answer is refused.
    """
    subject = _SUBJECT.get()
    if subject is None:  # a request of somebody else
        return
    if pace := current_pace():
        pace.answered()
    for name in _XET:
        response.headers.pop(name, None)
    # The client takes names from the answers to HEAD requests alone; a store of files may tag others freely.
    for name in _ETAGS if response.request.method == "HEAD" else ():
        value = response.headers.get(name)
        if value is None:
            continue
        match = _WHOLE_ETAG.fullmatch(value)
        # The client strips letters W and slashes before it uses a tag as a name.
        if match is None or not _ETAG.fullmatch(match[1]) or subject.without_secrets(value) != value:
            raise _unsafe(subject, name, value)
    commit = response.headers.get(_COMMIT)
    if commit is not None and not is_revision(commit):
        raise _unsafe(subject, _COMMIT, commit)
    if commit is not None and not commit.startswith(subject.commit):
        raise _other_commit(subject, commit)
    if response.status_code in (408, 429) or response.status_code >= 500:
        _check_wait(response, subject)
    elif subject.max_bytes is not None and response.request.method == "HEAD" and not response.is_error:
        _check_announced(response, subject, subject.max_bytes)
    if subject.max_bytes is not None and response.request.method == "GET":
        is_file = response.is_success
        subject.has_fetched |= is_file
        _watch_body(response, subject, subject.max_bytes if is_file else _MAX_PAGE)


def _other_commit(subject: Subject, commit: str) -> HubUnavailable:
    """The error for files of another commit, which would be cached as those of that commit."""
    if is_revision(subject.commit):
        advice = "Check HF_ENDPOINT, and tell its operator"
    else:
        advice = "Name all 40 digits of a commit; a branch or tag of this kind cannot be named"
    return HubUnavailable(
        f"{subject.what}: asked for commit {subject.commit[:12]}, the Hub answered with {commit[:12]}. "
        f"{advice}"
    )


def _check_wait(response: httpx2.Response, subject: Subject) -> None:
    """Refuse a wait that is longer than a person would watch: the client sleeps as long as it is told to."""
    # As the client reads them: the limit of requests goes first, if it is used up.
    limit = _RESET.search(response.headers.get("RateLimit", "")) if response.status_code == 429 else None
    seconds = limit[1] if limit else response.headers.get("Retry-After", "").strip()
    if not seconds.isdecimal():
        return
    if len(seconds) > 9 or subject.waited + int(seconds) > _MAX_WAIT:
        raise HubUnavailable(
            f"{subject.what}: the Hub answered {response.status_code} and asks to wait "
            f"{seconds[:12]} seconds. Try again after that"
        )
    subject.waited += int(seconds)


def _check_announced(response: httpx2.Response, subject: Subject, max_bytes: int) -> None:
    """Refuse a file that is larger than was expected."""
    # The length of a redirect is that of its page, and not that of the file.
    names = _SIZES[:1] if response.is_redirect else _SIZES
    size = next((response.headers[name] for name in names if name in response.headers), "0")
    if not _NUMBER.fullmatch(size) or int(size) > max_bytes:
        announced = size if _NUMBER.fullmatch(size) else subject.quoted(size)
        raise HubUnavailable(
            f"{subject.what}: expected at most {max_bytes:,} bytes, the Hub announces {announced}. "
            "Check HF_ENDPOINT, and tell its operator"
        )


def _watch_body(response: httpx2.Response, subject: Subject, max_bytes: int) -> None:
    """Let the client read no more of a body than was expected."""
    import httpx2

    what = subject.what

    class Watched(httpx2.SyncByteStream):
        def __init__(self, body: httpx2.SyncByteStream) -> None:
            self._body = body

        def __iter__(self) -> Iterator[bytes]:
            data = _unpacked(self._body, what, encoding) if encoding in _ENCODINGS else self._body
            yield from _watched(data, what, max_bytes)

        def close(self) -> None:
            self._body.close()

    # Unpacked here and not by the client, so that a small answer cannot become a large file.
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", *_ENCODINGS):
        raise HubUnavailable(
            f"{what}: the Hub answered in the unknown encoding {subject.quoted(encoding)}. Check HF_ENDPOINT"
        )
    if encoding in _ENCODINGS:
        del response.headers["Content-Encoding"]
        response.headers.pop("Content-Length", None)  # it is that of the packed bytes
    assert isinstance(response.stream, httpx2.SyncByteStream)
    response.stream = Watched(response.stream)


def _unpacked(body: Iterable[bytes], what: str, encoding: str) -> Iterator[bytes]:
    """The bytes of a packed body, at most a piece at a time."""
    unpacker = zlib.decompressobj(_ENCODINGS[encoding])
    try:
        for data in body:
            while data:
                yield unpacker.decompress(data, _PIECE)
                data = unpacker.unconsumed_tail
        yield unpacker.flush()
    except zlib.error as error:
        raise HubUnavailable(f"{what}: the Hub's answer is damaged ({error}). Try again later") from error


def _watched(body: Iterable[bytes], what: str, max_bytes: int) -> Iterator[bytes]:
    """The bytes of a body, unless they are too many or come too slowly."""
    n_bytes, pace = 0, current_pace()
    for data in body:
        n_bytes += len(data)
        if n_bytes > max_bytes:
            raise HubUnavailable(
                f"{what}: expected at most {max_bytes:,} bytes, the Hub sends more. "
                "Check HF_ENDPOINT, and tell its operator"
            )
        yield data
        if pace is not None:
            pace.count(len(data))


def _unsafe(subject: Subject, name: str, value: str) -> HubUnavailable:
    return HubUnavailable(
        f"{subject.what}: the Hub answered with the unsafe {name} {subject.quoted(value)}. "
        "Check HF_ENDPOINT, and tell its operator"
    )
