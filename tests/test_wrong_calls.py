"""Over two hundred wrong calls, drawn from the options of all commands: one clear line, never a traceback."""

from __future__ import annotations

import os
import random
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import write_photos
from zoo_fixtures import kept_generating_zoo, kept_zoo

import initzoo.training.generator.run
from initzoo.cli.main import main
from initzoo.errors import WorkerDied
from initzoo.files import write_image
from initzoo.training.finetune.trainer import Trainer
from initzoo.work.pool import Pool
from initzoo.zoo.hub import client
from initzoo.zoo.zoo import Zoo

__all__ = ["kept_generating_zoo", "kept_zoo"]

N_CALLS = 260
N_AT_ONCE = 10
"""Calls of one test, so that a failure says about where it is."""
N_QUICK = 70
"""Calls of `make test`, which give each command twice or more; `make test-long` makes the others."""

CONCEPTS = """
[[concept]]
id = "my-look"
prompts = ["my look", "make it look like mine"]
teacher = [{ operator = "sepia", strength = 0.8 }]
[[concept]]
id = "other-look"
prompts = ["other look"]
teacher = [{ operator = "negative" }]
"""
OUTPUTS = ("out", "sheet", "curve", "plot", "run_folder")
ENDINGS = {
    "apply": ".png",
    "grid": ".png",
    "pull": ".safetensors",
    "finetune": ".safetensors",
    "export": ".st",
}
EXTRAS = ("gradio", "datasets", "ray", "model2vec")
"""Packages that the calls do without: they take seconds to import, and what asks for them has to say so."""


@dataclass(frozen=True)
class Inputs:
    """Files and folders that calls are given, sound ones and others."""

    folder: Path
    zoo: Path

    def __getitem__(self, name: str) -> str:
        return str(self.folder / name)


@pytest.fixture(scope="module")
def inputs(kept_generating_zoo: Path, kept_zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("inputs")
    zoo = shutil.copytree(kept_generating_zoo, folder / "zoo")
    shutil.copytree(kept_zoo, folder / "plain-zoo")
    damaged = shutil.copytree(kept_zoo, folder / "damaged-zoo")
    for file in (damaged / "dataset").glob("blocks/*"):
        file.write_bytes(file.read_bytes()[:-3])
    write_photos(folder / "photos")
    for side in "AB":
        (folder / "pairs" / side).mkdir(parents=True)
        for number in range(3):
            pixels = np.random.default_rng(number).integers(0, 256, (40, 48, 3), dtype=np.uint8)
            write_image(folder / "pairs" / side / f"{number}.png", pixels, force=False)
    shutil.copy(folder / "pairs" / "A" / "0.png", folder / "photo.png")
    shutil.copy(folder / "pairs" / "A" / "0.png", os.fsencode(folder) + b"/caf\xe9.png")
    Zoo.from_pretrained(zoo).pull("pencil sketch").save(folder / "init.safetensors")
    (folder / "concepts.toml").write_text(CONCEPTS)
    (folder / "empty").write_bytes(b"")
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "noise.png").write_bytes(bytes(range(256)) * 8)
    (folder / "noise.safetensors").write_bytes(bytes(range(256)) * 8)
    (folder / "half.toml").write_text(CONCEPTS[:90])
    (folder / "latin.toml").write_bytes(b'name = "\xe9"')
    (folder / "pointer.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    (folder / "empty-folder").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "broken").symlink_to("nowhere")
    return Inputs(folder, zoo)


def all_commands() -> dict[tuple[str, ...], click.Command]:
    """Every command by the words that call it."""
    commands: dict[tuple[str, ...], click.Command] = {}

    def walk(command: click.Command, words: tuple[str, ...]) -> None:
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                walk(inner, (*words, name))
        else:
            commands[words] = command

    walk(main, ())
    return commands


COMMANDS = all_commands()


def sound_value(words: tuple[str, ...], parameter: click.Parameter, inputs: Inputs) -> list[str] | None:
    """A value that a parameter takes; None for an option that may be left out."""
    name = parameter.name
    if name == "out":
        return ["out" + ENDINGS.get(words[0], "")]
    values = {
        "zoo_name": str(inputs.zoo),
        "photos": inputs["photos"],
        "photos_folder": inputs["photos"],
        "file": inputs["concepts.toml"] if words == ("pairs",) else None,
        "source": inputs["pairs"],
        "images": inputs["photo.png"],
        "init": inputs["init.safetensors"],
        "inits": inputs["init.safetensors"],
        "source_path": inputs["init.safetensors"],
        "concept": "pencil sketch",
        "concepts": "pencil sketch" if isinstance(parameter, click.Argument) else inputs["concepts.toml"],
        "names": inputs["photo.png"],
        "folder": str(inputs.zoo),
        "repo": "me/zoo",
        "encoder": inputs["empty-folder"],
        "target": inputs["init.safetensors"],
        "words": "pencil sketch" if words in (("pull",), ("search",), ("operators",)) else None,
        "n_steps": "1",
        "steps": "1",
        "format_name": "safetensors",
    }
    value = values.get(str(name))
    if value is None and isinstance(parameter.type, click.types.IntParamType) and "steps" in str(name):
        value = "1"
    if name == "folder" and words == ("generator", "evaluate"):
        return None
    if name in ("photos", "concepts") and words in (("finetune",), ("bench",)):
        return None
    return None if value is None else [value]


def wrong_values(parameter: click.Parameter, inputs: Inputs) -> list[str]:
    """Values that people give by mistake, for a parameter's type."""
    kind, name = parameter.type, str(parameter.name)
    texts = [
        "",
        " ",
        "\n",
        "-",
        "x" * 3000,
        os.fsdecode(b"\xff\xfe"),
        "素描",
        "../..",
        "a/b",
        "%s {}",
        "~nobody/x",
    ]
    if name in OUTPUTS:
        return [
            *(
                "",
                ".",
                "/",
                "/proc/out.png",
                "/sys/out.safetensors",
                "no-folder/out.png",
                "there.png",
                "there",
            ),
            *("there.png/out.png", "ä" * 130 + ".png", "x" * 300, os.fsdecode(b"\xff.png"), "out.xyz"),
        ]
    paths = [
        *(inputs[one] for one in ("empty", "empty.safetensors", "noise.png", "noise.safetensors", "loop")),
        *(inputs[one] for one in ("broken", "empty-folder", "half.toml", "latin.toml", "pointer.png")),
        *(
            inputs[one]
            for one in ("photos", "pairs", "concepts.toml", "missing", "photo.png/x", "init.safetensors")
        ),
        *(inputs[one] for one in ("damaged-zoo", "plain-zoo", "x" * 300, os.fsdecode(b"caf\xe9.png"))),
        *("/proc/self/mem", "/dev/null", "", ".", os.fsdecode(b"\xff")),
    ]
    if name == "zoo_name":
        return [*paths, "me/zoo", "me/zoo@v1", "a/b/c", "http://127.0.0.1/zoo", *texts]
    if isinstance(kind, click.types.IntParamType):
        return ["x", "", "1.5", "-1", "0", "nan", "1e3", "9" * 30, "-" + "9" * 30, "1 2", "１２"]
    if isinstance(kind, click.types.FloatParamType):
        return ["x", "", "nan", "inf", "-inf", "-1", "0", "1e999", "1,5", "0x1"]
    if isinstance(kind, click.Choice):
        return ["no-such-choice", "", "CPU", "auto,cpu"]
    if isinstance(kind, click.Path):
        return paths
    return (
        [*texts, *paths] if isinstance(parameter, click.Argument) else [*paths, *texts, "1,2", "a=b", "x,,y"]
    )


def draw_call(number: int, inputs: Inputs) -> list[str]:
    """A call of one command, sound but for one to three things."""
    draw = random.Random(number)
    words = list(COMMANDS)[number % len(COMMANDS)]
    parameters = COMMANDS[words].params
    arguments: dict[str, list[str]] = {}
    options: dict[str, list[list[str]]] = {}
    flags = [one for one in parameters if isinstance(one, click.Option) and one.is_flag]
    for parameter in parameters:
        value = sound_value(words, parameter, inputs)
        if isinstance(parameter, click.Argument):
            arguments[str(parameter.name)] = value or []
        elif value is not None:
            options[str(parameter.name)] = [[parameter.opts[0], *value]]
    further: list[str] = []
    for turn in range(draw.choice((1, 1, 2, 3))):
        parameter = draw.choice([one for one in parameters if one not in flags] or parameters)
        name = str(parameter.name)
        kinds = ("value",) * 8 + ("leave out", "twice", "unknown", "no value") + ("flags",) * 2 * (turn > 0)
        mistake = draw.choice(kinds)
        if mistake == "value" and parameter not in flags:
            values = [draw.choice(wrong_values(parameter, inputs)) for _ in range(max(parameter.nargs, 1))]
            if isinstance(parameter, click.Argument):
                arguments[name] = values
            else:
                options[name] = [[parameter.opts[0], *values]]
        elif mistake == "leave out":
            arguments.pop(name, None)
            options.pop(name, None)
        elif mistake == "twice" and name in options:
            options[name] = [
                *options[name],
                [parameter.opts[0], draw.choice(wrong_values(parameter, inputs))],
            ]
        elif mistake == "unknown":
            further.append(draw.choice(("--no-such-option", "--zo", "-x", "one-more", "--force=1")))
        elif mistake == "no value":
            further.append(parameter.opts[0])
        elif mistake == "flags":  # several that may contradict each other, one of them perhaps repeated
            chosen = [flag for flag in draw.choices(flags, k=3) if flag.name != "force"] if flags else []
            further += [flag.opts[0] for flag in chosen]
    given = [part for parts in options.values() for one in parts for part in one]
    # Behind "--", names that begin with a hyphen are arguments.
    behind = ["--"] * draw.choice((0, 0, 1)) + [part for part in arguments.values() for part in part]
    return [*words, *given, *further, *behind]


@pytest.fixture
def alone(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, no extras, no worker processes: what would need one is refused at once."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network in this test")

    def end(*_: object, **__: object) -> None:
        raise WorkerDied("no work in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(client, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(Pool, "run", end)
    monkeypatch.setattr(Trainer, "step", end)
    monkeypatch.setattr(initzoo.training.generator.run, "measure_sensitivity", end)
    monkeypatch.setenv("INITZOO_ZOO", str(inputs.zoo))
    monkeypatch.setenv("INITZOO_PAIRS", str(inputs.folder / "kept-pairs"))
    for name in EXTRAS:
        monkeypatch.setitem(sys.modules, name, None)


def files_below(folder: Path) -> set[str]:
    """All that lies in a folder, without unfinished work, which is there for the same command to go on."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return {name for name in names if not name.partition("/")[0].endswith(".run")}


def what_is_wrong(words: list[str], folder: Path) -> str | None:
    """What a call does that no call may do; None if it is as it should be."""
    (folder / "there.png").write_bytes(b"mine")
    (folder / "there").mkdir()
    before = files_below(folder)
    result = CliRunner().invoke(main, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return f"{type(result.exception).__name__}: {result.exception}"
    if result.exit_code not in (0, 1, 2):
        return f"exit code {result.exit_code}"
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    if result.exit_code and words[0] != "verify" and len(errors) != 1:
        return f"{len(errors)} lines of errors: {result.stderr}"
    if any(len(line) > 4000 or line in ("Error: ", "Error: None") for line in errors):
        return f"no line to be read: {errors[0][:300]}"
    after = files_below(folder)
    if [name for name in after if name.endswith((".part", ".old"))]:
        return f"half-written: {after - before}"
    if result.exit_code and after != before and words[0] != "harvest":  # which builds its zoo in place
        return f"exit code {result.exit_code}, and wrote {after - before}"
    if (folder / "there.png").read_bytes() != b"mine" and "--force" not in words:
        return "wrote over a file of the user"
    return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "first",
    [
        *range(0, N_QUICK, N_AT_ONCE),
        *(pytest.param(one, marks=pytest.mark.long) for one in range(N_QUICK, N_CALLS, N_AT_ONCE)),
    ],
)
def test_wrong_calls_are_one_line(
    first: int, inputs: Inputs, alone: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = []
    for number in range(first, first + N_AT_ONCE):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        words = draw_call(number, inputs)
        problem = what_is_wrong(words, folder)
        if problem is not None:
            problems.append(f"call {number}: {words}\n    {problem}")
    assert not problems, "\n".join(problems)


def test_the_calls_reach_every_command_and_most_options() -> None:
    assert {("pull",), ("apply",), ("generator", "train"), ("show",)} <= set(COMMANDS)
    assert 2 * len(COMMANDS) <= N_QUICK
    assert 8 * len(COMMANDS) <= N_CALLS


def test_calls_are_the_same_in_every_run(inputs: Inputs) -> None:
    assert draw_call(7, inputs) == draw_call(7, inputs)
    assert len({tuple(draw_call(number, inputs)) for number in range(N_CALLS)}) > 0.95 * N_CALLS
