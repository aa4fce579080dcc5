"""Forgets sessions that hold nothing: programs open one for each request and never come back to it."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any

__all__ = ["SessionSweeper", "forget_empty_sessions"]

_IDLE = timedelta(seconds=3)
_EVERY_SECONDS = 1.0


class SessionSweeper:
    """Forgets empty sessions a few seconds after their last use, in a thread of its own.

    The server keeps a copy of the page's settings for each session, 150 KB, and as many sessions as it is
    allowed: a few hundred requests of programs would cost 75 MB, and push out the photos of visitors.

    Args:
        sessions: the server's `StateHolder`.
    """

    def __init__(self, sessions: Any) -> None:
        self._sessions = sessions
        self._is_stopped = threading.Event()
        threading.Thread(target=self._run, name="initzoo-sessions", daemon=True).start()

    def stop(self) -> None:
        """Forget nothing more."""
        self._is_stopped.set()

    def _run(self) -> None:
        while not self._is_stopped.wait(_EVERY_SECONDS):
            forget_empty_sessions(self._sessions, before=datetime.now() - _IDLE)


def forget_empty_sessions(sessions: Any, *, before: datetime) -> int:
    """Forget sessions without a value of their own that were last used before some time.

    Returns:
        How many.
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
