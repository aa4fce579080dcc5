"""The frame of the command line: finds commands by their files and imports them lazily."""

from __future__ import annotations

import ast
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.abc import InspectLoader
from importlib.util import find_spec
from pkgutil import iter_modules
from traceback import walk_tb
from typing import Any

import click
from click.exceptions import NoSuchCommand

from initzoo.errors import InitzooError, InitzooWarning, printable
from initzoo.work import rank_of

__all__ = ["CommandFile", "LazyGroup"]

_SECTIONS = ("Use", "Make your own zoo", "Measure", "Commands")  # the last one is the default
_LAUNCHER_SECONDS = 3.0
_INTERRUPTED = 130  # the exit code of shells for Ctrl-C
_RUN_FOLDER = "run_folder"  # argument of the commands that resume unfinished work


@dataclass(frozen=True)
class CommandFile:
    """A file that defines a command, parsed without being imported.

    Args:
        name: name of the command, e.g. "distil-words" for the file distil_words.py.
        help: first line of the docstring of its function `command`.
        section: value of its constant `SECTION`, the heading in the help of the group.
    """

    name: str
    help: str
    section: str = _SECTIONS[-1]

    @classmethod
    def read(cls, module: str, source: str) -> CommandFile | None:
        """Parse the command in the source of a module; None if it defines no function `command`.

        Example:
            >>> source = 'SECTION = "Measure"' + chr(10) + 'def command(): "Count."'
            >>> CommandFile.read("count_words", source)
            CommandFile(name='count-words', help='Count.', section='Measure')
        """
        section, summary = _SECTIONS[-1], None
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef) and node.name == "command":
                summary = (ast.get_docstring(node) or "").partition("\n")[0]
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SECTION":
                section = ast.literal_eval(node.value)
        return None if summary is None else cls(module.replace("_", "-"), summary, section)


class LazyGroup(click.Group):
    """A group whose commands are the modules of a package, imported when they are used.

    A module with a function `command` is a command with the name of the module. An `InitzooError` becomes one
    line on standard error and exit code 1; Ctrl-C gives exit code 130. All other exceptions are bugs and keep
    their tracebacks.

    Args:
        package: name of the package, e.g. "initzoo.cli".
    """

    def __init__(self, *args: Any, package: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.package = package

    @cached_property
    def files(self) -> dict[str, CommandFile]:
        """The commands by name, sorted. Their sources are parsed but not imported."""
        files = {}
        for module in self._modules():
            spec = find_spec(f"{self.package}.{module}")
            assert spec is not None
            assert isinstance(spec.loader, InspectLoader)
            file = CommandFile.read(module, spec.loader.get_source(spec.name) or "")
            if file is not None:
                files[file.name] = file
        return dict(sorted(files.items()))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, sorted."""
        return list(self.files)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of a name; None if there is no such command."""
        module = cmd_name.replace("-", "_")
        if module not in self._modules():  # without parsing the other commands, to be quick
            return None
        command = getattr(import_module(f"{self.package}.{module}"), "command", None)
        return command if isinstance(command, click.Command) else None

    def _modules(self) -> list[str]:
        return [module.name for module in iter_modules(import_module(self.package).__path__)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve the first argument to a command; a mistyped name gets a suggestion."""
        try:
            return super().resolve_command(ctx, args)
        except NoSuchCommand as error:
            raise NoSuchCommand(error.command_name, possibilities=self.files, ctx=ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, grouped by section."""
        width = max(map(len, self.files), default=0)
        for section in dict.fromkeys((*_SECTIONS, *(file.section for file in self.files.values()))):
            rows = [
                (f"{file.name:{width}}", file.help) for file in self.files.values() if file.section == section
            ]
            if rows:
                with formatter.section(section):
                    formatter.write_dl(rows)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line. Characters that a terminal cannot show are escaped."""
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if not _is_of_output(error):
                raise
            _drop_output()
            with suppress(OSError):
                click.echo(
                    f"Error: cannot print the result: {error.strerror}. Write it to another file or device",
                    err=True,
                )
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and turn errors into exit codes."""
        try:
            with _warnings_as_lines():
                return super().invoke(ctx)
        except InitzooError as error:
            _leave_it_to_the_first_process()
            raise click.ClickException(str(error)) from error
        except click.ClickException:
            _leave_it_to_the_first_process()
            raise
        except FileNotFoundError as error:
            if "No usable temporary directory" not in str(error):  # some libraries ask for one when imported
                raise
            raise click.ClickException(
                "there is no folder for temporary files. Set TMPDIR to a folder that is writable"
            ) from error
        except KeyboardInterrupt as error:
            click.echo(f"Interrupted.{self._resume_hint(ctx)}", err=True)
            raise click.exceptions.Exit(_INTERRUPTED) from error

    def _resume_hint(self, ctx: click.Context) -> str:
        """The hint on how to resume, for a command with a run folder."""
        command = self.get_command(ctx, ctx.invoked_subcommand or "")
        keeps_work = command is not None and any(param.name == _RUN_FOLDER for param in command.params)
        return " Run the same command again to resume." if keeps_work else ""


def _leave_it_to_the_first_process() -> None:
    """Wait before an error is printed, in any process of `accelerate launch` but the first.

    If the first one fails, too, which says why, the launcher ends the others meanwhile.
    """
    if rank_of(os.environ)[0]:
        time.sleep(_LAUNCHER_SECONDS)


def _is_of_output(error: OSError) -> bool:
    """Whether an error was raised while printing, and not by the work of a command."""
    return any(frame.f_code is click.echo.__code__ for frame, _ in walk_tb(error.__traceback__))


def _drop_output() -> None:
    """Redirect standard output to the null device: flushing its buffer at exit would fail again."""
    with suppress(OSError, ValueError, AttributeError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print each warning of initzoo as one line on standard error, without a code location."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", InitzooWarning)
        # The Hub's client warns of a full disk before the error that says so.
        warnings.filterwarnings("ignore", "Not enough free disk space", UserWarning)
        show = warnings.showwarning

        def show_line(message: Warning | str, category: type[Warning], *rest: Any, **named: Any) -> None:
            if issubclass(category, InitzooWarning):
                if rank_of(os.environ)[0]:
                    return  # the first process of a launch says the same
                click.echo(f"Warning: {printable(str(message))}", err=True)
            else:
                show(message, category, *rest, **named)

        warnings.showwarning = show_line
        yield
