"""Attacks every reader with thousands of mutated files; `make hostile` prints what came of it.

Each case runs in a child process with limits. It may end as an `InitzooError` of one line of at most 300
letters, or be read; anything else is a fault, as are more than five seconds of processor time and 300 MB. A
case is made again by its number: python tests/hostile_run.py --readers index --first 17 --cases 1 --show
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

__all__ = ["Tally", "outcome_of", "run_cases", "table"]

MAX_LETTERS, MAX_SECONDS, MAX_BYTES = 300, 5.0, 300 * 2**20
_MAX_ADDRESSES = 3 * 2**30
"""More address space than this, beyond that of a sound read, is a fault: it ends as a MemoryError."""
_MAX_WALL = 90.0
_OUTCOMES = ("refused", "accepted", "bad")


@dataclass
class Tally:
    """What came of the cases of a reader.

    Args:
        outcomes: number of cases by outcome.
        faults: number of each fault, without the numbers in its text, and its first case.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: dict[str, list[int]] = field(default_factory=dict)

    def add(self, number: int, outcome: str, text: str) -> None:
        """Count a case."""
        self.outcomes[outcome] += 1
        if outcome == "bad":
            self.faults.setdefault(text, []).append(number)


Job = tuple[str, int, int]
"""A reader, its first case and the number of its cases."""


# The child: it reads case after case, and says before and after each what it does.


def child(jobs: list[Job]) -> None:
    """Run cases; a line of JSON before and after each goes to the standard output."""
    from hostile_readers import READERS

    with (
        os.fdopen(os.dup(1), "w", buffering=1) as report,
        tempfile.TemporaryDirectory(prefix="initzoo-hostile-") as parent,
    ):
        os.dup2(2, 1)  # whatever a library prints is not for the parent
        sound, case = Path(parent) / "sound", Path(parent) / "case"
        for name, first, n_cases in jobs:
            reader = READERS[name]
            shutil.rmtree(sound, ignore_errors=True)
            sound.mkdir()
            reader.make(sound)
            _limit(None)
            _copy(sound, case)
            reader.read(case)  # imports what it needs, and shows that the sound files are sound
            _limit(_MAX_ADDRESSES)
            for number in range(first, first + n_cases):
                _copy(sound, case)
                report.write(json.dumps([name, number]) + "\n")
                report.write(json.dumps([name, number, *_run_case(reader, number, case)]) + "\n")


def _copy(sound: Path, case: Path) -> None:
    shutil.rmtree(case, ignore_errors=True)
    shutil.copytree(sound, case, symlinks=True)


def _limit(n_bytes: int | None) -> None:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if n_bytes is not None:
        with open("/proc/self/statm") as file:
            n_bytes += int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (hard if n_bytes is None else n_bytes, hard))


def _memory(name: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(f"{name}:"))


def _run_case(reader: Any, number: int, folder: Path) -> tuple[str, str]:
    reader.attack(folder, random.Random(f"{reader.name} {number}"))
    return outcome_of(reader, folder)


def outcome_of(reader: Any, folder: Path) -> tuple[str, str]:
    """Read a changed folder: refused, accepted or bad, with the text of the error or the fault."""
    from hostile_readers import WrongResult, only_initzoo_warnings

    from initzoo.errors import InitzooError, printable

    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory starts again
    before, began = _memory("VmRSS"), time.process_time()
    try:
        with only_initzoo_warnings():
            reader.read(folder)
        outcome, text = "accepted", ""
    except InitzooError as error:
        outcome, text = "refused", str(error)
        short = text.replace(str(folder.resolve()), "").replace(str(folder), "")
        if printable(text) != text or "\n" in text:
            outcome, text = "bad", f"{type(error).__name__} of several lines: {text[:80]!r}"
        elif len(short) > MAX_LETTERS:
            outcome, text = "bad", f"{type(error).__name__} of more than {MAX_LETTERS} letters: {short[:80]}"
    except WrongResult as error:
        outcome, text = "bad", str(error)
    except BaseException as error:  # noqa: BLE001 - whatever comes is a fault
        outcome, text = "bad", _summary(error)
    seconds, n_bytes = time.process_time() - began, _memory("VmHWM") - before
    if seconds > MAX_SECONDS:
        return "bad", f"more than {MAX_SECONDS:g} s of processor time"
    if n_bytes > MAX_BYTES:
        return "bad", f"more than {MAX_BYTES >> 20} MB of memory"
    return outcome, text


def _summary(error: BaseException) -> str:
    """The class of an error and the last line of initzoo that it went through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f"{os.sep}initzoo{os.sep}" in frame.filename] or frames
    place = f"{Path(own[-1].filename).name}:{own[-1].lineno} {own[-1].name}" if own else ""
    return f"{type(error).__name__} at {place}: {' '.join(str(error).split())[:80]}"


# The parent.


def run_cases(
    names: list[str], n_cases: int, *, first: int = 0, show: bool = False, log: IO[str] | None = None
) -> dict[str, Tally]:
    """Run cases of readers in child processes; a child that dies is replaced, and its case is a fault."""
    tallies = {name: Tally() for name in names}

    def done(name: str, number: int, outcome: str, text: str) -> None:
        tallies[name].add(number, outcome, text)
        line = f"{name} {number}: {outcome} {text}\n"
        if log is not None:
            log.write(line)
        if show:
            sys.stdout.write(line)

    jobs: list[Job] = [(name, first, n_cases) for name in names]
    while jobs:
        died = _run_child(jobs, done)
        if died is None:
            break
        name, number, problem = died
        done(name, number, "bad", problem)
        place = next(place for place, job in enumerate(jobs) if job[0] == name)
        _, start, count = jobs[place]
        n_left = start + count - (number + 1)
        jobs = ([(name, number + 1, n_left)] if n_left else []) + jobs[place + 1 :]
    return tallies


def _run_child(jobs: list[Job], done: Callable[[str, int, str, str], None]) -> tuple[str, int, str] | None:
    """Run a child; the reader, case and fault at which it died, or None if it ended well."""
    command = [sys.executable, __file__, "--child", json.dumps(jobs)]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        lines: queue.Queue[str | None] = queue.Queue()
        assert process.stdout is not None
        threading.Thread(target=_pass_lines, args=(process.stdout, lines), daemon=True).start()
        running: tuple[str, int] | None = None
        cpu, wall, problem = 0.0, 0.0, ""
        while True:
            try:
                line = lines.get(timeout=1)
            except queue.Empty:
                spent = _cpu_of(process.pid) - cpu
                if running and (spent > 2 * MAX_SECONDS or time.monotonic() - wall > _MAX_WALL):
                    problem = f"did not end within {2 * MAX_SECONDS:g} s of processor time"
                    process.kill()
                continue
            if line is None:
                break
            name, number, *outcome = json.loads(line)
            running = None if outcome else (name, number)
            cpu, wall = _cpu_of(process.pid), time.monotonic()
            if outcome:
                done(name, number, *outcome)
        process.wait()
        process.stdout.close()
        if process.returncode == 0:
            return None
        if running is None or (process.returncode > 0 and not problem):
            errors.seek(0)
            last = errors.read()[-2000:].decode("utf-8", "replace")
            raise RuntimeError(f"{running}: the child failed: {last}")
    return *running, problem or f"ended the process (signal {-process.returncode})"


def _pass_lines(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _cpu_of(pid: int) -> float:
    """Processor time of a process in seconds."""
    try:
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def table(tallies: dict[str, Tally]) -> str:
    """The outcomes as a table of Markdown."""
    lines = ["| reader | cases | refused | accepted | bad |", "| --- | ---: | ---: | ---: | ---: |"]
    total: Counter[str] = Counter()
    for name, tally in tallies.items():
        total += tally.outcomes
        counts = " | ".join(str(tally.outcomes[outcome]) for outcome in _OUTCOMES)
        lines.append(f"| {name} | {tally.outcomes.total()} | {counts} |")
    counts = " | ".join(str(total[outcome]) for outcome in _OUTCOMES)
    return "\n".join([*lines, f"| all | {total.total()} | {counts} |"])


def main() -> int:
    """Run the cases and print the table and the faults."""
    from hostile_readers import READERS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="cases of each reader")
    parser.add_argument("--readers", nargs="+", default=list(READERS), choices=list(READERS))
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--show", action="store_true", help="print the outcome of each case")
    parser.add_argument("--log", type=Path, help="file for the outcome of each case")
    chosen = parser.parse_args()
    log = chosen.log.open("w", errors="backslashreplace") if chosen.log else None
    tallies = run_cases(chosen.readers, chosen.cases, first=chosen.first, show=chosen.show, log=log)
    sys.stdout.write(table(tallies) + "\n")
    for name, tally in tallies.items():
        for text, numbers in sorted(tally.faults.items(), key=lambda item: -len(item[1])):
            sys.stdout.write(f"{name}: {len(numbers)} times, first in case {numbers[0]}: {text}\n")
    return 1 if any(tally.outcomes["bad"] for tally in tallies.values()) else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(json.loads(sys.argv[2]))
    else:
        sys.exit(main())
