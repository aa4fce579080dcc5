"""Waiting for what other processes do: for a sign of it, never for a while that is thought to be enough."""

from __future__ import annotations

import time
from collections.abc import Callable

_BETWEEN_LOOKS = 0.02
_PATIENCE = 300.0
"""Seconds; a busy machine is no failure."""


def wait_until(sign: Callable[[], object], *, seconds: float = _PATIENCE) -> bool:
    """Look for a sign again and again; whether it came in time.

    Args:
        sign: true once what is waited for has happened.
        seconds: after which nothing is waited for any more.

    Example:
        >>> signs = iter([False, False, True])
        >>> wait_until(lambda: next(signs))
        True
        >>> wait_until(lambda: False, seconds=0.1)
        False
    """
    end = time.monotonic() + seconds
    while not sign():
        if time.monotonic() > end:
            return False
        time.sleep(_BETWEEN_LOOKS)
    return True
