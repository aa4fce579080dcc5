"""The connection to a Ray cluster, and in one line what is wrong with it."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from initzoo.errors import ClusterUnavailable, DeviceUnavailable, MissingExtra, printable

__all__ = ["address_of", "check_ray_installed", "connected_ray", "count_ray_cores"]

_NO_RAY = 'the backend ray needs ray. Install it with: pip install "initzoo[ray]"'

_ANSWER_SECONDS = 5.0
"""How long a cluster may take to answer, seconds. Ray itself waits for two minutes."""

_HTTP2_SETTINGS = b"\x04"
_HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + _HTTP2_SETTINGS + bytes(5)
"""What a client of HTTP/2, which Ray speaks, says first. A server answers with settings, too."""


def address_of(given: str | None) -> str | None:
    """The given address, or that of `RAY_ADDRESS`; None for a cluster that is started here.

    An empty one, as of a shell variable that is not set, stays, to be refused.
    """
    return (os.environ.get("RAY_ADDRESS") or None) if given is None else given


@contextmanager
def connected_ray(address: str | None) -> Iterator[Any]:
    """Connect Ray to its cluster, and disconnect it afterwards if it was not connected before.

    Raises:
        MissingExtra: Ray is not installed.
        ClusterUnavailable: no cluster answers at the address, or it has other versions.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")  # its warnings go to standard error
    try:
        import ray
    except ImportError as error:
        raise MissingExtra(_NO_RAY) from error
    is_ours = not ray.is_initialized()
    if is_ours:
        _connect(ray, address_of(address))
    try:
        yield ray
    finally:
        if is_ours:
            ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    if address not in (None, "auto", "local"):
        _check_answers(address)
    where = "a Ray cluster on this machine"
    if address not in (None, "local"):
        where = f"the Ray cluster at {printable(address)[:80]}"
    # Ray prints on standard output that a worker was lost, whatever log_to_driver is; --json prints there.
    ray._private.worker._worker_logs_enabled = False
    with _quiet_stderr() as read_stderr:
        try:
            with warnings.catch_warnings(action="ignore"):  # tips for programs on Ray
                ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        # Ray raises errors of many kinds, and leaves the program if what answers is no head of a cluster.
        except (Exception, SystemExit) as error:
            raise ClusterUnavailable(f"{where} {_trouble(error, read_stderr())}") from error


def _trouble(error: BaseException, stderr: str) -> str:
    """What is wrong with a cluster, from the error of Ray and what it wrote."""
    if "Version mismatch" in str(error):
        found = re.findall(r"(?m)^ *(Ray|Python): *(.*)", str(error))  # the cluster's, then ours
        theirs, ours = (" and ".join(map(" ".join, half)) for half in (found[:2], found[2:]))
        return f"runs {theirs}, this machine {ours}. Install the same versions on both"
    if "AuthToken" in stderr:
        return (
            "asks for a token. Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the output of "
            "`ray get-auth-token` on its head"
        )
    reason = " ".join(str(error).split())[:200] if isinstance(error, Exception) else "it does not answer"
    return f"cannot be used: {reason}"


@contextmanager
def _quiet_stderr() -> Iterator[Callable[[], str]]:
    """Keep back what is written to standard error, by libraries in C++ too, within the block.

    Yields:
        A function that returns what was written.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:

        def read() -> str:
            file.seek(0)
            return file.read().decode("utf-8", "replace")

        os.dup2(file.fileno(), 2)
        try:
            yield read
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def _check_answers(address: str) -> None:
    """Raise unless the head of a cluster may be at an address. Ray itself would try for two minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    shown = printable(address)[:80]
    if not host or "/" in host or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ClusterUnavailable(
            f"{shown!r} is not the address of a Ray cluster. Name host and port of its head, e.g. "
            "10.0.0.1:6379"
        )
    advice = "Name the address that `ray start --head` printed, or start a cluster with it"
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") in ("", "0"):  # encrypted, the greeting is another one
                connection.sendall(_HTTP2_GREETING)
                greeting = connection.recv(9, socket.MSG_WAITALL)
                if greeting[3:4] != _HTTP2_SETTINGS:
                    raise ClusterUnavailable(f"what answers at {shown} is no Ray cluster. {advice}")
    except (OSError, UnicodeError) as error:  # an impossible name cannot be encoded
        reason = getattr(error, "strerror", None) or str(error) or "no answer"
        raise ClusterUnavailable(f"no Ray cluster at {shown}: {reason}. {advice}") from error


def count_ray_cores(address: str | None, *, needs_gpu: bool) -> int:
    """Number of cores of a cluster, at least 1.

    Raises:
        ClusterUnavailable: no cluster answers at the address, or it has other versions.
        DeviceUnavailable: workers need a GPU each, and the cluster has none.
    """
    with connected_ray(address) as ray:
        found = ray.cluster_resources()
        if needs_gpu and found.get("GPU", 0) < 1:
            raise DeviceUnavailable("the Ray cluster has no GPU. Take --device cpu, or a cluster with GPUs")
        return max(1, int(found.get("CPU", 1)))


def check_ray_installed() -> None:
    """Check that Ray is installed, without its import, which takes seconds.

    Raises:
        MissingExtra: it is not.
    """
    if find_spec("ray") is None:
        raise MissingExtra(_NO_RAY)
