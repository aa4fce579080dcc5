"""Pickled weights: read as a state dict, never in this process.

A pickle can run code when it is read. `torch.load(weights_only=True)` refuses all but tensors and plain
containers; it runs in a child process with limits of time and memory, so that a file which gets past it, or
which claims terabytes, ends that process and nothing else. The child hands back plain safetensors.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from initzoo.files.atomic import temporary_folder
from initzoo.files.digests import DamagedFile, check_no_pointer

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["read_pickled_weights"]

_MAX_SECONDS = 120
_MAX_FILE_BYTES = 2**33
_LEAST_MEMORY = 2**30
_CHILD = Path(__file__).with_name("unpickling.py")


def read_pickled_weights(
    path: Path, *, max_seconds: float = _MAX_SECONDS, max_memory: int | None = None
) -> dict[str, Tensor]:
    """Read the state dict of a `.pth` file in a child process. Loads torch.

    Args:
        path: a file that `torch.save` wrote.
        max_seconds: limit of the child's time.
        max_memory: limit of the memory that the child takes beyond torch's, bytes; by default enough for
            the file four times. On systems without `resource` the time alone is limited.

    Returns:
        Tensors by name, in the order of the file. A dict within a dict, under its single key, is unwrapped.

    Raises:
        DamagedFile: the file cannot be read, is no state dict, or reading it took too much.
    """
    from safetensors.torch import load_file

    n_bytes = _check_file(path)
    memory = max_memory or _LEAST_MEMORY + 4 * n_bytes
    with temporary_folder() as folder:
        target = folder / "weights.safetensors"
        # -P: no module of the working folder is imported in the place of one of Python's.
        command = [sys.executable, "-P", str(_CHILD), str(path), str(target), str(memory), str(max_seconds)]
        try:
            child = subprocess.run(command, capture_output=True, timeout=max_seconds, check=False)
        except subprocess.TimeoutExpired as error:
            raise DamagedFile(f"was not read within {max_seconds:g} seconds") from error
        answer = _parse(child.stdout)
        if "names" not in answer:
            reason = answer.get("problem") or f"ended the process that read it (exit code {child.returncode})"
            raise DamagedFile(str(reason))
        tensors = load_file(target)
        return {name: tensors[str(number)] for number, name in enumerate(answer["names"])}


def _check_file(path: Path) -> int:
    """Check what can be seen without unpickling; returns the size in bytes."""
    try:
        n_bytes = path.stat().st_size
        with path.open("rb") as file:
            beginning = file.read(64)
    except (OSError, ValueError) as error:
        raise DamagedFile(f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not n_bytes:
        raise DamagedFile("is empty: it has 0 bytes")
    if n_bytes > _MAX_FILE_BYTES:
        raise DamagedFile(f"has {n_bytes} bytes, at most {_MAX_FILE_BYTES} are read")
    check_no_pointer(beginning)
    if beginning.startswith(b"PK"):
        try:
            with zipfile.ZipFile(path) as archive:
                names = {name.partition("/")[2] for name in archive.namelist()}
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise DamagedFile(f"is cut off or damaged ({str(error).lower()})") from error
        if "constants.pkl" in names:
            raise DamagedFile("is a TorchScript archive, which holds code, and not a state dict")
    return n_bytes


def _parse(output: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(output.decode("utf-8", "replace"))
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
