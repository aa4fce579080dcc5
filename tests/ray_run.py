"""Runs harvests on a Ray cluster of this machine and kills workers and drivers; `make ray` prints the result.

Three things are measured: how much sooner two workers are done with the fits than one, that workers which are
killed with signal 9 change no byte of the zoo, and that a killed command which is run again does not either.
Times in the report and the card are left out. Two idle cores are needed for the first figure to mean much.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from kill_run import RECIPE, digests

__all__ = ["Row", "main", "table"]

TIMES = ("seconds", "n_workers", "concepts_per_core_minute")
"""Keys of `harvest.json` that differ between two runs."""

OPERATORS = ("sepia", "negative")


@dataclass
class Row:
    """What came of a part."""

    name: str
    wanted: str
    result: str
    problems: list[str] = field(default_factory=list)


@dataclass
class Stage:
    """Where the commands run.

    Args:
        folder: holds the inputs and a folder for each run.
        address: of the cluster.
        environment: variables of all commands.
        cluster: process that started the cluster.
    """

    folder: Path
    address: str
    environment: dict[str, str]
    cluster: int
    n_runs: int = 0

    def start(self, out: Path, *options: str, recipe: str = "tiny") -> subprocess.Popen[bytes]:
        """Start a harvest whose output goes to a file beside the zoo."""
        command = [sys.executable, "-m", "initzoo", "harvest", "--recipe", self._input(f"{recipe}.toml")]
        command += ["--concepts", self._input("concepts.toml"), "--photos", self._input("photos")]
        out.parent.mkdir(parents=True, exist_ok=True)
        with open(out.parent / "log", "ab") as log:
            return subprocess.Popen(
                [*command, "-o", str(out), *options], env=self.environment, stdout=log, stderr=log
            )

    def on_ray(self, n_workers: int) -> list[str]:
        """Options of a harvest on the cluster."""
        return ["--backend", "ray", "--address", self.address, "--workers", str(n_workers)]

    def new_zoo(self) -> Path:
        """A folder for the zoo of the next run."""
        self.n_runs += 1
        return self.folder / f"run{self.n_runs}" / "zoo"

    def work_of(self, out: Path) -> Path:
        """The run folder of a zoo."""
        return out.with_name(f"{out.name}.run")

    def is_done(self, out: Path) -> bool:
        """Whether a zoo is whole: a command that comes then would refuse to replace it."""
        is_packing = (self.work_of(out) / "packing.json").exists()
        return (out / "dataset" / "harvest.json").exists() and not is_packing

    def _input(self, name: str) -> str:
        return str(self.folder / "inputs" / name)


def prepare(folder: Path, n_concepts: int, n_steps: dict[str, int]) -> None:
    """Write what the harvests read: photos, concepts and a recipe for each number of steps of a fit."""
    from conftest import write_photos

    folder.mkdir()
    write_photos(folder / "photos")
    lines = ['licence = "CC0-1.0"\nsource = "a test"\n']
    for number in range(n_concepts):
        operator, strength = OPERATORS[number % 2], 1 - number // 2 / n_concepts
        lines.append(
            f'[[concept]]\nid = "look-{number}"\nprompts = ["look {number}"]\n'
            f'teacher = [{{operator = "sepia", strength = {strength}}}'
            + (', {operator = "negative"}' if operator == "negative" else "")
            + "]\n"
        )
    (folder / "concepts.toml").write_text("".join(lines))
    joint, _, fit = RECIPE.partition("[fit]")
    for name, number in n_steps.items():
        text = joint + "[fit]" + fit.replace("n_steps = 3", f"n_steps = {number}")
        (folder / f"{name}.toml").write_text(text)


@contextmanager
def running_cluster(folder: Path) -> Iterator[Stage]:
    """A cluster with two cores on this machine."""
    environment = dict(os.environ)
    root = str(Path(__file__).parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [environment.get("PYTHONPATH")])])
    environment |= {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
    environment["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    environment["INITZOO_PAIRS"] = str(folder / "pairs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={port}", "--block"]
    # Paths of sockets have at most 107 letters, and Ray adds seventy.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as short, open(folder / "ray", "wb") as log:
        command += ["--num-cpus=2", "--include-dashboard=false", f"--temp-dir={short}"]
        cluster = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_for_port(port, cluster)
            yield Stage(folder, f"127.0.0.1:{port}", environment, cluster.pid)
        finally:
            for sign in (signal.SIGTERM, signal.SIGKILL):  # its own group, and no other cluster
                with suppress(ProcessLookupError):
                    os.killpg(cluster.pid, sign)
                with suppress(subprocess.TimeoutExpired):
                    cluster.wait(20)


def _wait_for_port(port: int, cluster: subprocess.Popen[bytes]) -> None:
    for _ in range(240):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            time.sleep(5)  # until its workers are ready to start
            return
        if cluster.poll() is not None:
            break
        time.sleep(0.5)
    raise RuntimeError("Ray did not start")


def actors(cluster: int) -> list[int]:
    """Actors at an item, oldest first, by the process that started their cluster; there may be others."""
    parents, ages = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # The name may hold spaces and brackets, but none of the fields behind it does.
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            parents[int(path.name)] = int(fields[1])
            if (path / "cmdline").read_bytes().startswith(b"ray::RayWorker.work"):
                ages[int(path.name)] = int(fields[19])  # ticks from the start of the machine to its own
    return [pid for pid in sorted(ages, key=ages.__getitem__) if _descends(pid, cluster, parents)]


def _descends(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid not in (0, ancestor):
        pid = parents.get(pid, 0)
    return pid == ancestor


def run(stage: Stage, out: Path, *options: str, recipe: str = "tiny") -> float:
    """Run a harvest to its end; the seconds it took."""
    began = time.monotonic()
    status = stage.start(out, *options, recipe=recipe).wait(1200)
    if status:
        raise RuntimeError(f"exit code {status}: {_last_line(out)}")
    return time.monotonic() - began


def _last_line(out: Path) -> str:
    lines = (out.parent / "log").read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""


def measure_speed(stage: Stage, least: float) -> Row:
    """Harvest with one worker and with two, by a recipe whose fits take as long as those of a small zoo.

    A worker needs some seconds until it has imported torch. A user waits for these too, so they count.
    """
    works, walls, zoos = [], [], []
    for n_workers in (1, 2):
        zoos.append(stage.new_zoo())
        walls.append(run(stage, zoos[-1], *stage.on_ray(n_workers), recipe="long"))
        works.append(json.loads((zoos[-1] / "dataset" / "harvest.json").read_bytes())["seconds"]["fits"])
    speed_up = works[0] / max(works[1], 1e-9)
    row = Row(
        "fits with 2 workers, not 1",
        f"{least:g} times as fast",
        f"{works[0]:.1f} s and {works[1]:.1f} s: {speed_up:.2f} times; whole commands {walls[0]:.1f} s and "
        f"{walls[1]:.1f} s: {walls[0] / walls[1]:.2f} times",
    )
    if speed_up < least:
        row.problems.append(f"two workers were {speed_up:.2f} times as fast as one")
    row.problems += _compare("two workers", zoos[1], digests_of(zoos[0])) + _noise_of(zoos[1])
    return row


def kill_workers(stage: Stage, sound: dict[str, str], n_kills: int) -> Row:
    """Kill workers while harvests run, as many runs as it takes."""
    drawn, killed, row = random.Random(0), 0, Row("workers killed", f"{n_kills}, zoo the same", "")
    n_runs = 0
    while killed < n_kills and n_runs < n_kills:
        out, n_runs = stage.new_zoo(), n_runs + 1
        process = stage.start(out, *stage.on_ray(2))
        n_done_at_kill = -1
        while process.poll() is None:
            time.sleep(drawn.uniform(0.5, 3.0))
            n_done, at_work = len(list(stage.work_of(out).rglob("*.json"))), actors(stage.cluster)
            # An item that loses four workers in turn ends the command. So one is killed when an item was done
            # since, however slow the machine is, and it is the oldest: the newest may do a lost item again.
            if at_work and killed < n_kills and n_done > n_done_at_kill:
                n_done_at_kill = n_done
                with suppress(ProcessLookupError):
                    os.kill(at_work[0], signal.SIGKILL)
                    killed += 1
        if process.returncode:
            row.problems.append(f"run {n_runs}: exit code {process.returncode}: {_last_line(out)}")
        else:
            row.problems += _compare(f"run {n_runs}", out, sound)
        row.problems += _noise_of(out)
    if killed < n_kills:
        row.problems.append(f"{killed} workers could be killed")
    row.result = f"{killed} in {n_runs} runs, {len(row.problems)} bad"
    return row


def kill_drivers(stage: Stage, sound: dict[str, str], n_kills: int, seconds: float) -> Row:
    """Kill a harvest at several moments of its time, and run it again each time until it is done."""
    drawn, row, killed = random.Random(1), Row("drivers killed", f"{n_kills}, zoo the same", ""), 0
    out, n_zoos = stage.new_zoo(), 1
    for _ in range(4 * n_kills):
        process = stage.start(out, *stage.on_ray(2))
        with suppress(subprocess.TimeoutExpired):
            process.wait(600 if killed == n_kills else drawn.uniform(0.35, 0.95) * seconds)
        if process.poll() is None:
            process.kill()
            process.wait()
            if not stage.is_done(out):
                killed += 1
                continue
        elif process.returncode:
            row.problems.append(f"exit code {process.returncode}: {_last_line(out)}")
            break
        row.problems += _compare(f"zoo {n_zoos}", out, sound)
        if killed == n_kills:
            break
        out, n_zoos = stage.new_zoo(), n_zoos + 1
    if killed < n_kills:
        row.problems.append(f"{killed} drivers were killed")
    row.result = f"{killed} over {n_zoos} zoos, {len(row.problems)} bad"
    return row


def digests_of(out: Path) -> dict[str, str]:
    """The digests of the files of a zoo, without the times in report and card."""
    result = digests(out)
    report = json.loads((out / "dataset" / "harvest.json").read_bytes())
    card = (out / "dataset" / "README.md").read_text()
    timeless = {
        "dataset/harvest.json": json.dumps({key: report[key] for key in report if key not in TIMES}),
        "dataset/README.md": re.sub(r"(?s)Minutes by stage:.*?\n\n", "", card),
    }
    return result | {name: hashlib.sha256(text.encode()).hexdigest() for name, text in timeless.items()}


def _compare(name: str, out: Path, sound: dict[str, str]) -> list[str]:
    made = digests_of(out)
    differing = [path for path in sorted({*made, *sound}) if made.get(path) != sound.get(path)]
    return [f"{name}: other files: {', '.join(differing)[:200]}"] if differing else []


def _noise_of(out: Path) -> list[str]:
    """Lines of Ray's own in what a user sees."""
    lines = (out.parent / "log").read_text(errors="replace").splitlines()
    noise = [line for line in lines if re.search(r"raylet|\.cc:\d+|\.h:\d+|FutureWarning|Traceback", line)]
    return [f"printed {len(noise)} lines of Ray, e.g. {noise[0][:200]}"] if noise else []


def table(rows: list[Row]) -> str:
    """The rows as a table of Markdown."""
    lines = ["| | wanted | result | bad |", "| --- | --- | --- | ---: |"]
    lines += [f"| {row.name} | {row.wanted} | {row.result} | {len(row.problems)} |" for row in rows]
    return "\n".join(lines)


def main() -> int:
    """Run all parts and print the table and the problems."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concepts", type=int, default=16, help="concepts of each harvest")
    parser.add_argument("--steps", type=int, default=150, help="steps of each fit where processes are killed")
    parser.add_argument("--long-steps", type=int, default=1500, help="steps of each fit where it is timed")
    parser.add_argument("--workers-killed", type=int, default=10)
    parser.add_argument("--drivers-killed", type=int, default=5)
    parser.add_argument("--speed-up", type=float, default=1.7, help="least speed-up that is not bad")
    chosen = parser.parse_args()
    rows: list[Row] = []

    def add(row: Row) -> None:
        rows.append(row)
        sys.stdout.write("\n".join([table([row]).splitlines()[-1], *row.problems[:10], ""]))
        sys.stdout.flush()

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="initzoo-ray-")))
        prepare(folder / "inputs", chosen.concepts, {"tiny": chosen.steps, "long": chosen.long_steps})
        stage = stack.enter_context(running_cluster(folder))
        add(measure_speed(stage, chosen.speed_up))
        undisturbed = stage.new_zoo()
        run(stage, undisturbed, "--workers", "1")
        sound = digests_of(undisturbed)
        on_ray = stage.new_zoo()
        seconds = run(stage, on_ray, *stage.on_ray(2))
        differing = _compare("on Ray", on_ray, sound)
        add(Row("zoo of 2 workers", "that of no Ray", "other files" if differing else "the same", differing))
        add(kill_workers(stage, sound, chosen.workers_killed))
        add(kill_drivers(stage, sound, chosen.drivers_killed, seconds))
    sys.stdout.write(table(rows) + "\n")
    return 1 if any(row.problems for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
