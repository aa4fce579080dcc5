"""Runs commands on full and read-only disks and with odd settings; `make disks` prints what came of it.

Each command must end well and make what an undisturbed run makes, or say in one line what is wrong and leave
nothing half-written under the name of a result. It wants Linux and root: disks are small file systems in
memory and read-only mounts of a namespace; and commands run without capabilities, so that permissions bind
root too.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kill_run import COMMANDS, Command, Stage, digests, prepare

__all__ = ["CASES", "Case", "Outcome", "judge"]

ROOT = Path(__file__).parent.parent
_OF_LIBRARIES = re.compile(r"\w+Warning: |\[[WE]:|^(WARNING|ERROR)\b")
PLAIN = ("setpriv", "--bounding-set", "-all", "--inh-caps=-all")
SLOW_CLOCK = """import time
real = time.time
time.time = lambda: real() - 10 * 365.25 * 86400
"""


@dataclass
class Place:
    """Where a command runs.

    Args:
        folder: its current folder.
        cache: its cache of the Hub.
        environment: variables beside the usual ones.
        before: what a shell does first, in a namespace of mounts of its own; nothing by default.
        output: a file that takes what it prints.
    """

    folder: Path
    cache: Path
    environment: dict[str, str] = field(default_factory=dict)
    before: str = ""
    output: str | None = None


@dataclass(frozen=True)
class Outcome:
    """How a command ended: `right`, `one line`, or what is bad."""

    word: str
    line: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether it is neither right nor one line."""
        return self.word not in ("right", "one line")


@dataclass(frozen=True)
class Case:
    """A disk or a setting.

    Args:
        name: its name.
        change: changes the place, before the command runs and until it has ended.
        must_work: commands that must end well, `*` for all; the others may say in one line what is wrong.
        is_filled: the cache has the zoo of the Hub.
    """

    name: str
    change: Callable[[Place, ExitStack], None]
    must_work: tuple[str, ...] = ()
    is_filled: bool = False


def _printing(name: str, *arguments: str) -> Command:
    return Command(name, lambda stage, number: list(arguments))


def _with_zoo(name: str, *arguments: str) -> Command:
    return Command(name, lambda stage, number: [*arguments, "--zoo", "me/tiny"])


READING = (
    _printing("list", "list"),
    _printing("search", "search", "pencil"),
    _printing("show", "show", "pencil sketch"),
    Command("verify", lambda stage, number: ["verify", str(stage.inputs / "zoo")]),
    _with_zoo("show on the Hub", "show", "night"),
    _printing("pull", "pull", "pencil sketch", "-o", "pencil.safetensors"),
    _printing("pull of new words", "pull", "--generate", "rusty teal", "-o", "new.safetensors"),
    Command(
        "apply",
        lambda stage, number: [
            *("apply", "pencil sketch", str(stage.inputs / "photos"), "-o", "out"),
        ],
    ),
)
COMMANDS_HERE = {command.name: command for command in READING}
COMMANDS_HERE |= {"pull from a Hub" if name == "pull" else name: one for name, one in COMMANDS.items()}


@contextmanager
def full_disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """A small file system in memory with this much room left."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    try:
        with open(folder / ".filled", "wb") as file:
            file.write(bytes((1024 - kilobytes) * 1024 - 8192))
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def _full_output(kilobytes: int) -> Callable[[Place, ExitStack], None]:
    def change(place: Place, stack: ExitStack) -> None:
        stack.enter_context(full_disk(place.folder, kilobytes))

    return change


def _full_cache(kilobytes: int) -> Callable[[Place, ExitStack], None]:
    def change(place: Place, stack: ExitStack) -> None:
        stack.enter_context(full_disk(place.cache, kilobytes))

    return change


def _full_temporary(place: Place, stack: ExitStack) -> None:
    folder = place.folder.parent / "full-tmp"
    stack.enter_context(full_disk(folder, 0))
    place.environment["TMPDIR"] = str(folder)


def _no_temporary(place: Place, stack: ExitStack) -> None:
    place.environment["TMPDIR"] = "/nowhere"
    # All is read-only but the folder of the test, which lies below /tmp itself.
    top = place.folder.parents[1]
    place.before = (
        f"mount --bind {top} {top} && mount -o remount,ro,bind / && mount -t tmpfs -o ro none /dev/shm && "
    )


def _read_only_system(place: Place, stack: ExitStack) -> None:
    place.before = "mount -o remount,ro,bind / && mount -t tmpfs -o ro none /dev/shm && "


def _read_only_but_output(place: Place, stack: ExitStack) -> None:
    place.before = (
        f"mount --bind {place.folder} {place.folder} && mount -o remount,ro,bind / && "
        "mount -t tmpfs -o ro none /dev/shm && "
    )


def _read_only_output(place: Place, stack: ExitStack) -> None:
    place.folder.chmod(0o555)
    stack.callback(place.folder.chmod, 0o755)


def _read_only_cache(place: Place, stack: ExitStack) -> None:
    place.cache.mkdir(parents=True, exist_ok=True)
    for folder in (place.cache, *place.cache.rglob("*")):
        if folder.is_dir():
            folder.chmod(0o555)
            stack.callback(folder.chmod, 0o755)


def _no_home(place: Place, stack: ExitStack) -> None:
    home = place.folder.parent / "home"
    home.mkdir()
    home.chmod(0o555)
    place.environment |= {"HOME": str(home), "XDG_CACHE_HOME": "", "HF_HOME": "", "HF_HUB_CACHE": ""}
    place.environment |= {"INITZOO_PAIRS": ""}


def _old_clock(place: Place, stack: ExitStack) -> None:
    folder = place.folder.parent / "clock"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SLOW_CLOCK)
    place.environment["PYTHONPATH"] = f"{folder}:{ROOT}"


def _set(**variables: str) -> Callable[[Place, ExitStack], None]:
    def change(place: Place, stack: ExitStack) -> None:
        place.environment |= variables

    return change


def _umask(place: Place, stack: ExitStack) -> None:
    place.before = "umask 077 && "


def _full_device(place: Place, stack: ExitStack) -> None:
    place.output = "/dev/full"


LOOKING = ("list", "search", "show", "verify")
FROM_THE_HUB = ("show on the Hub", "pull from a Hub")
CASES = (
    Case("no room for results", _full_output(0), LOOKING),
    Case("hardly room for results", _full_output(24), LOOKING),
    Case("no room in the cache", _full_cache(0), (*LOOKING, "pull")),
    Case("hardly room in the cache", _full_cache(24), (*LOOKING, "pull")),
    Case("no room for temporary files", _full_temporary, (*LOOKING, "pull", "pull from a Hub")),
    Case("no folder for temporary files", _no_temporary, (*LOOKING, "pull", "pull from a Hub")),
    Case("a system that is read-only", _read_only_system, LOOKING),
    Case("the same with a filled cache", _read_only_system, (*LOOKING, "show on the Hub"), is_filled=True),
    Case(
        "read-only but for results",
        _read_only_but_output,
        (*LOOKING, *FROM_THE_HUB, "pull", "pull of new words", "apply", "export"),
        is_filled=True,
    ),
    Case("a read-only folder for results", _read_only_output, LOOKING),
    Case("a read-only cache", _read_only_cache, (*LOOKING, "pull")),
    Case("the same with the zoo in it", _read_only_cache, (*LOOKING, *FROM_THE_HUB, "pull"), is_filled=True),
    Case("a read-only home", _no_home, (*LOOKING, "pull", "apply", "finetune")),
    Case("a clock ten years back", _old_clock, ("*",)),
    Case("the locale C", _set(LC_ALL="C", LANG="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"), ("*",)),
    Case("umask 077", _umask, ("*",)),
    Case("output to /dev/full", _full_device),
)


def run(command: Command, stage: Stage, place: Place, number: int) -> subprocess.CompletedProcess[str]:
    """Run a command in its place, without capabilities."""
    from hub_server import TOKEN

    variables = {"HF_ENDPOINT": stage.hub.url, "HF_HUB_CACHE": str(place.cache), "HF_TOKEN": TOKEN}
    variables |= {"HF_HOME": str(place.cache / "home"), "INITZOO_PAIRS": str(place.cache / "pairs")}
    variables |= {"HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment = {
        name: value for name, value in (os.environ | variables | place.environment).items() if value
    }
    words = [*PLAIN, sys.executable, "-m", "initzoo", *command.arguments(stage, number)]
    script = f'{place.before}cd "$1" && shift && exec "$@"'
    line = ["unshare", "-m", "sh", "-c", script, "sh", str(place.folder), *words]
    with ExitStack() as stack:
        output = stack.enter_context(open(place.output, "w")) if place.output else subprocess.PIPE
        return subprocess.run(
            line, env=environment, stdout=output, stderr=subprocess.PIPE, text=True, check=False, timeout=300
        )


def judge(done: subprocess.CompletedProcess[str], differing: list[str], left: list[str]) -> Outcome:
    """What came of a command.

    Args:
        done: how it ended.
        differing: names of results that are not as those of an undisturbed run.
        left: names of results that a failed command has made.

    Example:
        >>> judge(subprocess.CompletedProcess([], 1, "", "Error: no room. Make some" + chr(10)), [], []).word
        'one line'
    """
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    if "Traceback" in done.stderr:
        return Outcome("traceback", lines[-1])
    if of_libraries := [line for line in lines if _OF_LIBRARIES.search(line)]:
        return Outcome("a line of a library", of_libraries[0])
    if done.returncode == 0:
        return Outcome("other results", ", ".join(differing)) if differing else Outcome("right")
    errors = [line for line in lines if line.startswith("Error: ")]
    if done.returncode != 1 or len(errors) != 1 or lines[-1] != errors[0]:
        return Outcome(f"exit code {done.returncode}, {len(lines)} lines", " | ".join(lines[-4:]))
    if len(errors[0]) > 300:
        return Outcome("a line of more than 300 letters", errors[0])
    return Outcome("left results", ", ".join(left)) if left else Outcome("one line", errors[0])


def attack(case: Case, name: str, stage: Stage, folder: Path, number: int, sound: dict[str, str]) -> Outcome:
    """Run a command in a case; what came of it."""
    command = COMMANDS_HERE[name]
    place = Place(folder / "run", folder / "cache")
    place.folder.mkdir(parents=True)
    if case.is_filled:
        shutil.copytree(stage.inputs / "cache", place.cache, symlinks=True)
    else:
        place.cache.mkdir()
    with ExitStack() as stack:
        case.change(place, stack)
        done = run(command, stage, place, number)
        has_results = command.name != "push" or ("dataset", f"me/zoo{number}") in stage.hub.repos
        made = command.results(stage, place.folder, number) if has_results and done.returncode == 0 else {}
        left = digests(place.folder) if done.returncode else {}
    made.pop(".filled", None)
    differing = [name for name in sorted({*made, *sound}) if sound.get(name) not in ("", made.get(name))]
    if place.output or command.name in ("harvest", "generator train"):
        differing = [name for name in differing if name not in sound]
    # A run folder is kept on purpose, so that the same command goes on.
    bad = [name for name in left if name != ".filled" and not name.partition("/")[0].endswith(".run")]
    # With /dev/full, only the line about results cannot be printed; `apply` edits one photo after another.
    if place.output or name == "apply":
        bad = [name for name in bad if sound.get(name) not in ("", left[name])]
    outcome = judge(done, differing, sorted(bad))
    if outcome.word == "one line" and case.must_work and {"*", name} & set(case.must_work):
        return Outcome("refused what must work", outcome.line)
    return outcome


def undisturbed(command: Command, stage: Stage, folder: Path) -> dict[str, str]:
    """The results of a command by name, an empty digest where two runs differ."""
    made = []
    for number in (10**6, 10**6 + 1):
        place = Place(folder / f"sound{number}" / "run", folder / f"sound{number}" / "cache")
        place.folder.mkdir(parents=True)
        done = run(command, stage, place, number)
        if done.returncode:
            raise RuntimeError(f"{command.name}: {done.stderr[-300:]}")
        made.append(command.results(stage, place.folder, number))
    return {name: digest if made[1].get(name) == digest else "" for name, digest in made[0].items()}


def table(rows: dict[str, list[Outcome]]) -> str:
    """The outcomes as a table of Markdown."""
    lines = ["| disk or setting | commands | right | one line | bad |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, outcomes in rows.items():
        counts = [sum(one.word == word for one in outcomes) for word in ("right", "one line")]
        n_bad = sum(one.is_bad for one in outcomes)
        lines.append(f"| {name} | {len(outcomes)} | {counts[0]} | {counts[1]} | {n_bad} |")
    return "\n".join(lines)


def main() -> int:
    """Run the commands in all cases and print the table and what is bad."""
    from hub_server import running_hub

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=[case.name for case in CASES])
    parser.add_argument("--commands", nargs="+", default=list(COMMANDS_HERE), choices=list(COMMANDS_HERE))
    parser.add_argument("--show", action="store_true", help="print each line")
    chosen = parser.parse_args()
    rows: dict[str, list[Outcome]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="initzoo-disks-")))
        stage = prepare(folder, stack.enter_context(running_hub()))
        if "generator train" in chosen.commands:
            place = Place(folder / "before" / "run", folder / "before" / "cache")
            place.folder.mkdir(parents=True)
            run(COMMANDS["harvest"], stage, place, -1)
            shutil.move(place.folder / "zoo", stage.inputs / "harvested")
        place = Place(folder / "filling", stage.inputs / "cache")
        place.folder.mkdir()
        run(COMMANDS["pull"], stage, place, -2)
        number = 0
        for name in chosen.commands:
            command = COMMANDS_HERE[name]
            sound = undisturbed(command, stage, folder / name.replace(" ", "-"))
            for case in CASES:
                if case.name not in chosen.cases:
                    continue
                number += 1
                outcome = attack(case, name, stage, folder / f"case{number}", number, sound)
                rows.setdefault(case.name, []).append(outcome)
                if outcome.is_bad or chosen.show:
                    sys.stdout.write(f"{case.name}: {name}: {outcome.word}: {outcome.line}\n")
                    sys.stdout.flush()
    sys.stdout.write(table(rows) + "\n")
    return 1 if any(one.is_bad for outcomes in rows.values() for one in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
