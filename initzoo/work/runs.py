"""Run folders: where long work is kept, so that the same command goes on after a kill."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from initzoo.errors import OutputError
from initzoo.files.atomic import write_bytes

__all__ = ["StageClock", "claim_run_folder"]

_CLAIM = "run.json"


def claim_run_folder(path: Path, told: Mapping[str, Any], *, kind: str, force: bool = False) -> None:
    """Take a folder for some work, or check that it holds the same work, unfinished.

    Args:
        path: made if it is missing.
        told: what decides the result, plain JSON values.
        kind: what the work is called, e.g. `fine-tune`.
        force: throw away work of that kind that goes after something else.

    Raises:
        OutputError: the folder cannot be made, or holds other work or other files.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     claim_run_folder(Path(folder), {"seed": 0}, kind="fine-tune")
        ...     claim_run_folder(Path(folder), {"seed": 0}, kind="fine-tune")
        ...     claim_run_folder(Path(folder), {"seed": 1}, kind="fine-tune")
        Traceback (most recent call last):
            ...
        initzoo.errors.OutputError: ... holds an unfinished fine-tune with other settings (seed 0). Add ...
    """
    text = json.dumps({"kind": kind, **told}, sort_keys=True, indent=1)
    claim = path / _CLAIM
    if claim.is_file():
        _check_claim(path, claim.read_text("utf-8", errors="replace"), text, kind, force)
    elif path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise OutputError(f"{path} is there already and holds no {kind}. Name another folder with --run")
    try:
        path.mkdir(parents=True, exist_ok=True)
        for part in path.rglob(".*.part"):  # of a write that was killed
            part.unlink()
    except OSError as error:
        raise OutputError(f"cannot make the run folder {path}: {error.strerror}.") from error
    write_bytes(claim, text.encode(), force=True)


def _check_claim(path: Path, before: str, text: str, kind: str, force: bool) -> None:
    if before == text:
        return
    try:
        values, told = json.loads(before), json.loads(text)
        is_same_kind = values["kind"] == kind
    except (ValueError, TypeError, KeyError):
        is_same_kind = False
    if not is_same_kind:
        raise OutputError(f"{path} holds work that is no {kind} of this version. Name another with --run")
    if force:
        shutil.rmtree(path)
        return
    odd = [key for key in sorted({*values, *told}) if values.get(key) != told.get(key)]
    shown = [f"{key} {values[key]}" if isinstance(values.get(key), int | float | str) else key for key in odd]
    raise OutputError(
        f"{path} holds an unfinished {kind} with other settings ({', '.join(shown)[:200]}). "
        "Add --force to start anew, or name another folder with --run"
    )


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
