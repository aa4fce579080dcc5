"""What the demo costs: its start, a picture, and two minutes of twenty clients; `make demo-times` prints it.

Clients are threads of one process that speak HTTP to `initzoo demo` on this machine and share its cores.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo_fixtures import DemoServer, running_demo

from initzoo.files.images import write_image
from initzoo.pairs.photos import fit_short_side, load_photos
from initzoo.work.devices import describe_machine

_WORDS = (
    "faded teal at dusk",
    "pencil sketch",
    "navy charcoal",
    "watercolour",
    "old film, warm",
    "neon night",
)


@dataclass
class Tally:
    """What clients saw."""

    seconds: list[float] = field(default_factory=list)
    queue_full: int = 0
    errors: list[str] = field(default_factory=list)


def connect(demo: DemoServer) -> http.client.HTTPConnection:
    """A connection of its own: a client of its own."""
    return http.client.HTTPConnection(demo.url.removeprefix("http://"), timeout=120)


def upload(demo: DemoServer, path: Path) -> str:
    """Upload a photo; its path on the server."""
    boundary = "initzoo-demo-times"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{path.name}"\r\n'
    body = (
        f"{head}Content-Type: image/png\r\n\r\n".encode()
        + path.read_bytes()
        + f"\r\n--{boundary}--\r\n".encode()
    )
    connection = connect(demo)
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    connection.request("POST", "/gradio_api/upload", body, kind)
    places: list[str] = json.load(connection.getresponse())
    connection.close()
    return places[0]


def generate(demo: DemoServer, words: str, photo: str, seed: int) -> str:
    """Ask for a picture and wait for it: `ok`, `full` for a full queue, or what went wrong."""
    file = {"path": photo, "meta": {"_type": "gradio.FileData"}}
    body = json.dumps({"data": [words, file, seed, "auto"]})
    connection = connect(demo)
    try:
        connection.request("POST", "/gradio_api/call/generate", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        told = answer.read()
        if answer.status == 503 and b"Queue is full" in told:
            return "full"
        if answer.status != 200:
            return f"{answer.status} {told[:200]!r}"
        event = json.loads(told)["event_id"]
        connection.request("GET", f"/gradio_api/call/generate/{event}")
        stream = connection.getresponse().read().decode()
        if "event: complete" not in stream:
            return stream[-300:]
        data = stream.rpartition("data: ")[2]
        url = json.loads(data)[0]["url"].removeprefix(demo.url)
        connection.request("GET", url)  # the picture itself belongs to what a visitor waits for
        picture = connection.getresponse()
        return "ok" if picture.status == 200 and picture.read(8).startswith(b"\x89PNG") else "no picture"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()


def load(
    demo: DemoServer, photo: str, *, n_clients: int, seconds: float
) -> tuple[Tally, list[tuple[float, float]]]:
    """Many clients at once, each asking again as soon as it is answered; and the memory over time."""
    tally, lock, end = Tally(), threading.Lock(), time.perf_counter() + seconds

    def visit(number: int) -> None:
        n_asked = 0
        while time.perf_counter() < end:
            began = time.perf_counter()
            words = _WORDS[(number + n_asked) % len(_WORDS)]
            state = generate(demo, words, photo, seed=number * 10_000 + n_asked)
            n_asked += 1
            with lock:
                if state == "ok":
                    tally.seconds.append(time.perf_counter() - began)
                elif state == "full":
                    tally.queue_full += 1
                else:
                    tally.errors.append(state)

    began, memory = time.perf_counter(), []
    threads = [threading.Thread(target=visit, args=(number,)) for number in range(n_clients)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        memory.append((time.perf_counter() - began, demo.memory_mb()))
        time.sleep(1)
    return tally, memory


def report(line: str) -> None:
    """A line on standard output, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def spread(seconds: list[float]) -> str:
    """Median and 95th percentile in words."""
    return f"median {statistics.median(seconds):.2f} s, 95th percentile {share(seconds, 0.95):.2f} s"


def share(values: list[float], part: float) -> float:
    """The value that this share of all values is not above."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--runs", type=int, default=30)
    chosen: Any = parser.parse_args()
    machine = describe_machine()
    report(f"{machine['processor']}, {machine['cores']} cores, torch {machine['torch']}")
    began = time.perf_counter()
    with running_demo() as demo:
        seconds = time.perf_counter() - began
        report(
            f"start: {demo.health()['started_in_seconds']} s by its log, {seconds:.1f} s from the command to "
            "the moment that pages are served"
        )
        measure(demo, chosen)


def measure(demo: DemoServer, chosen: Any) -> None:
    """Measure a running demo and print."""
    coffee = next(photo for photo in load_photos(split="score") if photo.name == "coffee")
    square = fit_short_side(coffee.pixels, 256)[:, :256]
    with tempfile.TemporaryDirectory() as folder:
        write_image(Path(folder) / "photo.png", square, force=False)
        photo = upload(demo, Path(folder) / "photo.png")
    single = []
    for number in range(chosen.runs):
        began = time.perf_counter()
        state = generate(demo, _WORDS[number % len(_WORDS)], photo, seed=number)
        assert state == "ok", state
        single.append(time.perf_counter() - began)
    warm = single[3:]
    report(f"one client, 256 x 256, {len(warm)} pictures: {spread(warm)}")
    tally, memory = load(demo, photo, n_clients=chosen.clients, seconds=chosen.seconds)
    after_a_minute = [mb for second, mb in memory if second >= min(60, chosen.seconds / 2)]
    report(
        f"{chosen.clients} clients for {chosen.seconds:.0f} s: {len(tally.seconds)} pictures, "
        f"{spread(tally.seconds)}; {tally.queue_full} told that the queue is full, {len(tally.errors)} errors"
    )
    first = after_a_minute[0]
    report(
        f"memory: {memory[0][1]:.0f} MB before, {first:.0f} MB after the first minute; from there at most "
        f"{max(after_a_minute) - first:+.0f} MB, in the end {after_a_minute[-1] - first:+.0f} MB"
    )
    for error in tally.errors[:5]:
        report(f"error: {error}")


if __name__ == "__main__":
    main()
