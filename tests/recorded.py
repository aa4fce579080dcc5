"""Commands of a page: read by a real shell, and run in this process.

How a shell reads a line is what such a test is about. That each command starts an interpreter is not, and
costs seconds.
"""

from __future__ import annotations

import os
import subprocess
import warnings
from contextlib import chdir
from pathlib import Path

from cli_running import succeed

__all__ = ["run_script"]

_STUB = """#!/bin/sh
folder="{calls}"
number=$(ls "$folder" | wc -l)
call="$folder/$(printf %04d "$number")"
mkdir "$call"
printf '%s\\0' "$(basename "$0")" "$@" > "$call/words"
[ "$(basename "$0")" = python ] && cat > "$call/input"
exit 0
"""


def run_script(script: str, folder: Path, tools: Path) -> None:
    """Run a script of bash in a folder: `initzoo` and `python` in this process, all else before them.

    Args:
        script: lines; a command of `python` is a program on its standard input.
        folder: the working folder.
        tools: an empty folder for what stands in for the two.
    """
    calls = tools / "calls"
    calls.mkdir(parents=True)
    for name in ("initzoo", "python"):
        (tools / name).write_text(_STUB.format(calls=calls))
        (tools / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-ec", script], cwd=folder, check=True, env=environment, capture_output=True)
    with chdir(folder):
        for call in sorted(calls.iterdir()):
            name, *words = (call / "words").read_bytes().decode().split("\0")[:-1]
            if name == "initzoo":
                succeed(*words)
            else:
                assert words == ["-"], words
                program = compile((call / "input").read_text(), "input", "exec")
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # a process would print them
                    exec(program, {"__name__": "__main__"})
