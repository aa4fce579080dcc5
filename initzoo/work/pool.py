"""A pool of workers: in this process, in processes of this machine, or on Ray."""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import pickle
import re
import signal
import socket
import sys
import tempfile
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from initzoo.errors import (
    ClusterUnavailable,
    DeviceUnavailable,
    InitzooError,
    InitzooWarning,
    MissingExtra,
    WorkerDied,
    printable,
)
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

_MAX_RETRIES = 3
"""How often an item is done again on Ray after its worker was lost."""

_ANSWER_SECONDS = 5.0
"""How long a cluster may take to answer, seconds. Ray itself waits for two minutes."""

_HTTP2_SETTINGS = b"\x04"
_HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + _HTTP2_SETTINGS + bytes(5)
"""What a client of HTTP/2, which Ray speaks, says first. A server answers with settings, too."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt()
_KEPT_BYTES = 1 << 29


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
            if find_spec("ray") is None:
                raise MissingExtra(_NO_RAY)
            is_elsewhere = (address or os.environ.get("RAY_ADDRESS") or "local") != "local"
            if is_elsewhere or needs_gpu or not n_workers:
                n_cores = _count_ray_cores(address, needs_gpu=needs_gpu)
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
            with _connected_ray(self.address) as ray:
                tasks = _RayTasks(ray, make_worker, items, n_workers, name_of, needs_gpu=self.needs_gpu)
                yield from tasks.run(on_tick)
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
    return WorkerDied(
        f"{event} {_where(item, name_of)}. Run the same command again; if memory was short, with fewer "
        "--workers"
    )


def _where(item: tuple[Item] | None, name_of: Callable[[Item], str]) -> str:
    return "as it started" if item is None else f"at {name_of(item[0])[:80]}"


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


class _RayTasks(Generic[Item, Result]):
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
        self._make_actor = ray.remote(num_cpus=1, num_gpus=int(needs_gpu))(_RayWorker).remote
        self._lost = ray.exceptions.RayActorError, ray.exceptions.ObjectLostError
        self._left = len(items)
        self._todo = deque(_RayItem(item) for item in items)
        self._idle: list[Any] = []
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
                    if outcome.error is None:
                        self._give_work(actor)
                    result = outcome.get()
                    if task is None:
                        self._n_lost_at_start = 0
                    else:
                        self._left -= 1
                        yield task.item, result
        finally:
            for actor in [*self._idle, *(actor for actor, _ in self._awaited.values())]:
                self._ray.kill(actor)

    def _add_actor(self) -> None:
        # An actor gets its first item when it is ready: one that waits for a core delays no item.
        actor = self._make_actor(sys.path)
        self._awaited[actor.make.remote(self._pickled)] = actor, None

    def _give_work(self, actor: Any) -> None:
        if not self._todo:
            self._idle.append(actor)
            return
        task = self._todo.popleft()
        self._awaited[actor.work.remote(task.item)] = actor, task

    def _replace(self, actor: Any, task: _RayItem[Item] | None, error: Exception) -> None:
        """Have the item of a lost actor done by another one, or raise if that was tried often enough."""
        self._ray.kill(actor)  # it lives if its result alone was lost, with the machine that held it
        if task is None:
            self._n_lost_at_start += 1
            n_lost, item = self._n_lost_at_start, None
        else:
            task.n_lost += 1
            n_lost, item = task.n_lost, (task.item,)
        if n_lost > _MAX_RETRIES:
            why = "" if task else f" ({printable(str(error).strip().splitlines()[-1].split('. ')[0])[:200]})"
            event = f"{n_lost} workers on Ray were lost, the last one{why}"
            raise _died(event, item, self._name_of) from error
        if task is not None:
            self._todo.appendleft(task)
        if not _RayTasks._has_warned:
            _RayTasks._has_warned = True
            warnings.warn(
                f"a worker on Ray was lost {_where(item, self._name_of)}. It and later ones are replaced, "
                "and their work is done again",
                InitzooWarning,
                stacklevel=2,
            )
        if self._idle:  # it may hold the last free core of the cluster
            self._give_work(self._idle.pop())
        else:
            self._add_actor()


@dataclass
class _RayItem(Generic[Item]):
    """An item and the number of workers that were lost with it."""

    item: Item
    n_lost: int = 0


@contextmanager
def _connected_ray(address: str | None) -> Iterator[Any]:
    """Connect Ray to its cluster, and disconnect it afterwards if it was not connected before.

    Raises:
        MissingExtra: Ray is not installed.
        ClusterUnavailable: no cluster answers at the address, or it has other versions.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")  # its warnings go to standard error
    try:
        import ray
    except ImportError as error:
        raise MissingExtra(_NO_RAY) from error
    is_ours = not ray.is_initialized()
    if is_ours:
        _connect(ray, address or os.environ.get("RAY_ADDRESS") or None)
    try:
        yield ray
    finally:
        if is_ours:
            ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    if address not in (None, "auto", "local"):
        _check_answers(address)
    where = "a Ray cluster on this machine"
    if address not in (None, "local"):
        where = f"the Ray cluster at {printable(address)[:80]}"
    # Ray prints on standard output that a worker was lost, whatever log_to_driver is; --json prints there.
    ray._private.worker._worker_logs_enabled = False
    with _quiet_stderr() as read_stderr:
        try:
            with warnings.catch_warnings(action="ignore"):  # tips for programs on Ray
                ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        # Ray raises errors of many kinds, and leaves the program if what answers is no head of a cluster.
        except (Exception, SystemExit) as error:
            raise ClusterUnavailable(f"{where} {_trouble(error, read_stderr())}") from error


def _trouble(error: BaseException, stderr: str) -> str:
    """What is wrong with a cluster, from the error of Ray and what it wrote."""
    if "Version mismatch" in str(error):
        found = re.findall(r"(?m)^ *(Ray|Python): *(.*)", str(error))  # the cluster's, then ours
        theirs, ours = (" and ".join(map(" ".join, half)) for half in (found[:2], found[2:]))
        return f"runs {theirs}, this machine {ours}. Install the same versions on both"
    if "AuthToken" in stderr:
        return (
            "asks for a token. Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the output of "
            "`ray get-auth-token` on its head"
        )
    reason = " ".join(str(error).split())[:200] if isinstance(error, Exception) else "it does not answer"
    return f"cannot be used: {reason}"


@contextmanager
def _quiet_stderr() -> Iterator[Callable[[], str]]:
    """Keep back what is written to standard error, by libraries in C++ too, within the block.

    Yields:
        A function that returns what was written.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:

        def read() -> str:
            file.seek(0)
            return file.read().decode("utf-8", "replace")

        os.dup2(file.fileno(), 2)
        try:
            yield read
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def _check_answers(address: str) -> None:
    """Raise unless the head of a cluster may be at an address. Ray itself would try for two minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    shown = printable(address)[:80]
    if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ClusterUnavailable(
            f"{shown!r} is not the address of a Ray cluster. Name host and port of its head, e.g. "
            "10.0.0.1:6379"
        )
    advice = "Name the address that `ray start --head` printed, or start a cluster with it"
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") in ("", "0"):  # encrypted, the greeting is another one
                connection.sendall(_HTTP2_GREETING)
                greeting = connection.recv(9, socket.MSG_WAITALL)
                if greeting[3:4] != _HTTP2_SETTINGS:
                    raise ClusterUnavailable(f"what answers at {shown} is no Ray cluster. {advice}")
    except (OSError, UnicodeError) as error:  # an impossible name cannot be encoded
        reason = getattr(error, "strerror", None) or str(error) or "no answer"
        raise ClusterUnavailable(f"no Ray cluster at {shown}: {reason}. {advice}") from error


def _count_ray_cores(address: str | None, *, needs_gpu: bool) -> int:
    with _connected_ray(address) as ray:
        found = ray.cluster_resources()
        if needs_gpu and found.get("GPU", 0) < 1:
            raise DeviceUnavailable("the Ray cluster has no GPU. Take --device cpu, or a cluster with GPUs")
        return max(1, int(found.get("CPU", 1)))
