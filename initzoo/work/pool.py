"""Processes that share long work, each with one core."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
import threading
from multiprocessing.connection import wait

import torch

__all__ = ["WORKER_CONTEXT", "use_one_core"]

WORKER_CONTEXT = multiprocessing.get_context("spawn")
"""How workers are started: afresh, since torch's threads do not survive a fork."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of glibc's mallopt()
_KEPT_BYTES = 1 << 29


def use_one_core() -> None:
    """Make this worker use one thread, keep the memory that it frees, and end when its parent does.

    Even when the parent is killed: otherwise workers would go on, beside those of the next run.
    """
    torch.set_num_threads(1)
    _keep_freed_memory()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _keep_freed_memory() -> None:
    """Let glibc reuse large freed arrays: getting fresh pages each time took 5 to 15% of a training step."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
            mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
