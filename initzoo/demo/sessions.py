"""Removes empty sessions: programs open one for each request and never return to it."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any

__all__ = ["SessionSweeper", "forget_empty_sessions"]

_IDLE = timedelta(seconds=3)
_EVERY_SECONDS = 1.0


class SessionSweeper:
    """Removes empty sessions a few seconds after their last use, in a background thread.

    The server keeps a copy of the page's settings per session, 150 KB, for a limited number of sessions.
    A few hundred requests of programs would take 75 MB and evict the photos of visitors.

    Args:
        sessions: the server's `StateHolder`.
    """

    def __init__(self, sessions: Any) -> None:
        self._sessions = sessions
        self._is_stopped = threading.Event()
        threading.Thread(target=self._run, name="initzoo-sessions", daemon=True).start()

    def stop(self) -> None:
        """Stop the thread."""
        self._is_stopped.set()

    def _run(self) -> None:
        while not self._is_stopped.wait(_EVERY_SECONDS):
            forget_empty_sessions(self._sessions, before=datetime.now() - _IDLE)


def forget_empty_sessions(sessions: Any, *, before: datetime) -> int:
    """Remove sessions that hold no value and were last used before some time.

    Returns:
        The number of removed sessions.
    """
    n_forgotten = 0
    with sessions.lock:
        for name in list(sessions.session_data):
            used = sessions.time_last_used.get(name)
            if used is not None and used < before and not sessions.session_data[name].state_data:
                sessions.session_data.pop(name, None)
                sessions.time_last_used.pop(name, None)
                n_forgotten += 1
    return n_forgotten
