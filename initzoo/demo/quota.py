"""A quota on uploads, so that one client cannot fill the disk of the server."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque

__all__ = ["Quota"]

_MAX_CLIENTS = 10_000


class Quota:
    """Bytes that each client may upload within a span of time.

    Args:
        max_bytes: bytes per client and span.
        max_total: bytes of all clients together and span.
        seconds: the span.

    Example:
        >>> quota = Quota(max_bytes=100, max_total=150, seconds=60)
        >>> [quota.wait_of("a", 80, now=0), quota.wait_of("a", 30, now=10), quota.wait_of("a", 30, now=61)]
        [0, 50, 0]
    """

    def __init__(self, *, max_bytes: int, max_total: int, seconds: float) -> None:
        self._max_bytes, self._max_total, self._seconds = max_bytes, max_total, seconds
        self._taken: OrderedDict[str, deque[tuple[float, int]]] = OrderedDict()
        self._all: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()

    def wait_of(self, client: str, n_bytes: int, *, now: float | None = None) -> int:
        """Take some bytes of a client's quota.

        Returns:
            0 if they were taken; else the seconds to wait, and nothing was taken.
        """
        now = time.monotonic() if now is None else now
        with self._lock:
            mine = self._taken.setdefault(client, deque())
            self._taken.move_to_end(client)
            while len(self._taken) > _MAX_CLIENTS:
                self._taken.popitem(last=False)
            for taken, most in ((mine, self._max_bytes), (self._all, self._max_total)):
                while taken and taken[0][0] <= now - self._seconds:
                    taken.popleft()
                if taken and sum(size for _, size in taken) + n_bytes > most:
                    return max(1, round(taken[0][0] + self._seconds - now))
            mine.append((now, n_bytes))
            self._all.append((now, n_bytes))
            return 0
