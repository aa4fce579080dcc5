"""Run folders: where long work is kept, so that the same command goes on after a kill."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from initzoo.errors import OutputError
from initzoo.files import one_at_a_time, shorten_name, write_bytes

__all__ = ["StageClock", "default_run_folder", "open_run"]

_MAX_NAME_BYTES = 240
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
    """Hold a folder for some work, new or unfinished, so that no other process works in it meanwhile.

    The lock goes with the process: work that was killed can be gone on with at once.

    Args:
        path: made if it is missing.
        settings: all that decides the result, plain JSON values. The folder keeps them, and serves no work
            with others.
        kind: of work, e.g. `fine-tune`.
        force: throw away unfinished work of that kind with other settings; None where the user cannot ask
            for that.

    Raises:
        OutputError: another process holds the folder, or it cannot be made, or holds other work or files.

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
        if not is_taken:  # else nothing is written into it
            path.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # also of looking: names may be too long, and links go round in circles
        raise OutputError(
            f"cannot make the run folder {path}: {error.strerror or error}. Name another folder with --run"
        ) from error
    if is_taken:
        raise OutputError(f"{path} is there already and holds no {kind}. Name another folder with --run")
    with one_at_a_time(path / _LOCK, wait=False) as is_free:
        if not is_free:
            raise OutputError(
                f"{_holder_of(path)} is at work in the run folder {path}. Wait for its end, or name another "
                "folder with --run"
            )
        holder = {"pid": os.getpid(), "machine": platform.node()}
        write_bytes(path / _HOLDER, json.dumps(holder).encode(), force=True)
        _claim(path, {"kind": kind, **settings}, force=force)
        yield


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
    """Write the settings, or check that the folder holds work with the same ones."""
    claim, text = path / _CLAIM, json.dumps(settings, sort_keys=True, indent=1)
    before = claim.read_text("utf-8", errors="replace") if claim.is_file() else text
    if before != text:
        difference = _difference(path, before, json.loads(text))
        if not force:
            advice = "Delete it" if force is None else "Add --force to start anew"
            raise OutputError(
                f"{path} holds an unfinished {settings['kind']} with other settings ({difference}). "
                f"{advice}, or name another folder with --run"
            )
        _empty(path)
    for part in path.rglob(".*.part"):  # of a write that was killed
        part.unlink()
    write_bytes(claim, text.encode(), force=True)


def _difference(path: Path, before: str, settings: Mapping[str, Any]) -> str:
    """The settings that differ, with the values that the folder has.

    Raises:
        OutputError: the folder holds work of another kind.
    """
    try:
        kept = json.loads(before)
        is_same_kind = kept["kind"] == settings["kind"]
    except (ValueError, TypeError, KeyError):
        is_same_kind = False
    if not is_same_kind:
        raise OutputError(
            f"{path} holds work that is no {settings['kind']} of this version. Name another with --run"
        )
    names = [name for name in sorted({*kept, *settings}) if kept.get(name) != settings.get(name)]
    shown = [
        f"{name} {kept[name]}" if isinstance(kept.get(name), int | float | str) else name for name in names
    ]
    return ", ".join(shown)[:200]


def _empty(path: Path) -> None:
    """Remove all but the lock, which this process holds."""
    for file in path.iterdir():
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        elif file.name not in (_LOCK, _HOLDER):
            file.unlink()


class StageClock:
    """Time spent on each stage, kept in the run folder so that it adds up over interruptions.

    Args:
        path: the run folder, where `seconds.json` is kept.
        n_workers: processes at work from now on.
    """

    def __init__(self, path: Path, n_workers: int) -> None:
        self._path = path / "seconds.json"
        kept = json.loads(self._path.read_bytes()) if self._path.exists() else {}
        self.seconds: dict[str, float] = kept.get("seconds", {})
        self.core_seconds: float = kept.get("core_seconds", 0.0)
        self._n_workers = n_workers
        self._last = self._saved = time.perf_counter()

    def add(self, stage: str, *, save: bool = False) -> None:
        """Count the time since the last call for a stage; saved every few seconds."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self.core_seconds += (now - self._last) * self._n_workers
        self._last = now
        if save or now - self._saved > 5:
            kept = {"seconds": self.seconds, "core_seconds": self.core_seconds}
            write_bytes(self._path, json.dumps(kept).encode(), force=True)
            self._saved = now
