"""A pool of workers: in this process, in processes of this machine, or on Ray."""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from initzoo.errors import InitzooError, MissingExtra, WorkerDied
from initzoo.work.devices import one_thread

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

__all__ = ["WORKER_CONTEXT", "Backend", "Pool", "use_one_core"]

Item = TypeVar("Item")
Result = TypeVar("Result")

Backend = Literal["processes", "ray"]

WORKER_CONTEXT = multiprocessing.get_context("spawn")
"""Processes are spawned, because the threads of torch do not survive a fork."""

_NO_RAY = 'the backend ray needs ray. Install it with: pip install "initzoo[ray]"'

TICK_SECONDS = 0.5
"""Interval between calls of `on_tick`, seconds."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt()
_KEPT_BYTES = 1 << 29


@dataclass(frozen=True)
class Pool:
    """A pool of workers, one core each, that share a list of items.

    The backend does not change results, provided that each result depends on its item alone.

    Args:
        n_workers: number of workers. At most one worker per item is started.
        backend: `processes` for processes of this machine; a single worker is the current process. `ray` for
            actors on the Ray cluster at `RAY_ADDRESS`, or on a cluster started on this machine. All machines
            of a cluster must see the same files at the same paths.

    Raises:
        ValueError: the number of workers or the backend is invalid.

    Example:
        >>> from functools import partial
        >>> from operator import mul
        >>> dict(Pool(1).run(partial(partial, mul, 3), [1, 2]))
        {1: 3, 2: 6}
    """

    n_workers: int
    backend: Backend = "processes"

    def __post_init__(self) -> None:
        if self.n_workers < 1:
            raise ValueError(f"n_workers must be at least 1, found {self.n_workers}")
        if self.backend not in ("processes", "ray"):
            raise ValueError(f"backend must be processes or ray, found {self.backend!r}")

    @classmethod
    def make(cls, n_workers: int | None = None, backend: Backend = "processes") -> Pool:
        """Make a pool; `n_workers` None or 0 gives one worker per core of the machine or the cluster.

        Use it before long work begins: a backend that is not installed shows at once.

        Raises:
            MissingExtra: the backend is `ray`, which is not installed.

        Example:
            >>> Pool.make(3)
            Pool(n_workers=3, backend='processes')
        """
        if backend == "ray" and find_spec("ray") is None:
            raise MissingExtra(_NO_RAY)
        if not n_workers:
            n_workers = _count_ray_cores() if backend == "ray" else os.cpu_count() or 1
        return cls(n_workers, backend)

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
            WorkerDied: a worker ended without a result.
            MissingExtra: the backend is `ray`, which is not installed.
            Exception: `make_worker` or a worker raised it.
        """
        n_workers = min(self.n_workers, len(items))
        if n_workers == 0:
            return
        if self.backend == "ray":
            yield from _run_on_ray(make_worker, items, n_workers, name_of, on_tick)
        elif n_workers == 1:
            yield from _run_here(make_worker, items)
        else:
            yield from _run_in_processes(make_worker, items, n_workers, name_of, on_tick)


def use_one_core() -> None:
    """Limit this worker to one thread, let it reuse freed memory, and end it when its parent ends.

    The workers of a killed parent would otherwise run on beside those of the next run.
    """
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # torch reads them on import
    _limit_torch()
    _keep_freed_memory()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _limit_torch() -> None:
    """Limit torch to one thread if it is loaded. It is not imported here, which would take seconds."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _keep_freed_memory() -> None:
    """Let glibc reuse large freed arrays. Fresh pages each time took 5 to 15% of a training step."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
            mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)


def _run_here(
    make_worker: Callable[[], Callable[[Item], Result]], items: Sequence[Item]
) -> Iterator[tuple[Item, Result]]:
    with one_thread():
        work = make_worker()
    for item in items:
        with one_thread():
            result = work(item)
        yield item, result  # outside of one_thread: the caller's code runs now


@dataclass(frozen=True)
class _Outcome(Generic[Result]):
    """The result of a worker, or its exception."""

    result: Result | None = None
    error: Exception | None = None
    trace: str = ""

    def get(self) -> Result:
        if self.error is not None:
            if not isinstance(self.error, InitzooError):  # a bug: keep the worker's traceback
                self.error.add_note(f"Raised in a worker:\n{self.trace}")
            raise self.error
        return cast("Result", self.result)


def _attempt(function: Callable[[], Result]) -> _Outcome[Result]:
    try:
        return _Outcome(function())
    except Exception as error:  # noqa: BLE001 (raised again by the parent)
        trace, raised = traceback.format_exc(), error.with_traceback(None)
    try:
        pickle.loads(pickle.dumps(raised))  # noqa: S301 (our own bytes)
    except Exception:  # noqa: BLE001 (pickling can raise anything)
        raised = RuntimeError(f"{type(raised).__name__}: {raised}")
    return _Outcome(error=raised, trace=trace)


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
        made = _attempt(make_worker)
        _limit_torch()  # again: torch may be loaded now, and may have missed the variables
        connection.send(_Outcome(error=made.error, trace=made.trace))
        while made.error is None:
            item = connection.recv()
            outcome = _attempt(partial(made.get(), item))
            sent = _attempt(partial(connection.send, outcome))
            if sent.error is not None:  # a result that cannot be pickled
                connection.send(sent)


def _process_died(worker: _Process[Item], name_of: Callable[[Item], str]) -> WorkerDied:
    worker.process.join(timeout=10)
    code = worker.process.exitcode
    how = f"was killed ({signal.Signals(-code).name})" if code and code < 0 else f"ended with status {code}"
    return _died(f"worker process {worker.process.pid} {how}", worker.item, name_of)


def _died(event: str, item: tuple[Item] | None, name_of: Callable[[Item], str]) -> WorkerDied:
    where = "as it started" if item is None else f"at {name_of(item[0])[:80]}"
    return WorkerDied(
        f"{event} {where}. Run the same command again; if memory was short, with fewer --workers"
    )


class _RayWorker:
    """A worker on Ray.

    Args:
        search_path: `sys.path` of the driver. Ray does not pass it on, and a teacher may be a function in a
            module beside the concepts file.
    """

    def __init__(self, search_path: Sequence[str]) -> None:
        use_one_core()
        sys.path += [path for path in search_path if path not in sys.path]
        self._work: Callable[[Any], Any] | None = None

    def make(self, pickled: bytes) -> _Outcome[None]:
        made = _attempt(lambda: pickle.loads(pickled)())  # noqa: S301 (the driver's own bytes)
        _limit_torch()
        self._work = made.result
        return _Outcome(error=made.error, trace=made.trace)

    def work(self, item: Any) -> _Outcome[Any]:
        assert self._work is not None
        return _attempt(partial(self._work, item))


def _run_on_ray(
    make_worker: Callable[[], Callable[[Item], Result]],
    items: Sequence[Item],
    n_workers: int,
    name_of: Callable[[Item], str],
    on_tick: Callable[[], None] | None,
) -> Iterator[tuple[Item, Result]]:
    actors: list[Any] = []
    with _connected_ray() as ray:
        try:
            actors = [ray.remote(num_cpus=1)(_RayWorker).remote(sys.path) for _ in range(n_workers)]
            pickled = ray.put(ray.cloudpickle.dumps(make_worker))  # sent to each machine once
            # An actor gets its first item when it is ready: one that waits for a core delays no item.
            awaited: dict[Any, tuple[Any, tuple[Item] | None]] = {
                actor.make.remote(pickled): (actor, None) for actor in actors
            }
            n_begun = n_done = 0
            while n_done < len(items):
                ready, _ = ray.wait(list(awaited), timeout=TICK_SECONDS if on_tick else None)
                if on_tick and not ready:
                    on_tick()
                for reference in ready:
                    actor, finished = awaited.pop(reference)
                    try:
                        outcome = ray.get(reference)
                    except ray.exceptions.RayActorError as error:
                        raise _died("a worker on Ray ended", finished, name_of) from error
                    if outcome.error is None and n_begun < len(items):
                        awaited[actor.work.remote(items[n_begun])] = actor, (items[n_begun],)
                        n_begun += 1
                    result = outcome.get()
                    if finished is not None:
                        n_done += 1
                        yield finished[0], result
        finally:
            for actor in actors:
                ray.kill(actor)


@contextmanager
def _connected_ray() -> Iterator[Any]:
    """Connect Ray to its cluster, and disconnect it afterwards if it was not connected before.

    Raises:
        MissingExtra: Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtra(_NO_RAY) from error
    is_ours = not ray.is_initialized()
    if is_ours:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield ray
    finally:
        if is_ours:
            ray.shutdown()


def _count_ray_cores() -> int:
    with _connected_ray() as ray:
        return max(1, int(ray.cluster_resources().get("CPU", 1)))
