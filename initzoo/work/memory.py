"""What a process does with memory that it freed."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt()
_KEPT_BYTES = 1 << 29


def keep_freed_memory() -> None:
    """Let glibc reuse large freed arrays. Fresh pages each time took 5 to 15% of a training step.

    This is for the whole process, so it is for workers and commands that train, and not for a library call.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
            mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
