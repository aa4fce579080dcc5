"""Starts the page: opens the zoo, builds it, and serves it within limits until it is stopped."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from initzoo.errors import MissingExtra, OutputError

__all__ = ["check_gradio", "serve"]

_MAX_WAITING = 40
_SESSIONS = 500


def check_gradio() -> None:
    """Make sure that the page can be shown, before a zoo is loaded.

    Raises:
        MissingExtra: gradio is not installed.
    """
    if find_spec("gradio") is None:
        raise MissingExtra('the demo needs gradio. Install it with: pip install "initzoo[demo]"')


def serve(
    zoo: str = "starter",
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    is_waiting: bool = True,
    say: Callable[[str], None] | None = None,
) -> Callable[[], None]:
    """Serve the page of a zoo.

    Visitors wait in one queue, two are computed for at a time, and their files are kept for an hour.
    `/health` says that the server is up, as JSON.

    Args:
        zoo: name, folder or Hub address, as `Zoo.from_pretrained` takes it.
        host: address to listen at; `0.0.0.0` for all of the machine's.
        port: to listen at; 0 takes a free one.
        is_waiting: stay until Ctrl-C; else serve in the background.
        say: is told what happens, line by line; standard error by default.

    Returns:
        What stops the server.

    Raises:
        MissingExtra: gradio is not installed.
        OutputError: the port is taken.
        UnknownZoo, AccessDenied, HubUnavailable, InvalidZoo, InvalidGenerator: as for `Zoo.pull`.
    """
    began = time.perf_counter()
    say = say or _say
    check_gradio()
    folder = tempfile.TemporaryDirectory(prefix="initzoo-demo-")
    _prepare(Path(folder.name))
    from initzoo.demo.answers import Answers
    from initzoo.demo.keeping import KeptFiles
    from initzoo.demo.studio import Studio

    studio, note = Studio.open(zoo)
    if note:
        say(note)
    from initzoo.demo.page import N_AT_ONCE, build_page

    page = build_page(Answers(studio, KeptFiles(Path(folder.name))))
    page.queue(max_size=_MAX_WAITING, default_concurrency_limit=N_AT_ONCE, api_open=False)
    health = {"status": "ok", "zoo": studio.zoo.name, "revision": studio.zoo.revision}
    try:
        _, url, _ = page.launch(**_launch_options(host, port or _free_port(host), health, folder.name))
    except OSError as error:
        folder.cleanup()
        raise OutputError(
            f"cannot listen at {host}, port {port}: it is taken. Name another: --port 7861"
        ) from error
    seconds = time.perf_counter() - began
    health["started_in_seconds"] = str(round(seconds, 2))
    say(f"zoo {studio.zoo.name}  revision {studio.zoo.revision[:7]}  {len(studio.zoo.index):,} concepts")
    say(f"ready in {seconds:.1f} s  {url}  health {url}health")

    def stop() -> None:
        page.close(verbose=False)
        folder.cleanup()

    if is_waiting:
        try:
            page.block_thread()
        finally:
            stop()
    return stop


def _launch_options(host: str, port: int, health: dict[str, str], folder: str) -> dict[str, Any]:
    import gradio as gr
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from initzoo.demo.guard import Guard
    from initzoo.demo.uploads import MAX_UPLOAD_BYTES

    async def tell_health(_: Request) -> JSONResponse:
        return JSONResponse(health)

    here = Path(__file__).parent
    system_fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    system_mono = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
    return {
        "server_name": host,
        "server_port": port,
        "prevent_thread_lock": True,
        "quiet": True,
        "share": False,
        "show_error": False,  # what is not said on purpose stays in the log
        "ssr_mode": False,
        "allowed_paths": [],
        "max_file_size": MAX_UPLOAD_BYTES,
        "max_threads": 16,
        "state_session_capacity": _SESSIONS,
        "enable_monitoring": False,
        "run_history": False,
        "mcp_server": False,
        "pwa": False,
        "footer_links": ["api", "gradio", "settings"],
        "app_kwargs": {
            "routes": [Route("/health", tell_health)],
            "middleware": [Middleware(Guard, folder=folder)],
        },
        # Names of fonts, not of font files: nothing is fetched from another host.
        "theme": gr.themes.Soft(font=system_fonts, font_mono=system_mono),
        "css": (here / "page.css").read_text("utf-8"),
        "js": (here / "page.js").read_text("utf-8"),
    }


def _prepare(folder: Path) -> None:
    """Settings that gradio and torch read once: no telemetry, own folder for files, one thread a request."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(folder.resolve())
    os.environ.pop("GRADIO_ALLOWED_PATHS", None)
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    torch.set_num_threads(1)


def _free_port(host: str) -> int:
    import socket

    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
