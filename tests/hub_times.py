"""Print what zoos on the Hub cost, with the tests' own Hub: bytes, requests, seconds (`make hub-times`)."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

from hub_server import TOKEN, Hub, running_hub
from large_index import make_large_zoo, name_of, write_large_index
from test_index_scale import A_MILLION_ASKED, MEASURED
from times import processor, report

from initzoo.zoo.publish import push_zoo
from initzoo.zoo.zoo import Zoo

N_RUNS = 5


def main() -> None:
    """Measure in a temporary folder."""
    report(f"machine: {processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name, running_hub() as hub:
        folder = Path(name)
        report_round_trip(hub, folder)
        report_one_of_many(hub, folder)
        report_a_million_rows(folder)


def report_round_trip(hub: Hub, folder: Path) -> None:
    """Push the starter zoo; pull from it, first with an empty cache and then with a full one."""
    begin = time.perf_counter()
    pushed = push_zoo("starter", "me/starter", token=TOKEN, endpoint=hub.url, tag="v1")
    seconds = time.perf_counter() - begin
    report(f"push starter: {pushed.n_uploaded} files, {pushed.n_bytes} bytes, {seconds:.1f} s")
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home")}
    program = str(Path(sys.executable).with_name("initzoo"))
    command = [program, "pull", "pencil sketch", "--force", "--zoo", f"me/starter@{pushed.revision}"]
    for state, n_runs in (("cold", 1), ("cached", N_RUNS)):
        hub.forget()
        times = []
        for _ in range(n_runs):
            begin = time.perf_counter()
            subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
            times.append(time.perf_counter() - begin)
        n_bytes = sum(one.n_bytes for one in hub.seen)
        report(
            f"pull a pinned revision, {state}: {statistics.median(times):.3f} s whole process, "
            f"{len(hub.seen)} requests, {n_bytes} bytes"
        )


def report_one_of_many(hub: Hub, folder: Path) -> None:
    """One concept of ten thousand in shards of a thousand, beside the whole shard."""
    recipe = Zoo.from_pretrained("starter").recipe
    make_large_zoo(folder / "zoo", recipe, n_concepts=10_000, n_per_shard=1000)
    push_zoo(folder / "zoo", "me/many", token=TOKEN, endpoint=hub.url)

    def measured(words: str, state: str) -> None:
        hub.forget()
        zoo = Zoo.from_pretrained("me/many", endpoint=hub.url, cache_dir=folder / "cache")
        row = zoo.find(words)
        zoo.pull(words)
        payload = row.byte_end - row.byte_start
        n_bytes = sum(one.n_bytes for one in hub.seen)
        own = sum(one.n_bytes for one in hub.requests("blocks"))
        report(
            f"one of 10,000 concepts, {state}: payload {payload} bytes, moved {own} of its shard "
            f"({own / payload:.2f} times) and {n_bytes} in all, {len(hub.seen)} requests"
        )

    measured(name_of(1), "cold")
    measured(name_of(7777), "index cached")
    shard = folder / "zoo/dataset/blocks/blocks-00007.safetensors"
    report(f"its whole shard: {shard.stat().st_size} bytes")
    shutil.rmtree(folder / "cache")


def report_a_million_rows(folder: Path) -> None:
    """Open an index of a million rows, look a wording up and search, each in a new process."""
    path = folder / "million.parquet"
    write_large_index(path, 1_000_000)
    arguments = [str(path), str(folder / "lookups"), *A_MILLION_ASKED]

    def measured() -> tuple[float, ...]:
        command = [sys.executable, "-c", MEASURED, *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        return tuple(float(value) for value in result.stdout.split())

    first = measured()
    again = [statistics.median(values) for values in zip(*(measured() for _ in range(N_RUNS)), strict=True)]
    size = path.stat().st_size
    report(f"a million rows ({size} bytes), first time: {first[0]:.1f} s, {first[2]:.0f} MB resident at most")
    report(
        f"a million rows, then: open and look up {1000 * again[0]:.0f} ms, search {1000 * again[1]:.0f} ms, "
        f"{again[2]:.0f} MB resident at most"
    )


if __name__ == "__main__":
    main()
