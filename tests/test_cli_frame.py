"""The frame of the command line: help is quick, failures are one line, results and progress are apart."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from zoo_fixtures import kept_zoo

import initzoo.cli
from initzoo import __version__
from initzoo.cli.frame import LazyGroup
from initzoo.cli.main import main

__all__ = ["kept_zoo"]

FAIL = '''
import click

from initzoo.errors import InitzooError

SECTION = "Measure"


@click.command("fail-here")
@click.argument("what")
def command(what: str) -> None:
    """Fail, in one of three ways."""
    raise {
        "ours": InitzooError("no such thing. Try another"),
        "keys": KeyboardInterrupt(),
        "bug": KeyError("x"),
    }[what]
'''


@pytest.fixture
def with_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[click.Group]:
    """The program with one file more in the folder of its commands."""
    (tmp_path / "fail_here.py").write_text(FAIL)
    monkeypatch.setattr(initzoo.cli, "__path__", [*initzoo.cli.__path__, str(tmp_path)])
    yield LazyGroup("initzoo", package="initzoo.cli")
    sys.modules.pop("initzoo.cli.fail_here", None)


def test_a_file_in_the_folder_is_a_command(with_fail: click.Group) -> None:
    lines = CliRunner().invoke(with_fail, ["--help"]).stdout.splitlines()
    assert lines.index("  fail-here   Fail, in one of three ways.") > lines.index("Measure:")
    assert "initzoo.cli.fail_here" not in sys.modules
    assert CliRunner().invoke(with_fail, ["fail-here", "--help"]).exit_code == 0


def test_every_command_is_there_and_has_help() -> None:
    context = click.Context(main)
    assert isinstance(main, LazyGroup)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.get_short_help_str()
        assert all(parameter.help for parameter in command.params if isinstance(parameter, click.Option)), (
            f"an option of {name} has no help"
        )


def test_version_is_the_packages() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert result.exit_code == 0
    assert result.stdout == f"initzoo, version {__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pul"], "Error: No such command 'pul'. Did you mean 'pull'?"),
        (["generator", "distill-words"], "No such command 'distill-words'. Did you mean 'distil-words'?"),
        (["pencil sketch"], "Error: No such command 'pencil sketch'."),
        # A module, and not a command.
        (["options"], "Error: No such command 'options'. Did you mean 'operators'?"),
        (["os.path"], "Error: No such command 'os.path'."),
    ],
)
def test_unknown_commands_are_a_usage_error_with_a_suggestion(words: list[str], said: str) -> None:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].endswith(said)


def test_help_groups_the_commands_and_cuts_no_sentence() -> None:
    lines = CliRunner().invoke(main, ["--help"], terminal_width=80).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("..." in line for line in lines if "Usage" not in line)
    places = [lines.index(f"{section}:") for section in ("Use", "Make your own zoo", "Measure")]
    assert places == sorted(places)
    assert main.list_commands(click.Context(main)) == sorted(main.list_commands(click.Context(main)))
    assert [line for line in lines[places[0] : places[1]] if line.startswith("  pull ")]
    assert "Commands:" not in lines  # every command of ours has a section
    for name in main.list_commands(click.Context(main)):
        (line,) = (line for line in lines if line.startswith(f"  {name} "))
        assert line.endswith(".")


def test_our_failures_are_one_line_and_exit_1(with_fail: click.Command) -> None:
    result = CliRunner().invoke(with_fail, ["fail-here", "ours"])
    assert result.exit_code == 1
    assert result.stderr == "Error: no such thing. Try another\n"
    assert result.stdout == ""


def test_ctrl_c_exits_130_without_a_traceback(with_fail: click.Command) -> None:
    result = CliRunner().invoke(with_fail, ["fail-here", "keys"])
    assert result.exit_code == 130
    assert result.stderr == "Interrupted.\n"


@pytest.mark.parametrize("name", ["harvest", "finetune", "bench"])
def test_ctrl_c_says_that_the_same_command_goes_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "invoke", interrupt)
    monkeypatch.setattr(command, "parse_args", lambda *_: [])
    result = CliRunner().invoke(main, [name])
    assert result.exit_code == 130
    assert result.stderr == "Interrupted. Run the same command again to resume.\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize(
    ("words", "is_buffered"), [(["list"], True), (["list", "--json"], False), (["--help"], True)]
)
def test_results_for_a_full_disk_are_one_line(words: list[str], is_buffered: bool, kept_zoo: Path) -> None:
    environment = {
        **os.environ, "PYTHONUNBUFFERED": "" if is_buffered else "1", "INITZOO_ZOO": str(kept_zoo)
    }  # fmt: skip
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [sys.executable, "-m", "initzoo", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
    assert result.returncode == 1
    assert result.stderr.startswith("Error: cannot print the result: No space left on device. ")
    assert result.stderr.count("\n") == 1


NAME_OF_NO_TERMINAL = os.fsdecode("素描 é".encode() + b" \xe9.safetensors")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_names_that_no_terminal_shows_are_escaped_and_json_stays_json(
    encoding: str, kept_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runner = CliRunner(charset=encoding)
    for words in (["night"], ["remove haze", "--force", "--json"]):
        command = ["pull", *words, "-o", NAME_OF_NO_TERMINAL, "--zoo", str(kept_zoo)]
        result = runner.invoke(main, command)
        assert result.exit_code == 0, result.output
        assert (tmp_path / NAME_OF_NO_TERMINAL).is_file()
    assert json.loads(result.stdout_bytes.decode(encoding))["path"] == NAME_OF_NO_TERMINAL


def test_a_strict_terminal_of_a_whole_process_is_no_traceback(kept_zoo: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "initzoo", "pull", "night", "-o", NAME_OF_NO_TERMINAL, "--zoo", kept_zoo],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1252:strict"},
        cwd=tmp_path,
    )
    assert (result.returncode, b"Traceback" in result.stderr) == (0, False), result.stderr
    assert "-> \\u7d20\\u63cf é " in result.stdout.decode("cp1252")
    assert (tmp_path / NAME_OF_NO_TERMINAL).is_file()


def test_bugs_keep_their_traceback(with_fail: click.Command) -> None:
    assert isinstance(CliRunner().invoke(with_fail, ["fail-here", "bug"]).exception, KeyError)


def test_the_module_is_the_command() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "initzoo", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout == f"initzoo, version {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["bench", "--quick", "--out", "bench"],
        ["diagnose", "base", "--plot", "plot.png"],
        ["generator", "evaluate", "--out", "evaluation"],
    ],
)
def test_without_matplotlib_plots_are_not_left_out_in_silence(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("initzoo.evaluation.report.plots.find_spec", lambda name: None)
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert result.stderr == 'Error: plots need matplotlib. Install it with: pip install "initzoo[bench]"\n'
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_a_group_says_that_the_same_command_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    group = main.get_command(click.Context(main), "generator")
    assert isinstance(group, click.Group)
    command = group.get_command(click.Context(group), "train")
    assert command is not None

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "invoke", interrupt)
    monkeypatch.setattr(command, "parse_args", lambda *_: [])
    result = CliRunner().invoke(main, ["generator", "train"])
    assert result.exit_code == 130
    assert result.stderr == "Interrupted. Run the same command again to resume.\n"


def test_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    """As in `initzoo list --json | head -1`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "initzoo", "list", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    process.wait()
