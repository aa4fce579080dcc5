"""Workers on Ray: actors that do one item after another, and are replaced when they are lost."""

from __future__ import annotations

import pickle
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from initzoo.errors import InitzooWarning, printable
from initzoo.work.workers import TICK_SECONDS, Outcome, attempt, died, limit_torch, use_one_core, where_of

__all__ = ["RayTasks", "RayWorker"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_MAX_RETRIES = 3
"""How often an item is done again on Ray after its worker was lost."""

_LOST = (
    "RayActorError",
    "OutOfMemoryError",  # Ray ended the worker before the machine ran out of memory
    "NodeDiedError",
    "ObjectLostError",
    "ObjectReconstructionFailedError",
)
"""Errors of Ray about a worker, its machine or its result that was lost. They have no family of their own."""


class RayWorker:
    """A worker on Ray.

    Args:
        search_path: `sys.path` of the driver. Ray does not pass it on, and a teacher may be a function in a
            module beside the concepts file.
    """

    def __init__(self, search_path: Sequence[str]) -> None:
        use_one_core()
        sys.path += [path for path in search_path if path not in sys.path]
        self._work: Callable[[Any], Any] | None = None

    def make(self, pickled: bytes) -> Outcome[None]:
        made = attempt(lambda: pickle.loads(pickled)())  # noqa: S301 (the driver's own bytes)
        limit_torch()
        self._work = made.result
        return Outcome(error=made.error, trace=made.trace)

    def work(self, item: Any) -> Outcome[Any]:
        assert self._work is not None
        return attempt(partial(self._work, item))


class RayTasks(Generic[Item, Result]):
    """Items that actors on Ray share. The actor of each awaited result and its item are known here alone."""

    _has_warned = False
    """Of all runs of this process: the stages of a command are runs of their own."""

    def __init__(
        self,
        ray: Any,
        make_worker: Callable[[], Callable[[Item], Result]],
        items: Sequence[Item],
        n_workers: int,
        name_of: Callable[[Item], str],
        *,
        needs_gpu: bool,
    ) -> None:
        self._ray, self._name_of, self._n_workers = ray, name_of, n_workers
        self._pickled = ray.put(ray.cloudpickle.dumps(make_worker))  # sent to each machine once
        self._make_actor = ray.remote(num_cpus=1, num_gpus=int(needs_gpu))(RayWorker).remote
        self._lost = tuple(getattr(ray.exceptions, name) for name in _LOST)
        self._left = len(items)
        self._todo = deque(_RayItem(item) for item in items)
        self._awaited: dict[Any, tuple[Any, _RayItem[Item] | None]] = {}
        self._n_lost_at_start = 0

    def run(self, on_tick: Callable[[], None] | None) -> Iterator[tuple[Item, Result]]:
        """As `Pool.run`."""
        try:
            for _ in range(self._n_workers):
                self._add_actor()
            while self._left:
                ready, _ = self._ray.wait(list(self._awaited), timeout=TICK_SECONDS if on_tick else None)
                if on_tick and not ready:
                    on_tick()
                for reference in ready:
                    actor, task = self._awaited.pop(reference)
                    try:
                        outcome = self._ray.get(reference)
                    except self._lost as error:
                        self._replace(actor, task, error)
                        continue
                    if outcome.error is None and self._todo:
                        self._give_work(actor)
                    else:  # a lost item goes to a new actor: the machine of this one may be lost, too
                        self._ray.kill(actor)
                    result = outcome.get()
                    if task is None:
                        self._n_lost_at_start = 0
                    else:
                        self._left -= 1
                        yield task.item, result
        finally:
            for actor, _ in self._awaited.values():
                self._ray.kill(actor)

    def _add_actor(self) -> None:
        # An actor gets its first item when it is ready: one that waits for a core delays no item.
        actor = self._make_actor(sys.path)
        self._awaited[actor.make.remote(self._pickled)] = actor, None

    def _give_work(self, actor: Any) -> None:
        task = self._todo.popleft()
        self._awaited[actor.work.remote(task.item)] = actor, task

    def _replace(self, actor: Any, task: _RayItem[Item] | None, error: Exception) -> None:
        """Have the item of a lost actor done by another one, or raise if that was tried often enough."""
        self._ray.kill(actor)  # it lives if its result alone was lost, with the machine that held it
        if task is None:
            self._n_lost_at_start += 1
            n_lost, item, most = self._n_lost_at_start, None, _MAX_RETRIES * self._n_workers
        else:
            task.n_lost += 1
            n_lost, item, most = task.n_lost, (task.item,), _MAX_RETRIES
        if n_lost > most:
            why = "" if task else f" ({self._reason(error)})"
            event = f"{n_lost} workers on Ray were lost, the last one{why}"
            raise died(event, item, self._name_of) from error
        if task is not None:
            self._todo.appendleft(task)
        if not RayTasks._has_warned:
            RayTasks._has_warned = True
            warnings.warn(
                f"a worker on Ray was lost {where_of(item, self._name_of)}. It and later ones are replaced, "
                "and their work is done again",
                InitzooWarning,
                stacklevel=2,
            )
        self._add_actor()

    def _reason(self, error: Exception) -> str:
        """The sentence of an error of Ray, of up to fifty lines, that says what happened."""
        is_first = isinstance(error, self._ray.exceptions.OutOfMemoryError)
        line = str(error).strip().splitlines()[0 if is_first else -1]
        return printable(line.split(". ")[0])[:200]


@dataclass
class _RayItem(Generic[Item]):
    """An item and the number of workers that were lost with it."""

    item: Item
    n_lost: int = 0
