"""A pool of workers: in this process, in processes of this machine, or on Ray."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from initzoo.errors import WorkerDied
from initzoo.work.actors import RayTasks
from initzoo.work.cluster import address_of, check_ray_installed, connected_ray, count_ray_cores
from initzoo.work.devices import one_thread
from initzoo.work.workers import (
    TICK_SECONDS,
    WORKER_CONTEXT,
    Outcome,
    attempt,
    died,
    limit_torch,
    use_one_core,
)

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

__all__ = ["Backend", "Pool"]

Item = TypeVar("Item")
Result = TypeVar("Result")

Backend = Literal["processes", "ray"]


@dataclass(frozen=True)
class Pool:
    """A pool of workers, one core each, that share a list of items.

    The backend does not change results, provided that each result depends on its item alone.

    Args:
        n_workers: number of workers. At most one worker per item is started.
        backend: `processes` for processes of this machine; a single worker is the current process. `ray` for
            actors on a Ray cluster. All its machines must see the same files at the same paths. A worker
            that is lost is replaced, and its item done again.
        address: address of the cluster, `HOST:PORT`; by default that of `RAY_ADDRESS`, or of a cluster that
            is started on this machine.
        needs_gpu: give each worker on Ray a GPU of its own, beside a core.

    Raises:
        ValueError: the number of workers or the backend is invalid, or there is an address without Ray.

    Example:
        >>> from functools import partial
        >>> from operator import mul
        >>> dict(Pool(1).run(partial(partial, mul, 3), [1, 2]))
        {1: 3, 2: 6}
    """

    n_workers: int
    backend: Backend = "processes"
    address: str | None = None
    needs_gpu: bool = False

    def __post_init__(self) -> None:
        if self.n_workers < 1:
            raise ValueError(f"n_workers must be at least 1, found {self.n_workers}")
        if self.backend not in ("processes", "ray"):
            raise ValueError(f"backend must be processes or ray, found {self.backend!r}")
        if self.address is not None and self.backend != "ray":
            raise ValueError("address goes with the backend ray")

    @classmethod
    def make(
        cls,
        n_workers: int | None = None,
        backend: Backend = "processes",
        address: str | None = None,
        *,
        needs_gpu: bool = False,
    ) -> Pool:
        """Make a pool; `n_workers` None or 0 gives one worker per core of the machine or the cluster.

        Use it before long work begins: a backend that is not installed and a cluster that does not answer
        show at once.

        Raises:
            MissingExtra: the backend is `ray`, which is not installed.
            ClusterUnavailable: no cluster is at the address, or it has other versions of Ray or Python.
            DeviceUnavailable: the workers need GPUs, and the cluster has none.

        Example:
            >>> Pool.make(3)
            Pool(n_workers=3, backend='processes', address=None, needs_gpu=False)
        """
        if backend == "ray":
            check_ray_installed()
            is_elsewhere = address_of(address) not in (None, "local")
            if is_elsewhere or needs_gpu or not n_workers:
                n_cores = count_ray_cores(address, needs_gpu=needs_gpu)
                n_workers = n_workers or n_cores
        return cls(n_workers or os.cpu_count() or 1, backend, address, needs_gpu)

    def run(
        self,
        make_worker: Callable[[], Callable[[Item], Result]],
        items: Sequence[Item],
        *,
        name_of: Callable[[Item], str] = str,
        on_tick: Callable[[], None] | None = None,
    ) -> Iterator[tuple[Item, Result]]:
        """Process items, and yield each with its result as soon as the result is ready.

        Items are started in order. The workers stop when the iteration is exhausted, closed or left by an
        exception.

        Args:
            make_worker: returns the function that processes an item; called once per worker. It, the items
                and the results must be picklable.
            items: the items.
            name_of: returns the name of an item for the error about a dead worker.
            on_tick: called every half second while waiting for workers in other processes.

        Yields:
            An item and its result.

        Raises:
            WorkerDied: a worker ended without a result; on Ray, four workers in turn did at the same item.
            MissingExtra: the backend is `ray`, which is not installed.
            ClusterUnavailable: the cluster does not answer, or has other versions of Ray or Python.
            Exception: `make_worker` or a worker raised it.
        """
        n_workers = min(self.n_workers, len(items))
        if n_workers == 0:
            return
        if self.backend == "ray":
            with connected_ray(self.address) as ray:
                tasks = RayTasks(ray, make_worker, items, n_workers, name_of, needs_gpu=self.needs_gpu)
                yield from tasks.run(on_tick)
        elif n_workers == 1:
            yield from _run_here(make_worker, items)
        else:
            yield from _run_in_processes(make_worker, items, n_workers, name_of, on_tick)


def _run_here(
    make_worker: Callable[[], Callable[[Item], Result]], items: Sequence[Item]
) -> Iterator[tuple[Item, Result]]:
    with one_thread():
        work = make_worker()
    for item in items:
        with one_thread():
            result = work(item)
        yield item, result  # outside of one_thread: the caller's code runs now


@dataclass
class _Process(Generic[Item]):
    """A worker process, in its parent."""

    process: SpawnProcess
    item: tuple[Item] | None = None
    """The item that it processes; a tuple, since an item can be None."""


def _run_in_processes(
    make_worker: Callable[[], Callable[[Item], Result]],
    items: Sequence[Item],
    n_workers: int,
    name_of: Callable[[Item], str],
    on_tick: Callable[[], None] | None,
) -> Iterator[tuple[Item, Result]]:
    workers: dict[Connection, _Process[Item]] = {}
    n_begun = n_done = 0
    try:
        for _ in range(n_workers):
            connection, far_end = WORKER_CONTEXT.Pipe()
            process = WORKER_CONTEXT.Process(target=_serve, args=(far_end, make_worker), daemon=True)
            process.start()
            workers[connection] = _Process(process)
            far_end.close()  # now open in the worker alone: recv() fails when the worker dies
        while n_done < len(items):
            ready = wait(list(workers), timeout=TICK_SECONDS if on_tick else None)
            if on_tick and not ready:
                on_tick()
            for connection in cast("list[Connection]", ready):
                worker = workers[connection]
                finished = worker.item
                try:
                    outcome = connection.recv()
                    # Give the worker its next item before yielding: the caller may take a while.
                    worker.item = None
                    if outcome.error is None and n_begun < len(items):
                        worker.item = (items[n_begun],)
                        n_begun += 1
                        connection.send(*worker.item)
                except (EOFError, OSError) as error:
                    raise _process_died(worker, name_of) from error
                result = outcome.get()
                if finished is not None:
                    n_done += 1
                    yield finished[0], result
    finally:
        for worker in workers.values():
            worker.process.kill()
        for connection, worker in workers.items():
            worker.process.join()
            connection.close()


def _serve(connection: Connection, make_worker: Callable[[], Callable[[Any], Any]]) -> None:
    """Main loop of a worker process: report that it is ready, then process items."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends its workers
    use_one_core()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent has ended
        made = attempt(make_worker)
        limit_torch()  # again: torch may be loaded now, and may have missed the variables
        connection.send(Outcome(error=made.error, trace=made.trace))
        while made.error is None:
            item = connection.recv()
            outcome = attempt(partial(made.get(), item))
            sent = attempt(partial(connection.send, outcome))
            if sent.error is not None:  # a result that cannot be pickled
                connection.send(sent)


def _process_died(worker: _Process[Item], name_of: Callable[[Item], str]) -> WorkerDied:
    worker.process.join(timeout=10)
    code = worker.process.exitcode
    how = f"was killed ({signal.Signals(-code).name})" if code and code < 0 else f"ended with status {code}"
    return died(f"worker process {worker.process.pid} {how}", worker.item, name_of)
