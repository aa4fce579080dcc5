"""Running commands in this process, for tests that say what succeeds and what fails."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from initzoo.cli.main import main


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def succeed(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def fail(*arguments: str | Path) -> str:
    """The one line that a failing command says; it writes nothing into the folder it runs in."""
    before = files()
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert (result.stdout, result.stderr.count("\n"), files()) == ("", 1, before)
    assert result.stderr.startswith("Error: ")
    return result.stderr.removeprefix("Error: ").rstrip()


def files() -> list[str]:
    return sorted(path.name for path in Path().iterdir())
