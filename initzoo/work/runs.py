"""Run folders: keep unfinished work, so that the same command resumes it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tokenize import TokenError
from typing import Any, TypeVar

from initzoo.errors import InitzooError, OutputError, printable
from initzoo.files import one_at_a_time, shorten_name, write_bytes

__all__ = [
    "StageClock",
    "default_run_folder",
    "open_run",
    "read_json_piece",
    "read_piece",
    "remove_run",
]

_MAX_NAME_BYTES = 240
T = TypeVar("T")

_CLAIM, _LOCK, _HOLDER = "run.json", "run.lock", "run.holder.json"


def default_run_folder(out: Path) -> Path:
    """The folder for the unfinished work of a result: beside it, with `.run` behind its name.

    Example:
        >>> default_run_folder(Path("zoos/mine")).as_posix()
        'zoos/mine.run'
    """
    if out.name in ("", ".."):  # "." and the like have no name to put something behind
        out = Path(os.path.abspath(out))
    if not out.name:
        return out / "initzoo.run"
    name = shorten_name(out.name, _MAX_NAME_BYTES)
    if name != out.name:  # ".run" has room behind it, and two long names stay two
        name += hashlib.sha256(os.fsencode(out.name)).hexdigest()[:8]
    return out.with_name(f"{name}.run")


@contextmanager
def open_run(
    path: Path, settings: Mapping[str, Any], *, kind: str, force: bool | None = None
) -> Iterator[None]:
    """Lock a run folder for new or unfinished work, so that no other process uses it.

    The lock ends with the process, so killed work can be resumed at once.

    Args:
        path: the run folder; created if it is missing.
        settings: everything that determines the result, as JSON values. They are stored in the folder, which
            cannot be used with other settings.
        kind: kind of work, e.g. `fine-tune`.
        force: delete unfinished work of this kind with other settings; None if the caller has no such option.

    Raises:
        OutputError: another process uses the folder, or the folder cannot be created or has other content.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with open_run(Path(folder), {"seed": 0}, kind="fine-tune"):
        ...         write_bytes(Path(folder) / "half", b"done", force=True)
        ...     with open_run(Path(folder), {"seed": 1}, kind="fine-tune", force=False):
        ...         pass
        Traceback (most recent call last):
            ...
        initzoo.errors.OutputError: ... holds an unfinished fine-tune with other settings (seed 0). Add ...
    """
    try:
        is_taken = not (path / _CLAIM).is_file() and _holds_other_files(path)
        if not is_taken:  # checked before anything is written
            path.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # a name can be too long, and links can be circular
        raise OutputError(
            f"cannot make the run folder {path}: {error.strerror or error}. Name another folder with --run"
        ) from error
    if is_taken:
        raise OutputError(
            f"{path} exists and is not the run folder of a {kind}. Name another folder with --run"
        )
    with one_at_a_time(path / _LOCK, wait=False) as is_free:
        if not is_free:
            raise OutputError(
                f"{_holder_of(path)} is using the run folder {path}. Wait until it ends, or name another "
                "folder with --run"
            )
        holder = {"pid": os.getpid(), "machine": platform.node()}
        write_bytes(path / _HOLDER, json.dumps(holder).encode(), force=True)
        _claim(path, {"kind": kind, **settings}, force=force)
        yield


def remove_run(path: Path) -> None:
    """Delete a run folder after its result is written. After a kill on the way, none looks unfinished."""
    old = path.absolute().with_name(
        f".{shorten_name(path.name, _MAX_NAME_BYTES - 20)}.{secrets.token_hex(4)}.old"
    )
    with suppress(OSError):
        path.rename(old)
        path = old
    shutil.rmtree(path, ignore_errors=True)


def read_piece(path: Path, read: Callable[[Path], T]) -> T | None:
    """Read a piece of unfinished work. One that is missing, empty or cut is none, and is to be made again.

    Args:
        path: the file.
        read: reads it; any error of it means that the file is damaged, and removes it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "scores.json"
        ...     _ = path.write_bytes(b"")  # as a power cut may leave it
        ...     read_piece(path, lambda path: json.loads(path.read_bytes())), path.exists()
        (None, False)
    """
    from safetensors import SafetensorError

    try:
        return read(path)
    except FileNotFoundError:
        return None
    except (
        InitzooError,
        SafetensorError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        RecursionError,
        SyntaxError,
        TokenError,  # NumPy reads the head of an array as Python
        MemoryError,  # a damaged head can ask for any size
    ):
        with suppress(OSError):
            path.unlink()
        return None


def read_json_piece(path: Path) -> dict[str, Any] | None:
    """Read a piece of unfinished work that is a JSON object; None as for `read_piece`."""

    def read(path: Path) -> dict[str, Any]:
        values = json.loads(path.read_bytes())
        if not isinstance(values, dict):
            raise TypeError(f"expected an object, found {values!r}")
        return values

    return read_piece(path, read)


def _holds_other_files(path: Path) -> bool:
    if not path.exists():
        return False
    return not path.is_dir() or any(file.name not in (_LOCK, _HOLDER) for file in path.iterdir())


def _holder_of(path: Path) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError):
        holder = json.loads((path / _HOLDER).read_bytes())
        return f"process {holder['pid']} on {holder['machine']}"
    return "another process"


def _claim(path: Path, settings: Mapping[str, Any], *, force: bool | None) -> None:
    """Store the settings, or check that they equal the stored ones."""
    claim, text = path / _CLAIM, json.dumps(settings, sort_keys=True, indent=1)
    before = claim.read_text("utf-8", errors="replace") if claim.is_file() else text
    if not text.startswith(before):  # a power cut may have left the file empty or cut
        difference = _difference(path, before, json.loads(text))
        if not force:
            advice = "Delete it" if force is None else "Add --force to start again"
            raise OutputError(
                f"{path} holds an unfinished {settings['kind']} with other settings ({difference}). "
                f"{advice}, or name another folder with --run"
            )
        _empty(path)
    for part in path.rglob(".*.part"):  # left by a killed write
        part.unlink()
    write_bytes(claim, text.encode(), force=True)


def _difference(path: Path, before: str, settings: Mapping[str, Any]) -> str:
    """The settings that differ, with their stored values.

    Raises:
        OutputError: the folder has work of another kind.
    """
    try:
        kept = json.loads(before)
        is_same_kind = kept["kind"] == settings["kind"]
    except (ValueError, TypeError, KeyError):
        is_same_kind = False
    if not is_same_kind:
        raise OutputError(
            f"{path} has other work than a {settings['kind']} of this version. Name another folder with --run"
        )
    names = [name for name in sorted({*kept, *settings}) if kept.get(name) != settings.get(name)]
    shown = [
        f"{name} {kept[name]}" if isinstance(kept.get(name), int | float | str) else name for name in names
    ]
    return printable(", ".join(shown))[:120]


def _empty(path: Path) -> None:
    """Delete everything except the lock, which this process holds."""
    for file in path.iterdir():
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        elif file.name not in (_LOCK, _HOLDER):
            file.unlink()


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12


class StageClock:
    """Measures the time of each stage and sums it over interruptions.

    Args:
        path: the run folder, in which `seconds.json` is kept.
        n_workers: number of worker processes from now on.
    """

    def __init__(self, path: Path, n_workers: int) -> None:
        self._path = path / "seconds.json"
        kept = read_json_piece(self._path) or {}
        seconds, core_seconds = kept.get("seconds"), kept.get("core_seconds")
        self.seconds: dict[str, float] = {}
        self.core_seconds = 0.0
        if isinstance(seconds, dict) and all(map(_is_time, (core_seconds, *seconds.values()))):
            self.seconds, self.core_seconds = seconds, float(core_seconds or 0)
        self._n_workers = n_workers
        self._last = self._saved = time.perf_counter()

    def add(self, stage: str, *, save: bool = False) -> None:
        """Add the time since the last call to a stage. Saved every five seconds, or at once if `save`."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self.core_seconds += (now - self._last) * self._n_workers
        self._last = now
        if save or now - self._saved > 5:
            kept = {"seconds": self.seconds, "core_seconds": self.core_seconds}
            write_bytes(self._path, json.dumps(kept).encode(), force=True)
            self._saved = now
