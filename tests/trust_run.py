"""Runs all attacks, one after another, and prints the table of docs/trust.md; `make trust`.

Each attack is a script of its own that prints a table of its own. Of that, this one takes how much was tried
and how much was bad; the whole output goes to a file of its own below build/trust.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Attack", "count", "count_tests"]

ROOT = Path(__file__).parent.parent
TESTS = Path(__file__).parent
OF_A_HUB = (
    "test_hub_faults.py",
    "test_hub.py",
    "test_hostile_hub.py",
    "test_hub_settings.py",
    "test_hub_trust.py",
)


@dataclass(frozen=True)
class Attack:
    """An attack, as a row of the table.

    Args:
        name: its name.
        target: the target of the Makefile that runs it alone.
        unit: what is counted.
        command: the script with its arguments.
        column: the column of its table that has the number of tries; empty if it runs tests.
    """

    name: str
    target: str
    unit: str
    command: tuple[str, ...]
    column: str = ""


def attacks(*, cases: int, kills: int, clients: int, minutes: float, quick: list[str]) -> list[Attack]:
    """The attacks in the order of the table."""
    return [
        Attack("Mutated files", "hostile", "cases", ("hostile_run.py", "--cases", str(cases)), "cases"),
        Attack("Kills", "kills", "kills", ("kill_run.py", "--kills", str(kills)), "kills"),
        Attack("Disks and settings", "disks", "commands", ("disk_run.py",), "commands"),
        Attack("Faults of a Hub", "test", "tests", ("-m", "pytest", "-n", "0", "-q", *OF_A_HUB)),
        Attack(
            f"Load on the page, {clients} clients",
            "load",
            "requests",
            ("load_run.py", "--clients", str(clients), "--minutes", str(minutes)),
            "count",
        ),
        Attack("Oldest versions", "oldest", "tests", ("oldest_run.py", *quick)),
        Attack(
            "Newest versions",
            "newest",
            "tests",
            ("oldest_run.py", "--versions", "newest", "--folder", str(ROOT / "build" / "newest"), *quick),
        ),
    ]


def count(output: str, column: str) -> tuple[int, int]:
    """How much was tried and how much was bad, of the last table of Markdown in an output.

    The row `all` counts if there is one, else the sum of all rows.

    Example:
        >>> text = "| reader | cases | bad |" + chr(10) + "| --- | ---: | ---: |" + chr(10)
        >>> count(text + "| a | 3 | 0 |" + chr(10) + "| b | 4 | 1 |", "cases")
        (7, 1)
    """
    rows = [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in output.splitlines() if "|" in line
    ]
    start = max(place for place, row in enumerate(rows) if column in row)
    header, *body = rows[start:]
    body = [row for row in body if len(row) == len(header) and not row[1].startswith("--")]
    chosen = [row for row in body if row[0] == "all"] or body
    bad = next(name for name in ("bad", "faults") if name in header)
    return tuple(sum(int(row[header.index(name)]) for row in chosen) for name in (column, bad))  # type: ignore[return-value]


def count_tests(output: str) -> tuple[int, int]:
    """How many tests ran and how many failed, of the last line of pytest.

    Example:
        >>> count_tests("2 failed, 30 passed, 1 skipped in 3.1s")
        (32, 2)
    """
    found = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error)", output)}
    n_bad = found.get("failed", 0) + found.get("error", 0)
    return found.get("passed", 0) + n_bad, n_bad


def main() -> int:
    """Run the attacks and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", nargs="+", help="names of targets, e.g. hostile kills")
    parser.add_argument("quick", nargs="*", help="tests for the oldest and newest versions")
    chosen = parser.parse_args()
    folder = ROOT / "build" / "trust"
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["| what | target | tried | bad | minutes |", "| --- | --- | ---: | ---: | ---: |"]
    n_all_bad = 0
    for attack in attacks(
        cases=chosen.cases,
        kills=chosen.kills,
        clients=chosen.clients,
        minutes=chosen.minutes,
        quick=[str(Path(one).resolve()) for one in chosen.quick],
    ):
        if chosen.only and attack.target not in chosen.only:
            continue
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, *attack.command], cwd=TESTS, capture_output=True, text=True, check=False
        )
        (folder / f"{attack.target}.txt").write_text(done.stdout + done.stderr, errors="backslashreplace")
        try:
            n, n_bad = count(done.stdout, attack.column) if attack.column else count_tests(done.stdout)
        except ValueError:  # it printed no table
            n, n_bad = 0, 1
        n_bad = max(n_bad, int(done.returncode != 0))
        n_all_bad += n_bad
        minutes = (time.monotonic() - began) / 60
        lines.append(
            f"| {attack.name} | `make {attack.target}` | {n:,} {attack.unit} | {n_bad} | {minutes:.1f} |"
        )
        sys.stdout.write(f"{lines[-1]}\n")
        sys.stdout.flush()
    sys.stdout.write("\n".join(["", *lines, ""]))
    return 1 if n_all_bad else 0


if __name__ == "__main__":
    sys.exit(main())
