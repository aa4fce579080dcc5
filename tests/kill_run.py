"""Kills commands with signal 9 at random moments; `make kills` prints what came of it.

After each kill the same command must end well, and leave the same files as a run that nobody disturbed. Files
that hold times differ between two such runs too: of these, only the names are compared. A kill is made again
by its number: python tests/kill_run.py --commands pairs --first 17 --kills 1
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preloaded import start

__all__ = ["COMMANDS", "Row", "kill_command", "table"]

CONCEPTS = """licence = "CC0-1.0"
source = "a test"
[[concept]]
id = "brown"
prompts = ["brown"]
teacher = [{operator = "sepia"}]
[[concept]]
id = "inverted"
prompts = ["inverted"]
teacher = [{operator = "negative"}]
"""
RECIPE = """name = "tiny"
block_size = 256
photo_size = 256
crop_size = 32
crop_grid = 8
max_gradient = 1.0
seed = 0
[network]
kind = "starter"
sizes = { n_detail = 8, n_middle = 8, n_stages = 1, n_upsampled = 4, n_decoder = 8 }
[ranks]
detail = 2
head = 3
[joint]
n_rounds = 6
n_lanes = 2
batch_size = 2
learning_rate = 1.2e-3
adapter_learning_rate = 8e-3
n_photos = 3
[fit]
n_steps = 3
batch_size = 2
learning_rate = 4e-3
n_photos = 3
"""


@dataclass
class Stage:
    """Where the commands run: inputs that they read, a Hub, and a folder for each run.

    Args:
        inputs: photos, zoos and weights.
        hub: the tests' Hub.
    """

    inputs: Path
    hub: Any
    n_pushed: int = 0


@dataclass
class Command:
    """A command that is killed.

    Args:
        name: its name.
        arguments: its arguments in the folder of a run, from the inputs and the number of the run.
        results: what it has made, by name: from the stage, the folder and the number of the run.
    """

    name: str
    arguments: Callable[[Stage, int], list[str]]
    results: Callable[[Stage, Path, int], dict[str, str]] = field(
        default_factory=lambda: lambda stage, folder, number: digests(folder)
    )


@dataclass
class Row:
    """What came of the kills of a command."""

    kills: int = 0
    finished: int = 0
    same: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


def digests(folder: Path) -> dict[str, str]:
    """The digest of each file below a folder by its path.

    The Hub's cache does not count, as it is compared by what is made from it, nor do hidden parts of killed
    writes, which nothing reads.
    """
    result = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        if name.parts[0] != "cache" and not any(part.endswith((".part", ".old")) for part in name.parts):
            data = path.read_bytes()
            if name.name.endswith("curve.csv"):  # its last column is the time
                data = b"\n".join(line.rpartition(b",")[0] for line in data.splitlines())
            result[name.as_posix()] = hashlib.sha256(data).hexdigest()
    return result


def published(stage: Stage, folder: Path, number: int) -> dict[str, str]:
    """The files of both repos of a push, which must fit together."""
    repo = f"me/zoo{number}"
    model, dataset = (stage.hub.repo(kind, repo).commits[-1] for kind in ("model", "dataset"))
    manifest = json.loads(dataset.files["zoo.json"])
    if manifest["model_revision"] != model.oid:
        return {"zoo.json": "names another revision than the newest"}
    result = {}
    for kind, commit in (("model", model), ("dataset", dataset)):
        for path, data in commit.files.items():
            data = data.replace(repo.encode(), b"me/zoo").replace(model.oid.encode(), b"")
            result[f"{kind}/{path}"] = hashlib.sha256(data).hexdigest()
    return result


def _path(stage: Stage, *names: str) -> str:
    return str(stage.inputs.joinpath(*names))


COMMANDS = {
    command.name: command
    for command in (
        Command("pull", lambda stage, _: ["pull", "night", "--zoo", "me/tiny", "-o", "night.safetensors"]),
        Command(
            "pairs",
            lambda stage, _: ["pairs", "pencil sketch", "--photos", _path(stage, "photos"), "--out", "pairs"],
        ),
        Command("push", lambda stage, number: ["push", _path(stage, "zoo"), f"me/zoo{number}"], published),
        Command(
            "harvest",
            lambda stage, _: [
                *(
                    "harvest",
                    "--recipe",
                    _path(stage, "tiny.toml"),
                    "--concepts",
                    _path(stage, "concepts.toml"),
                ),
                *("--photos", _path(stage, "photos"), "--workers", "1", "-o", "zoo"),
            ],
        ),
        Command(
            "generator train",
            lambda stage, _: [
                *(
                    "generator",
                    "train",
                    "--zoo",
                    _path(stage, "harvested"),
                    "--photos",
                    _path(stage, "photos"),
                ),
                *("--quick", "--no-practice", "--weight-steps", "6", "--behaviour-steps", "2"),
                *("--workers", "1", "-o", "generator"),
            ],
        ),
        Command(
            "finetune",
            lambda stage, _: [
                *("finetune", "pencil sketch", "--teacher", "charcoal", "--gan", "off", "--steps", "4"),
                *("--varied", "4", "--crop", "32", "--batch", "1", "--validations", "2"),
                *("--photos", _path(stage, "photos"), "-o", "tuned.safetensors"),
            ],
        ),
        Command(
            "export",
            lambda stage, _: ["export", _path(stage, "init.safetensors"), "--format", "peft", "-o", "peft"],
        ),
        Command(
            "import",
            lambda stage, _: [
                *(
                    "import",
                    _path(stage, "plain.safetensors"),
                    "--concept",
                    "horse to zebra",
                    "--licence",
                    "MIT",
                ),
                *("-o", "imported"),
            ],
        ),
    )
}


def run_command(arguments: list[str]) -> int:
    """Run a command in this process, quietly; its exit code."""
    from initzoo.cli.main import main

    log = os.open("../log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _start(stage: Stage, command: Command, folder: Path, number: int) -> Any:
    from hub_server import TOKEN

    folder.mkdir(parents=True, exist_ok=True)
    cache = folder / "cache"
    variables = {"HF_ENDPOINT": stage.hub.url, "HF_HUB_CACHE": str(cache), "HF_HOME": str(cache / "home")}
    variables |= {"HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "INITZOO_PAIRS": str(cache / "pairs")}
    variables |= {"OMP_NUM_THREADS": "1"}
    return start(run_command, command.arguments(stage, number), cwd=folder, environment=variables)


def _run(stage: Stage, command: Command, folder: Path, number: int) -> float:
    """Run a command to its end; the seconds it took."""
    began = time.monotonic()
    process = _start(stage, command, folder, number)
    process.join()
    if process.exitcode != 0:
        log = (folder.parent / "log").read_text(errors="replace").strip().splitlines()
        raise RuntimeError(f"exit code {process.exitcode}: {log[-1] if log else ''}"[:300])
    return time.monotonic() - began


def kill_command(stage: Stage, command: Command, n_kills: int, folder: Path, *, first: int = 0) -> Row:
    """Kill a command at random moments, run it again each time, and compare what it made."""
    row = Row()
    numbers = (10**6, 10**6 + 1, 10**6 + 2)
    times = [_run(stage, command, folder / f"sound{number}" / "run", number) for number in numbers]
    sound = [command.results(stage, folder / f"sound{number}" / "run", number) for number in numbers]
    varying = {name for name in sound[0] if len({one.get(name) for one in sound}) > 1}
    row.seconds = min(times)
    for number in range(first, first + n_kills):
        run = folder / f"run{number}" / "run"
        delay = random.Random(f"{command.name} {number}").random() * row.seconds * 1.05
        process = _start(stage, command, run, number)
        process.join(delay)
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
        else:
            row.finished += 1
        process.join()
        row.kills += 1
        try:
            if process.exitcode == 0 and command.name not in ("pull", "push"):
                pass  # it ended before the kill, and would refuse to replace its results
            else:
                _run(stage, command, run, number)
            made = command.results(stage, run, number)
        except RuntimeError as error:
            row.problems.append(f"kill {number} after {delay:.2f} s: {error}")
            continue
        names = sorted({*made, *sound[0]})
        differing = [name for name in names if name not in varying and made.get(name) != sound[0].get(name)]
        if differing or any(name not in made for name in varying):
            row.problems.append(
                f"kill {number} after {delay:.2f} s: other files: {', '.join(differing)[:200]}"
            )
            continue
        row.same += 1
        shutil.rmtree(run.parent)
    return row


def prepare(folder: Path, hub: Any) -> Stage:
    """Write what the commands read."""
    from conftest import write_photos
    from hub_server import TOKEN
    from safetensors.torch import save_file
    from zoo_fixtures import make_zoo

    from initzoo.networks.starter import StarterNet
    from initzoo.zoo import Zoo
    from initzoo.zoo.publish import push_zoo

    stage = Stage(folder / "inputs", hub)
    stage.inputs.mkdir(parents=True)
    write_photos(stage.inputs / "photos")
    (stage.inputs / "concepts.toml").write_text(CONCEPTS)
    (stage.inputs / "tiny.toml").write_text(RECIPE)
    push_zoo(make_zoo(stage.inputs / "zoo"), "me/tiny", token=TOKEN, endpoint=hub.url)
    Zoo.from_pretrained("starter").pull("pencil sketch", adapter_only=True).save(
        stage.inputs / "init.safetensors"
    )
    save_file(StarterNet(n_detail=8).state_dict(), stage.inputs / "plain.safetensors")
    return stage


def table(rows: dict[str, Row]) -> str:
    """The kills as a table of Markdown."""
    lines = [
        "| command | seconds undisturbed | kills | ended before the kill | same as undisturbed | bad |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, row in rows.items():
        counts = f"{row.kills} | {row.finished} | {row.same} | {len(row.problems)}"
        lines.append(f"| {name} | {row.seconds:.1f} | {counts} |")
    return "\n".join(lines)


def main() -> int:
    """Kill the commands and print the table and the problems."""
    from hub_server import running_hub

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=25, help="kills of each command")
    parser.add_argument("--commands", nargs="+", default=list(COMMANDS), choices=list(COMMANDS))
    parser.add_argument("--first", type=int, default=0, help="number of the first kill")
    chosen = parser.parse_args()
    rows: dict[str, Row] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="initzoo-kills-")))
        stage = prepare(folder, stack.enter_context(running_hub()))
        if "generator train" in chosen.commands:
            _run(stage, COMMANDS["harvest"], folder / "before" / "run", -1)
            shutil.move(folder / "before" / "run" / "zoo", stage.inputs / "harvested")
        for name in chosen.commands:
            rows[name] = kill_command(stage, COMMANDS[name], chosen.kills, folder / name, first=chosen.first)
            sys.stdout.write(table({name: rows[name]}).splitlines()[-1] + "\n")
            for problem in rows[name].problems[:10]:
                sys.stdout.write(f"{name}: {problem}\n")
            sys.stdout.flush()
    sys.stdout.write(table(rows) + "\n")
    return 1 if any(row.problems for row in rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
