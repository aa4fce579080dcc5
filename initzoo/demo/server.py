"""The server: opens the zoo, builds the page, and serves it until it is stopped."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from initzoo.errors import MissingExtra, OutputError

__all__ = ["check_gradio", "serve"]

_MAX_QUEUED = 20
_THREADS = 80
_SESSIONS = 500
_KEEP_SECONDS = 3600
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_M_MMAP_THRESHOLD = -3  # of malloc.h


def check_gradio(*, mcp: bool = False) -> None:
    """Check that gradio is installed, before a zoo is loaded.

    Args:
        mcp: check for the Model Context Protocol, too.

    Raises:
        MissingExtra: a package is not installed.
    """
    if find_spec("gradio") is None:
        raise MissingExtra('the demo needs gradio. Install it with: pip install "initzoo[demo]"')
    if mcp and find_spec("mcp") is None:
        raise MissingExtra('--mcp needs the package mcp. Install it with: pip install "initzoo[mcp]"')


def serve(
    zoo: str = "starter",
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    keep_seconds: int = _KEEP_SECONDS,
    wheel: str | os.PathLike[str] | None = None,
    mcp: bool = False,
    is_waiting: bool = True,
    say: Callable[[str], None] | None = None,
) -> Callable[[], None]:
    """Serve the page of a zoo.

    Visitors wait in one queue, and two pictures are computed at a time. Files of visitors are kept for an
    hour and deleted when the server stops, or when the next one starts if it was killed. `/health` returns
    the status and the number of sessions as JSON.

    Args:
        zoo: name, folder or Hub address, as for `Zoo.from_pretrained`.
        host: address to listen at; `0.0.0.0` for all addresses of the machine.
        port: port to listen at; 0 for any free port.
        keep_seconds: seconds to keep a visitor's file after its last use.
        wheel: a wheel of initzoo, which the page then offers and names in its commands.
        mcp: whether to serve the endpoints as tools of the Model Context Protocol as well.
        is_waiting: block until Ctrl-C or SIGTERM; if False, serve in the background.
        say: called with each line of the log; by default lines go to standard error.

    Returns:
        A function that stops the server.

    Raises:
        MissingExtra: gradio is not installed, or `mcp` needs a package that is not.
        OutputError: the port is taken, or the machine does not have the address.
        UnknownZoo, AccessDenied, HubUnavailable, InvalidZoo, InvalidGenerator: as for `Zoo.pull`.
    """
    began = time.perf_counter()
    say = say or _say
    check_gradio(mcp=mcp)
    port = _check_port(host, port)  # before the slow loading of a zoo
    _use_one_thread()
    _give_memory_back()
    from initzoo.demo.api import Answers
    from initzoo.demo.file_store import KeptFiles, Sweeper
    from initzoo.demo.leftovers import VisitorFolder, remove_leftovers
    from initzoo.demo.service import Studio

    package = _check_wheel(wheel)
    studio, note = Studio.open(zoo)
    if note:
        say(note)
    if n_left := remove_leftovers():
        say(f"removed the files of visitors of {n_left} server(s) that were killed")
    folder = VisitorFolder()
    _prepare(folder.path)
    kept = KeptFiles(folder.path)
    with _without_proxies():
        from initzoo.demo.endpoints import N_RUNNING, build_endpoints
        from initzoo.demo.routes import page_routes
        from initzoo.demo.sessions import SessionSweeper
        from initzoo.demo.views import Views

        page = build_endpoints(Answers(studio, kept), keep_seconds=keep_seconds)
    views = Views(studio, kept, package)
    views.warm_up()
    page.queue(max_size=_MAX_QUEUED, default_concurrency_limit=N_RUNNING, api_open=False)
    health = {"status": "ok", "zoo": studio.zoo.name, "revision": studio.zoo.revision}

    def tell_health() -> dict[str, str | int]:
        return health | {"sessions": len(page.state_holder.session_data)}

    try:
        with _without_proxies():
            options = _launch_options(host, port, tell_health, str(folder.path))
            options["app_kwargs"]["routes"] += page_routes(views)
            _, url, _ = page.launch(**options, mcp_server=mcp)
    except OSError as error:  # another program took the port meanwhile
        folder.remove()
        raise _port_error(host, port, error) from error
    sweepers = Sweeper(kept, age=keep_seconds), SessionSweeper(page.state_holder)
    seconds = time.perf_counter() - began
    health["started_in_seconds"] = str(round(seconds, 2))
    say(f"zoo {studio.zoo.name}  revision {studio.zoo.revision[:7]}  {len(studio.zoo.index):,} concepts")
    say(f"ready in {seconds:.1f} s  {url}  health {url}health")

    def stop() -> None:
        for sweeper in sweepers:
            sweeper.stop()
        page.close(verbose=False)
        folder.remove()

    if is_waiting:
        try:
            _wait()
        finally:
            stop()
            say("stopped; files of visitors are deleted")
    return stop


def _wait() -> None:
    """Block until Ctrl-C or SIGTERM. Both return normally, so that visitors' files are deleted."""

    def leave(*_: object) -> None:
        raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, leave) if is_main else None
    try:
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)


def _launch_options(
    host: str, port: int, tell_health: Callable[[], dict[str, str | int]], folder: str
) -> dict[str, Any]:
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from initzoo.demo.guard import Guard
    from initzoo.demo.uploads import MAX_UPLOAD_BYTES

    async def health(_: Request) -> JSONResponse:
        return JSONResponse(tell_health())

    return {
        "server_name": host,
        "server_port": port,
        "prevent_thread_lock": True,
        "quiet": True,
        "share": False,
        "show_error": False,  # unexpected errors go to the log only
        "ssr_mode": False,
        "allowed_paths": [],
        "max_file_size": MAX_UPLOAD_BYTES,
        "max_threads": _THREADS,
        "state_session_capacity": _SESSIONS,
        "enable_monitoring": False,
        "run_history": False,
        "pwa": False,
        "app_kwargs": {
            "routes": [Route("/health", health)],
            "middleware": [Middleware(Guard, folder=folder)],
        },
    }


def _use_one_thread() -> None:
    """Use one thread per request: on small convolutions more are slower, and two requests share two cores."""
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    torch.set_num_threads(1)


def _give_memory_back() -> None:
    """Make glibc map large allocations separately and unmap them when they are freed.

    By default glibc raises the threshold when the first large allocation is freed. Photos then lie in the
    heaps of threads, and each thread keeps half a gigabyte after its first large photo.
    """
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):  # another libc
        ctypes.CDLL("libc.so.6").mallopt(_M_MMAP_THRESHOLD, 2**20)


def _prepare(folder: Path) -> None:
    """Set what gradio reads on import: telemetry off, and the folder for its files."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(folder.resolve())
    os.environ.pop("GRADIO_ALLOWED_PATHS", None)


@contextmanager
def _without_proxies() -> Iterator[None]:
    """Hide the proxies of the environment while gradio starts.

    It asks the page at the page's address whether it is up, which no proxy can answer, and makes HTTP clients
    when it is imported, which fail on a proxy that they cannot speak to. NO_PROXY would help with the first
    alone. The client of the Hub keeps its proxies.
    """
    hidden = {name: value for name, value in os.environ.items() if name.lower() in _PROXIES}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


def _check_wheel(wheel: str | os.PathLike[str] | None) -> Path | None:
    if wheel is None:
        return None
    path = Path(wheel)
    if path.suffix != ".whl" or not path.is_file():
        raise OutputError(f"there is no wheel '{path}'. Build one: make space")
    return path


def _check_port(host: str, port: int) -> int:
    """The given port if it is free, or any free port for 0."""
    try:
        with socket.create_server((host, port)) as probe:
            free: int = probe.getsockname()[1]
            return free
    except OSError as error:
        raise _port_error(host, port, error) from error


def _port_error(host: str, port: int, error: OSError) -> OutputError:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return OutputError(
            f"cannot listen at {host[:200]!r}: this machine does not have that IPv4 address. "
            "Name another: --host 127.0.0.1, or 0.0.0.0 for all"
        )
    why = "permission denied" if isinstance(error, PermissionError) else "it is taken"
    return OutputError(f"cannot listen at {host}, port {port}: {why}. Name another: --port 7861")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
