"""The page under load: many clients, good and bad requests mixed, behind a proxy; `make load` prints a table.

A good request must be answered with 200, or with 429 or 503 when the page is busy; a bad one with a refusal.
Any other status, a connection that breaks, and a server that ends, leaks or answers no more are faults.
"""

from __future__ import annotations

import argparse
import http.client
import io
import random
import statistics
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from delaying_proxy import delaying_proxy
from demo_fixtures import running_demo

__all__ = ["Visit", "table"]

WORDS = ("pencil sketch", "sepia", "fog", "watercolour", "faded teal at dusk", "old film, warm", "neon night")
_BUSY = (429, 503)
_TIMEOUT = 180.0


@dataclass(frozen=True)
class Request:
    """A request of a client.

    Args:
        kind: what it asks for.
        method: of HTTP.
        path: with its query.
        body: empty for most.
        headers: beside those that each request has.
        refused: statuses that a bad request may get; empty for a good one.
        leaves: whether the client leaves before the answer.
    """

    kind: str
    method: str = "GET"
    path: str = "/"
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    refused: tuple[int, ...] = ()
    leaves: bool = False


@dataclass(frozen=True)
class Visit:
    """An answer: when it was asked for, how long it took, and its status; 0 for a broken connection."""

    kind: str
    is_bad: bool
    began: float
    seconds: float
    status: int
    is_fault: bool
    text: str = ""


def _photo() -> bytes:
    from PIL import Image

    sink = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((96, 96)).save(sink, "JPEG")
    return sink.getvalue()


PHOTO = _photo()


def good_request(rng: random.Random) -> Request:
    """A request as the page makes them."""
    words = rng.choice(WORDS)
    look = urlencode({"words": words, "strength": rng.choice(("1", "0.5"))})
    return rng.choice(
        (
            Request("page"),
            Request("look", path=f"/look?{look}"),
            Request("picture", path=f"/picture.webp?{look}&small=1"),
            Request("picture", path=f"/picture.webp?{urlencode({'words': words})}&small=1"),
            Request("zoo", path="/zoo"),
            Request("script", path="/page.js"),
            Request("credits", path="/credits"),
            Request("health", path="/health"),
            Request("photo", "POST", "/photo?name=a.jpg", PHOTO),
        )
    )


def bad_request(rng: random.Random) -> Request:
    """A request that the page has to refuse."""
    refused = (400, 403, 404, 405, 411, 413, 414, 415, 422, 431)
    json_kind = {"Content-Type": "application/json"}
    deep = b"[" * 3000 + b"]" * 3000
    call = "/gradio_api/call/generate"
    evil = urlencode({"words": "\x1b]0;owned\x07<img src=x onerror=alert(1)>" * 20})
    return rng.choice(
        (
            Request("path", path="/../../etc/passwd", refused=refused),
            Request("path", path="/gradio_api/file=/etc/passwd", refused=refused),
            Request("path", path="/example/..%2f..%2fetc%2fpasswd.webp", refused=refused),
            Request("look", path=f"/look?{evil}", refused=refused),
            Request("look", path="/look?words=" + "x" * 5000, refused=refused),
            Request("look", path="/look?words=fog&strength=nan", refused=refused),
            Request("look", path="/look?words=fog&with=sepia&share=1e999", refused=refused),
            Request("picture", path="/picture.exe?words=fog", refused=refused),
            Request("picture", path="/picture.webp?words=fog&photo=../../etc/passwd", refused=refused),
            Request("photo", "POST", "/photo", b"no image" * 100, refused=refused),
            Request("photo", "POST", "/photo?name=../../x", b"", refused=refused),
            Request("photo", "POST", "/photo", PHOTO[:200], refused=refused),
            Request("call", "POST", call, deep, json_kind, refused=refused),
            Request("call", "POST", call, b'{"data": [{"path": "/etc/passwd"}]}', json_kind, refused=refused),
            Request("method", "POST", "/look", b"{}", refused=refused),
            Request("leaves", path="/picture.webp?words=neon+night&small=1", refused=refused, leaves=True),
        )
    )


def visit(url: str, request: Request, began: float) -> Visit:
    """Send a request and read the answer."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_TIMEOUT)
    start, status, text = time.perf_counter(), 0, ""
    try:
        connection.request(request.method, request.path, request.body or None, request.headers)
        if not request.leaves:
            answer = connection.getresponse()
            status, text = answer.status, answer.read()[:200].decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        text = f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    seconds = time.perf_counter() - start
    allowed = (*request.refused, *_BUSY) if request.refused else (200, *_BUSY)
    is_fault = not request.leaves and status not in allowed
    return Visit(request.kind, bool(request.refused), start - began, seconds, status, is_fault, text)


def load(url: str, *, n_clients: int, seconds: float, bad_share: float, seed: int = 0) -> list[Visit]:
    """Let clients ask one request after the other, until the time is over."""
    visits: list[Visit] = []
    began = time.perf_counter()

    def client(number: int) -> None:
        rng = random.Random(f"{seed} {number}")
        while time.perf_counter() - began < seconds:
            request = bad_request(rng) if rng.random() < bad_share else good_request(rng)
            visits.append(visit(url, request, began))
            time.sleep(rng.random() * 0.2)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(n_clients)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    return visits


def table(visits: list[Visit]) -> str:
    """Counts and latencies of each kind of request as a table of Markdown."""
    lines = [
        "| request | count | answered | refused | busy | median s | 95% s | longest s | faults |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    names = sorted({(one.is_bad, one.kind) for one in visits})
    for is_bad, kind in [*names, (None, "all")]:
        chosen = [one for one in visits if is_bad is None or (one.is_bad, one.kind) == (is_bad, kind)]
        times = sorted(one.seconds for one in chosen)
        counts = Counter(
            "busy" if one.status in _BUSY else "answered" if one.status == 200 else "refused"
            for one in chosen
        )
        name = kind if is_bad is None else f"{'bad' if is_bad else 'good'}: {kind}"
        lines.append(
            f"| {name} | {len(chosen)} | {counts['answered']} | {counts['refused']} | {counts['busy']} | "
            f"{statistics.median(times):.2f} | {times[min(len(times) - 1, int(0.95 * len(times)))]:.2f} | "
            f"{times[-1]:.2f} | {sum(one.is_fault for one in chosen)} |"
        )
    return "\n".join(lines)


def draw(visits: list[Visit], memory: list[tuple[float, float]], path: Path) -> None:
    """Draw the latency of each request over time, and the memory of the server."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, 1, figsize=(9, 7), sharex=True, height_ratios=(3, 1))
    groups = {
        "good": [one for one in visits if not one.is_bad and not one.is_fault and one.status == 200],
        "busy": [one for one in visits if one.status in _BUSY],
        "bad": [one for one in visits if one.is_bad and not one.is_fault and one.status not in _BUSY],
        "faults": [one for one in visits if one.is_fault],
    }
    for (name, chosen), colour in zip(groups.items(), ("C0", "C1", "C7", "C3"), strict=True):
        if chosen:
            above.scatter(
                [one.began for one in chosen], [one.seconds for one in chosen], s=6, c=colour, label=name
            )
    above.set_yscale("log")
    above.set_ylabel("latency, s")
    above.legend(loc="upper right")
    below.plot([second for second, _ in memory], [mb for _, mb in memory])
    below.set_ylabel("memory, MB")
    below.set_xlabel("time, s")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> int:
    """Load the page, print the table and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--bad-share", type=float, default=0.3)
    parser.add_argument("--plot", type=Path, default=Path("build") / "load.png")
    chosen = parser.parse_args()
    memory: list[tuple[float, float]] = []
    with running_demo() as demo, delaying_proxy(demo.url, low=0.01, high=0.1) as url:
        began, is_over = time.perf_counter(), threading.Event()

        def watch() -> None:
            while not is_over.wait(1) and demo.process.poll() is None:
                memory.append((time.perf_counter() - began, demo.memory_mb()))

        watching = threading.Thread(target=watch)
        watching.start()
        visits = load(url, n_clients=chosen.clients, seconds=60 * chosen.minutes, bad_share=chosen.bad_share)
        is_over.set()
        watching.join()
        after = [
            visit(demo.url, Request("page"), began),
            visit(demo.url, Request("health", path="/health"), began),
        ]
        tracebacks = [line for line in demo.log if "Traceback" in line or "Error:" in line]
    sys.stdout.write(table(visits) + "\n")
    first, last = memory[min(len(memory) - 1, len(memory) // 5)][1], memory[-1][1]
    sys.stdout.write(f"memory: {first:.0f} MB after a fifth of the time, {last:.0f} MB in the end\n")
    for one in [one for one in [*visits, *after] if one.is_fault][:20]:
        text = " ".join(one.text.split())[:160]
        sys.stdout.write(f"fault: {one.kind} at {one.began:.1f} s, status {one.status}: {text}\n")
    for line in tracebacks[:10]:
        sys.stdout.write(f"log of the server: {line[:200]}\n")
    draw(visits, memory, chosen.plot)
    sys.stdout.write(f"plot: {chosen.plot}\n")
    return 1 if tracebacks or any(one.is_fault for one in [*visits, *after]) else 0


if __name__ == "__main__":
    sys.exit(main())
