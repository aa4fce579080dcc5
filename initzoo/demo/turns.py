"""Turns: a few requests are computed for at a time, some wait, and the rest is asked to come back later."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from initzoo.errors import InitzooError

__all__ = ["RETRY_SECONDS", "Busy", "Turns"]

RETRY_SECONDS = 4
"""Seconds after which a refused client should ask again."""


class Busy(InitzooError):
    """Too many requests wait already."""


class Turns:
    """Lets `n_at_once` threads compute, in the order in which they came.

    A thread that computes already takes no second turn, so that answers may call each other.

    Args:
        n_at_once: number of threads that compute at a time.
        n_waiting: number of threads that may wait for them.

    Example:
        >>> turns = Turns(1, 0)
        >>> with turns.take(), turns.take():
        ...     turns.n_waiting
        0
    """

    def __init__(self, n_at_once: int, n_waiting: int) -> None:
        self._free, self._most = n_at_once, n_waiting
        self._queue: list[threading.Event] = []
        self._lock = threading.Lock()
        self._mine = threading.local()

    @property
    def n_waiting(self) -> int:
        """Number of threads that wait."""
        with self._lock:
            return len(self._queue)

    @contextmanager
    def take(self) -> Iterator[None]:
        """Wait for a turn and hold it.

        Raises:
            Busy: too many wait already.
        """
        if getattr(self._mine, "is_held", False):
            yield
            return
        self._wait()
        self._mine.is_held = True
        try:
            yield
        finally:
            self._mine.is_held = False
            with self._lock:
                if self._queue:
                    self._queue.pop(0).set()  # the turn goes on to the first that waits
                else:
                    self._free += 1

    def _wait(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            if len(self._queue) >= self._most:
                raise Busy(f"many people are here just now. Try again in {RETRY_SECONDS} seconds")
            turn = threading.Event()
            self._queue.append(turn)
        turn.wait()
