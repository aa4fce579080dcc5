"""What workers in processes and on Ray have in common: one core each, and results that may be errors."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Generic, TypeVar, cast

from initzoo.errors import InitzooError, WorkerDied
from initzoo.work.memory import keep_freed_memory

__all__ = [
    "TICK_SECONDS",
    "WORKER_CONTEXT",
    "Outcome",
    "attempt",
    "died",
    "limit_torch",
    "use_one_core",
    "where_of",
]

Item = TypeVar("Item")
Result = TypeVar("Result")

WORKER_CONTEXT = multiprocessing.get_context("spawn")
"""Processes are spawned, because the threads of torch do not survive a fork."""

TICK_SECONDS = 0.5
"""Interval between calls of `on_tick`, seconds."""


def use_one_core() -> None:
    """Limit this worker to one thread, let it reuse freed memory, and end it when its parent ends.

    The workers of a killed parent would otherwise run on beside those of the next run.
    """
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # torch reads them on import
    limit_torch()
    keep_freed_memory()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def limit_torch() -> None:
    """Limit torch to one thread if it is loaded. It is not imported here, which would take seconds."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """The result of a worker, or its exception."""

    result: Result | None = None
    error: Exception | None = None
    trace: str = ""

    def get(self) -> Result:
        """The result; raises the exception."""
        if self.error is not None:
            if not isinstance(self.error, InitzooError):  # a bug: keep the worker's traceback
                self.error.add_note(f"Raised in a worker:\n{self.trace}")
            raise self.error
        return cast("Result", self.result)


def attempt(function: Callable[[], Result]) -> Outcome[Result]:
    """Call a function; its result, or its exception as one that can be sent to another process."""
    try:
        return Outcome(function())
    except Exception as error:  # noqa: BLE001 (raised again by the parent)
        trace, raised = traceback.format_exc(), error.with_traceback(None)
    try:
        pickle.loads(pickle.dumps(raised))  # noqa: S301 (our own bytes)
    except Exception:  # noqa: BLE001 (pickling can raise anything)
        raised = RuntimeError(f"{type(raised).__name__}: {raised}")
    return Outcome(error=raised, trace=trace)


def died(event: str, item: tuple[Item] | None, name_of: Callable[[Item], str]) -> WorkerDied:
    """The error about a worker that ended at an item; None as it started."""
    return WorkerDied(
        f"{event} {where_of(item, name_of)}. Run the same command again; if memory was short, with fewer "
        "--workers"
    )


def where_of(item: tuple[Item] | None, name_of: Callable[[Item], str]) -> str:
    """Where a worker was; the item is in a tuple, since an item can be None."""
    return "as it started" if item is None else f"at {name_of(item[0])[:80]}"
