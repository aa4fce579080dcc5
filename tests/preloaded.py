"""Processes that begin with torch loaded: forked from a server that has imported it once.

A fresh interpreter takes seconds of processor time to import torch. Tests of what several processes do need
processes, but few of them need fresh interpreters.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["CONTEXT", "start", "unpickle"]

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "torch",
        "cv2",
        "pyarrow.parquet",
        "safetensors.torch",
        "click.testing",
        "pytest",
        "PIL.Image",
        "msgspec",
    ]
)


def start(
    work: Callable[..., object],
    *arguments: Any,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Any:
    """Call a function of a module in a process of its own.

    Args:
        work: the function; what it returns becomes the exit status as `sys.exit` would have it.
        arguments: picklable arguments of it.
        cwd: working folder of the process.
        environment: variables beside those of this process.
    """
    place = str(cwd or Path.cwd())
    variables = {**os.environ, **(environment or {})}
    process = CONTEXT.Process(target=_call, args=(work, arguments, place, variables))
    process.start()
    return process


def _call(
    work: Callable[..., object], arguments: Sequence[Any], cwd: str, variables: Mapping[str, str]
) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(variables)
    sys.exit(work(*arguments))


def unpickle(command: Sequence[str], *, timeout: float, **_: object) -> subprocess.CompletedProcess[bytes]:
    """Stands in for `subprocess.run` in `initzoo.files.unpickled`: the same code in a forked process."""
    receiver, sender = CONTEXT.Pipe(duplex=False)
    with receiver:
        process = start(_unpickle, sender, command[3:])
        sender.close()
        answer = receiver.recv_bytes() if receiver.poll(timeout) else b""
        process.join()
    return subprocess.CompletedProcess(list(command), process.exitcode or 0, answer, b"")


def _unpickle(sender: Any, arguments: Sequence[str]) -> None:
    from initzoo.files.unpickling import main

    sys.stdout = output = io.StringIO()
    main(*arguments)
    sender.send_bytes(output.getvalue().encode())
