"""Pools of workers: results as they come, one error when a worker dies, and the same bytes everywhere."""

import json
import multiprocessing
import os
import pickle
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner
from pool_work import Pids, WaitsForOther, dead_at_start, doubler, failer, never_made, summer
from waiting import wait_until

from initzoo.cli.main import main
from initzoo.errors import ClusterUnavailable, InitzooWarning, InvalidZoo, MissingExtra, WorkerDied
from initzoo.work.pool import WORKER_CONTEXT, Pool
from initzoo.work.workers import Outcome

TESTS = Path(__file__).parent


@pytest.fixture
def spawned(monkeypatch):
    """Workers as the program starts them, and not as conftest.py has them for all other tests."""
    assert WORKER_CONTEXT.get_start_method() == "forkserver"
    monkeypatch.setattr("initzoo.work.pool.WORKER_CONTEXT", multiprocessing.get_context("spawn"))


@pytest.mark.parametrize("n_workers", [1, 2, 7])
def test_every_item_comes_back_with_its_result(n_workers):
    results = list(Pool(n_workers).run(doubler, [1, 2, 3]))
    assert sorted(results) == [(1, 2), (2, 4), (3, 6)]


def test_no_items_need_no_workers():
    assert list(Pool(4).run(never_made, [])) == []


def test_results_come_as_they_are_done(tmp_path):
    seen = []
    for item, result in Pool(2).run(partial(WaitsForOther, tmp_path), ["first", "second"]):
        (tmp_path / "seen").touch()
        seen.append((item, result))
    assert seen == [("second", "SECOND"), ("first", "FIRST")]


@pytest.mark.long
def test_one_process_and_two_give_the_same_bytes_and_leave_the_threads(spawned):
    n_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        here = dict(Pool(1).run(summer, range(4)))
        assert torch.get_num_threads() == 2
        assert here == dict(Pool(2).run(summer, range(4)))
    finally:
        torch.set_num_threads(n_threads)
    assert all(threads == 1 for *_, threads in here.values())


@pytest.mark.parametrize(
    ("kind", "how"), [("exit", "ended with status 7"), ("kill", r"was killed \(SIGKILL\)")]
)
def test_a_dead_worker_is_one_line_that_names_the_item_and_the_next_step(kind, how):
    with pytest.raises(WorkerDied, match=rf"worker process \d+ {how} at number 2\. Run the same") as caught:
        list(Pool(2).run(partial(failer, kind), [1, 2, 3], name_of=lambda item: f"number {item}"))
    assert "\n" not in str(caught.value)
    assert "fewer --workers" in str(caught.value)


def test_a_worker_that_dies_as_it_starts_is_told_too():
    with pytest.raises(WorkerDied, match="ended with status 3 as it started"):
        list(Pool(2).run(dead_at_start, [1, 2, 3]))


@pytest.mark.parametrize("n_workers", [1, 2])
def test_an_error_of_ours_arrives_as_it_is(n_workers):
    with pytest.raises(InvalidZoo, match="zoo 'x' is damaged. Pull it again") as caught:
        list(Pool(n_workers).run(partial(failer, "known"), [1, 2, 3]))
    assert not hasattr(caught.value, "__notes__")
    with pytest.raises(InvalidZoo, match="has no photos"):
        list(Pool(n_workers).run(never_made, [1, 2, 3]))


def test_another_error_arrives_with_the_traceback_of_the_worker():
    with pytest.raises(ZeroDivisionError, match="two is one too many") as caught:
        list(Pool(2).run(partial(failer, "bug"), [1, 2, 3]))
    assert "in fail" in "".join(caught.value.__notes__)
    with pytest.raises(RuntimeError, match="Awkward: 1 and 2"):
        list(Pool(2).run(partial(failer, "unpicklable error"), [1, 2, 3]))
    with pytest.raises((AttributeError, RuntimeError), match="pickle"):
        list(Pool(2).run(partial(failer, "unpicklable result"), [1, 2, 3]))


def test_workers_end_when_the_results_are_given_up(tmp_path):
    results = Pool(2).run(partial(Pids, tmp_path), [1, 2, 3, 4])
    next(results)
    assert wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    results.close()
    assert not any(is_alive(int(file.name)) for file in tmp_path.iterdir())


ENDLESS = """
import sys
from functools import partial
from pathlib import Path
import pool_work
from initzoo.work.pool import Pool

if __name__ == "__main__":
    list(Pool(2).run(partial(pool_work.Pids, Path(sys.argv[1])), [2, 3, 4]))
"""


def test_workers_end_when_the_process_that_started_them_is_killed(tmp_path):
    (tmp_path / "endless.py").write_text(ENDLESS)
    (tmp_path / "pids").mkdir()
    environment = os.environ | {"PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    command = [sys.executable, tmp_path / "endless.py", tmp_path / "pids"]
    with subprocess.Popen(command, env=environment) as process:
        wait_until(lambda: len(list((tmp_path / "pids").iterdir())) == 2 or process.poll() is not None)
        workers = [int(file.name) for file in (tmp_path / "pids").iterdir()]
        assert len(workers) == 2
        assert all(is_alive(pid) for pid in workers)
        process.kill()
    assert wait_until(lambda: not any(is_alive(pid) for pid in workers))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not has_ended(pid)


def has_ended(pid: int) -> bool:
    """Whether only its exit code is left, which nobody has asked for yet."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:  # not on Linux, or gone
        return False


def test_while_workers_are_waited_for_there_are_ticks(tmp_path, monkeypatch):
    monkeypatch.setattr("initzoo.work.pool.TICK_SECONDS", 0.01)
    ticks = []

    def tick():
        ticks.append(1)
        (tmp_path / "seen").touch()

    pool = Pool(2)
    assert len(list(pool.run(partial(WaitsForOther, tmp_path), ["first", "second"], on_tick=tick))) == 2
    assert ticks


@pytest.mark.parametrize(
    "options", [{"n_workers": 0}, {"n_workers": 1, "backend": "threads"}, {"n_workers": 1, "address": "a:1"}]
)
def test_a_pool_that_cannot_be_is_refused(options):
    with pytest.raises(
        ValueError, match="must be at least 1|must be processes or ray|address goes with the backend ray"
    ):
        Pool(**options)


def test_a_pool_has_a_worker_a_core_unless_it_is_told_otherwise(monkeypatch):
    assert Pool.make() == Pool.make(0) == Pool(os.cpu_count())
    monkeypatch.setattr("initzoo.work.cluster.find_spec", lambda name: name)
    assert Pool.make(3, "ray") == Pool(3, "ray")


def test_a_pool_on_ray_says_early_that_it_needs_ray(monkeypatch):
    monkeypatch.setattr("initzoo.work.cluster.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r'needs ray. Install it with: pip install "initzoo\[ray\]"'):
        Pool.make(3, "ray")


@pytest.fixture
def fake_ray(monkeypatch):
    """A package of that name that finds no cluster; it takes seconds to import Ray."""

    def init(address, **_):
        raise fake.error

    logs = SimpleNamespace(worker=SimpleNamespace())
    fake = SimpleNamespace(is_initialized=lambda: False, init=init, shutdown=lambda: None, _private=logs)
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr("initzoo.work.cluster.find_spec", lambda name: name)
    return fake


@contextmanager
def listening(answer: bytes):
    """A server that answers one call. Yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize(
    "address", ["here", "here:", ":6379", "here:0", "here:99999", "here:6379/x", "http://here:6379", ""]
)
def test_what_is_no_address_of_a_cluster_is_refused(fake_ray, address):
    with pytest.raises(
        ClusterUnavailable, match=rf"'{address}' is not the address of a Ray cluster. Name host"
    ):
        Pool.make(2, "ray", address)


def test_no_cluster_at_an_address_is_one_line_at_once(fake_ray, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    expected = (
        f"no Ray cluster at {address}: Connection refused. Name the address that `ray start --head` printed"
    )
    with pytest.raises(ClusterUnavailable, match=expected):
        Pool.make(2, "ray", address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ClusterUnavailable, match=expected):
        Pool.make(2, "ray")
    with (
        listening(b"HTTP/1.1 400 Bad Request") as other,
        pytest.raises(
            ClusterUnavailable, match=f"what answers at {other} is no Ray cluster. Name the address that"
        ),
    ):
        Pool.make(2, "ray", other)


MISMATCH = """Version mismatch: The cluster was started with:
    Ray: 2.54.0
    Python: 3.11.7
This process on node 192.0.2.2 was started with:
    Ray: 2.60.0
    Python: 3.12.1
"""


@pytest.mark.parametrize(
    ("error", "written", "expected"),
    [
        (
            RuntimeError(MISMATCH),
            "",
            "runs Ray 2.54.0 and Python 3.11.7, this machine Ray 2.60.0 and Python 3.12.1. Install the same",
        ),
        (
            ConnectionError("failed"),
            "Unauthenticated: InvalidAuthToken",
            "asks for a token. Set RAY_AUTH_MODE",
        ),
        (SystemExit(15), "gcs_client.cc:210: Timed out", "cannot be used: it does not answer"),
        (ValueError("it\nhas reasons"), "", "cannot be used: it has reasons"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_one_line(fake_ray, capfd, error, written, expected):
    def init(address, **_):
        os.write(2, written.encode())  # as its part in C++ does
        raise error

    fake_ray.init = init
    with (
        listening(bytes(3) + b"\x04" + bytes(5)) as address,
        pytest.raises(ClusterUnavailable, match=f"^the Ray cluster at {address} {expected}") as caught,
    ):
        Pool.make(2, "ray", address)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "words",
    [
        ["harvest", "--out", "zoo"],
        ["evaluate"],
        ["bench", "--out", "bench"],
        ["generator", "train", "--out", "generator"],
        ["generator", "evaluate"],
    ],
)
def test_an_address_without_ray_is_refused(words, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, [*words, "--address", "10.0.0.1:6379"])
    assert result.exit_code in (1, 2)
    assert "--address goes with --backend ray. Add it, or leave out --address." in result.stderr
    assert not list(tmp_path.iterdir())


def test_workers_load_torch_only_if_they_need_it_and_use_one_thread_all_the_same(spawned, monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    has_torch, n_threads = "'torch' in __import__('sys').modules", "__import__('torch').get_num_threads()"
    found = dict(Pool(2).run(partial(partial, eval), [has_torch, n_threads]))
    assert found == {has_torch: False, n_threads: 1}


LOST = [
    "RayActorError",
    "OutOfMemoryError",
    "NodeDiedError",
    "ObjectLostError",
    "ObjectReconstructionFailedError",
]


class Machines:
    """Stands for Ray: actors that run at once, die with their machine, and are gone with an error."""

    exceptions = SimpleNamespace(**{name: type(name, (Exception,), {}) for name in LOST})
    cloudpickle = pickle

    def __init__(self, fate):
        self.fate, self.actors, self.calls = fate, [], []

    def put(self, value):
        return value

    def remote(self, **_):
        return lambda worker: SimpleNamespace(remote=self._start)

    def _start(self, _):
        actor = SimpleNamespace(number=len(self.actors), is_lost=False, is_killed=False)
        for name in ("make", "work"):
            call = partial(self._call, actor, name)
            setattr(actor, name, SimpleNamespace(remote=call))
        self.actors.append(actor)
        return actor

    def _call(self, actor, name, argument):
        self.calls.append((actor, name, argument))
        return len(self.calls) - 1

    def wait(self, references, timeout):
        return references[:1], references[1:]

    def get(self, reference):
        actor, name, argument = self.calls[reference]
        error = self.fate(self, actor, name, argument)
        if actor.is_lost or error:
            raise error or self.exceptions.RayActorError("the actor died")
        return Outcome(argument if name == "work" else None)

    def kill(self, actor):
        actor.is_killed = True


def on_machines(monkeypatch, fate, n_workers, items):
    fake = Machines(fate)
    monkeypatch.setattr("initzoo.work.pool.connected_ray", lambda address: nullcontext(fake))
    monkeypatch.setattr("initzoo.work.actors.RayTasks._has_warned", False)
    return fake, Pool(n_workers, "ray").run(doubler, items)


@pytest.mark.filterwarnings("ignore:a worker on Ray was lost")
@pytest.mark.parametrize("kind", LOST)
def test_whatever_a_worker_on_ray_is_lost_to_its_item_is_done_again_once(monkeypatch, kind):
    lost = []

    def fate(ray, actor, name, argument):
        if name == "work" and argument == 2 and len(lost) < 3:
            lost.append(actor)
            return getattr(ray.exceptions, kind)("gone")
        return None

    fake, results = on_machines(monkeypatch, fate, 2, [1, 2, 3])
    assert sorted(results) == [(1, 1), (2, 2), (3, 3)]
    assert len(lost) == 3
    assert all(actor.is_killed for actor in fake.actors)


@pytest.mark.filterwarnings("ignore:a worker on Ray was lost")
def test_a_machine_of_many_workers_on_ray_may_be_lost_at_any_time(monkeypatch):
    def as_they_start(ray, actor, name, argument):
        actor.is_lost = actor.number < 8

    def with_the_last_item(ray, actor, name, argument):
        if name == "work" and argument == 8:
            for one in ray.actors[:8]:
                one.is_lost = True

    for fate in (as_they_start, with_the_last_item):
        _, results = on_machines(monkeypatch, fate, 8, range(1, 9))
        assert sorted(results) == [(item, item) for item in range(1, 9)]


@pytest.mark.parametrize(
    ("kind", "words", "expected"),
    [
        (
            "RayActorError",
            "an actor died\nModuleNotFoundError: no initzoo",
            "ModuleNotFoundError: no initzoo",
        ),
        (
            "OutOfMemoryError",
            "1 worker was killed: memory. 1 GB of 2\nRefer to: docs",
            "1 worker was killed: memory",
        ),
    ],
)
def test_workers_on_ray_that_never_start_end_the_run(monkeypatch, kind, words, expected):
    def fate(ray, actor, name, argument):
        return getattr(ray.exceptions, kind)(words)

    _, results = on_machines(monkeypatch, fate, 2, [1, 2, 3])
    with (
        pytest.warns(InitzooWarning, match="a worker on Ray was lost as it started"),
        pytest.raises(WorkerDied, match=rf"7 workers on Ray were lost, the last one \({expected}\) as it"),
    ):
        list(results)


ON_RAY = """
import json, logging, sys, warnings
from functools import partial
from pathlib import Path
sys.path.append({tests!r})  # as for the module of a teacher, which workers must find too
import pool_work as t
from initzoo.errors import InitzooError
from initzoo.work.pool import Pool

if __name__ == "__main__":
    pool = Pool(2, "ray")
    found = {{"bytes": dict(pool.run(t.summer, range(4)))}}
    with warnings.catch_warnings(record=True) as caught:
        found["once"] = sorted(pool.run(partial(t.dies_once, Path(sys.argv[1])), [1, 2, 3]))
    found["notes"] = [str(one.message) for one in caught]
    for kind in ("exit", "known"):
        warnings.simplefilter("ignore")
        try:
            list(pool.run(partial(t.failer, kind), [1, 2, 3]))
        except InitzooError as error:
            found[kind] = [type(error).__name__, str(error)]
    import ray

    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    found["cores"] = Pool.make(None, "ray").n_workers
    found["is_left_alone"] = ray.is_initialized()
    print("found", json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_ray_gives_the_bytes_and_the_errors_of_processes(tmp_path):
    pytest.importorskip("ray", reason='NOT TESTED: work on Ray. pip install "initzoo[ray]" to test it')
    environment = os.environ | {"PYTHONPATH": str(TESTS.parent), "RAY_ADDRESS": "local"}
    result = subprocess.run(
        [sys.executable, "-c", ON_RAY.format(tests=str(TESTS)), str(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    lines = [line for line in result.stdout.splitlines() if line.startswith("found ")]
    assert lines, result.stderr
    found = json.loads(lines[0].removeprefix("found "))
    here = {str(item): result for item, result in Pool(1).run(summer, range(4))}
    assert found["bytes"] == here
    assert found["cores"] == 3
    assert found["is_left_alone"]
    assert found["known"] == ["InvalidZoo", "zoo 'x' is damaged. Pull it again"]
    assert found["exit"][0] == "WorkerDied"
    assert "4 workers on Ray were lost, the last one at 2. Run the same command again" in found["exit"][1]
    assert found["once"] == [[1, 1], [2, 2], [3, 3]]
    assert found["notes"] == [
        "a worker on Ray was lost at 2. It and later ones are replaced, and their work is done again"
    ]
    assert result.stdout.splitlines() == lines  # Ray prints nothing of its own
    assert not result.stderr
