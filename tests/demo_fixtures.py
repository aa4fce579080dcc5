"""The demo as visitors meet it: a server of its own, with the zoo that comes with initzoo."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
CHROMIUM_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
BROWSER_TESTS = "browser tests"
"""How the reason of those that are skipped begins: the summary of a run counts them."""

_START_SECONDS = 240  # a busy machine is no failure; `make demo-times` tells how long it takes on a free one


@dataclass(frozen=True)
class DemoServer:
    """A running `initzoo demo`."""

    url: str
    process: subprocess.Popen[str]
    log: list[str]

    def health(self) -> dict[str, Any]:
        """What it says of itself."""
        with urllib.request.urlopen(f"{self.url}/health", timeout=60) as answer:
            told: dict[str, Any] = json.load(answer)
        return told

    def memory_mb(self) -> float:
        """Resident memory of the server, MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024 / 1e6


@contextmanager
def running_demo(
    *command: str, python: Path | str = sys.executable, cwd: Path | None = None, **variables: str
) -> Iterator[DemoServer]:
    """Start `initzoo demo`, or what Python is to run in its place, on a free port; stop it in the end."""
    if find_spec("gradio") is None:
        pytest.skip("the demo needs gradio")
    arguments = command or ("-m", "initzoo", "demo", "--port", "0")
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    with subprocess.Popen(
        [python, *arguments], stderr=subprocess.PIPE, text=True, env=environment, cwd=cwd
    ) as process:
        assert process.stderr is not None
        log: list[str] = []
        is_ready, url = threading.Event(), []

        def listen() -> None:
            assert process.stderr is not None
            for line in process.stderr:
                log.append(line.rstrip())
                if found := re.search(r"ready in [\d.]+ s  (http://\S+?)/ ", line):
                    url.append(found[1])
                    is_ready.set()
            is_ready.set()  # it ended

        reader = threading.Thread(target=listen, daemon=True)
        reader.start()
        try:
            assert is_ready.wait(_START_SECONDS), "the demo takes too long to start"
            assert url, f"the demo did not start: {log[-5:]}"
            yield DemoServer(url[0], process, log)
        finally:
            process.terminate()
            process.wait(30)


def request(
    demo: DemoServer, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, str, bytes]:
    """Status, `Location` and body of a request that is sent as it stands, dots and all."""
    host = demo.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.request(
            method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location") or "", answer.read(200_000)
    finally:
        connection.close()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where Debian's chromium is; without one, tests of the browser are skipped, and fail where CI is set."""
    if CHROMIUM is not None and find_spec("playwright") is not None:
        return CHROMIUM
    missing = f"{BROWSER_TESTS} need Debian's chromium, and playwright: apt-get install chromium"
    if os.environ.get("CI", "").lower() in ("", "0", "false"):
        pytest.skip(missing)
    pytest.fail(missing)


@pytest.fixture(scope="session")
def demo() -> Iterator[DemoServer]:
    """The demo of the starter zoo."""
    with running_demo() as server:
        yield server


@pytest.fixture(scope="session")
def photo_path() -> Iterator[Path]:
    """Somebody's photo, small enough to be shown as it is."""
    from initzoo.files.images import write_image
    from initzoo.pairs.photos import fit_short_side, load_photos

    coffee = next(photo for photo in load_photos(split="score") if photo.name == "coffee")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "my photo.png"
        write_image(path, fit_short_side(coffee.pixels, 128), force=False)
        yield path
