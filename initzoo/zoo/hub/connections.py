"""Watches the connections to the Hub: how long an answer takes, how slowly it comes, and from where.

The client has limits for single reads alone. A server that sends a letter now and then, answers that only
announce an answer, or chunks that are nearly all framing passes them for ever, and much of it never reaches
the reader of a body. So each read from the network is watched.
"""

from __future__ import annotations

import ipaddress
import math
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from initzoo.errors import HubUnavailable

if TYPE_CHECKING:
    import httpx2

__all__ = ["Pace", "current_pace", "paced", "watch_connections"]

_SPAN = 60.0  # seconds: until the headers of an answer are there, and in which the rate of a body is measured
_SLOWEST = 8 * 1024  # bytes a second of a body; less is given up
_PATIENCE = 300.0  # seconds for all requests of a file, beside those that its size may take


@dataclass
class Pace:
    """How far the requests of a block have come.

    Args:
        what: the subject of the requests, for errors.
        seconds: limit for all of them together; infinite for uploads.
        seconds_to_answer: limit for the headers of each answer, or for all of it to an upload.
        host: host of the first request, which is the Hub.
        began: when the block began.
        phase_began: when the last request was sent, or the measuring of the rate began.
        n_bytes: bytes of the body since then; None until the headers are there.
    """

    what: str
    seconds: float
    seconds_to_answer: float
    host: str = ""
    began: float = field(default_factory=time.monotonic)
    phase_began: float = field(default_factory=time.monotonic)
    n_bytes: int | None = None

    def asked(self) -> None:
        """Begin to wait for headers."""
        self.phase_began, self.n_bytes = time.monotonic(), None

    def answered(self) -> None:
        """Begin to measure the rate of a body; the answer to an upload has a limit as a whole."""
        if self.seconds == math.inf:
            return
        self.phase_began, self.n_bytes = time.monotonic(), 0

    def count(self, n_bytes: int) -> None:
        """Count bytes of the body, without what packs and frames them."""
        self.n_bytes = (self.n_bytes or 0) + n_bytes
        self.left()

    def left(self) -> float:
        """The seconds until the next limit.

        Raises:
            HubUnavailable: a limit is passed.
        """
        now = time.monotonic()
        total = self.began + self.seconds - now
        if total <= 0:
            raise self._too_slow(f"takes longer than {self.seconds:.0f} seconds")
        if self.n_bytes is None:
            phase = self.phase_began + self.seconds_to_answer - now
            if phase <= 0:
                raise self._too_slow(f"does not answer within {self.seconds_to_answer:.0f} seconds")
            return min(total, phase)
        if now - self.phase_began >= _SPAN:
            if self.n_bytes < _SLOWEST * _SPAN:
                raise self._too_slow(f"sends less than {_SLOWEST // 1024} KB a second")
            self.phase_began, self.n_bytes = now, 0
        return min(total, self.phase_began + _SPAN - now)

    def _too_slow(self, reason: str) -> HubUnavailable:
        return HubUnavailable(f"{self.what}: the Hub {reason}. Try again later")

    def check_server(self, host: str, address: str) -> None:
        """Refuse to be sent on from a public Hub to a machine of the user's own network.

        Raises:
            HubUnavailable: the address is not a public one, and that of the Hub is.
        """
        if host == self.host or not self.host or not _is_inside(address):
            return
        try:
            addresses = {str(info[4][0]) for info in socket.getaddrinfo(self.host, None)}
        except OSError:
            addresses = set()
        if not any(map(_is_inside, addresses)):
            raise HubUnavailable(
                f"{self.what}: the Hub sends the request on to {host[:100]!a}, which is inside your network. "
                "Check HF_ENDPOINT, and tell its operator"
            )


_PACE: ContextVar[Pace | None] = ContextVar("initzoo_hub_pace", default=None)


def current_pace() -> Pace | None:
    """The pace of the block that runs; None outside of one."""
    return _PACE.get()


@contextmanager
def paced(what: str, n_bytes: int | None) -> Iterator[Pace]:
    """Limit the time of all requests of the block.

    Args:
        what: the subject of the requests, for errors.
        n_bytes: size of what is fetched; None for an upload, which takes as long as it takes.
    """
    if n_bytes is None:
        pace = Pace(what, math.inf, 10 * _SPAN)
    else:
        pace = Pace(what, _PATIENCE + n_bytes / _SLOWEST, _SPAN)
    token = _PACE.set(pace)
    try:
        yield pace
    finally:
        _PACE.reset(token)


def _is_inside(address: str) -> bool:
    """Whether an address is not a public one."""
    try:
        return not ipaddress.ip_address(address.partition("%")[0]).is_global
    except ValueError:
        return False


def watch_connections(session: httpx2.Client) -> None:
    """Let the connections of a client be watched within `paced`.

    The client offers no way to choose how it connects. With a transport of another kind, which somebody has
    made for huggingface_hub, nothing is watched.
    """
    import httpcore2

    for transport in (session._transport, *session._mounts.values()):
        pool = getattr(transport, "_pool", None)
        backend = getattr(pool, "_network_backend", None)
        if isinstance(backend, httpcore2.NetworkBackend) and not hasattr(backend, "is_watched"):
            is_proxy = isinstance(pool, httpcore2.HTTPProxy | httpcore2.SOCKSProxy)
            pool._network_backend = _watched(backend, is_proxy=is_proxy)  # type: ignore[union-attr]


def _watched(backend: Any, *, is_proxy: bool) -> Any:
    """A way to connect whose connections are watched."""
    import httpcore2

    class Stream(httpcore2.NetworkStream):
        def __init__(self, inner: httpcore2.NetworkStream) -> None:
            self._inner = inner

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            pace = _PACE.get()
            if pace is None:
                return self._inner.read(max_bytes, timeout)
            ends = math.inf if timeout is None else time.monotonic() + timeout
            while True:
                own, left = max(ends - time.monotonic(), 0.0), pace.left()
                seconds = min(own, left)
                try:
                    return self._inner.read(max_bytes, None if seconds == math.inf else seconds)
                except httpcore2.ReadTimeout:
                    if own <= left:
                        pace.left()
                        raise
                    # Only a span of the measuring ended. If its rate was enough, the next one begins.

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            self._inner.write(buffer, timeout)
            if pace := _PACE.get():
                pace.asked()

        def close(self) -> None:
            self._inner.close()

        def start_tls(
            self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
        ) -> httpcore2.NetworkStream:
            return Stream(self._inner.start_tls(ssl_context, server_hostname, timeout))

        def get_extra_info(self, info: str) -> Any:
            return self._inner.get_extra_info(info)

    class Backend(httpcore2.NetworkBackend):
        is_watched = True

        def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: Iterable[Any] | None = None,
        ) -> httpcore2.NetworkStream:
            stream = backend.connect_tcp(host, port, timeout, local_address, socket_options)
            if (pace := _PACE.get()) and not is_proxy:  # a proxy may well be inside
                try:
                    pace.check_server(host, str(stream.get_extra_info("server_addr")[0]))
                except HubUnavailable:
                    stream.close()
                    raise
            return Stream(stream)

        def connect_unix_socket(
            self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
        ) -> httpcore2.NetworkStream:
            return Stream(backend.connect_unix_socket(path, timeout, socket_options))

        def sleep(self, seconds: float) -> None:
            backend.sleep(seconds)

    return Backend()
