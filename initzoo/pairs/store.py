"""A store of pairs on disk, so that a slow teacher edits each photo once.

A pair is a PNG file with input and target side by side, in a folder per teacher. The files can be viewed, and
each such folder is itself a folder of pairs. The name of a file is a digest of the photo, its size and the
seed. A digest in the file covers its name and its pixels. In place of a picture that is no good to train on
there is a hidden JSON file with the reason. Beside the folder, a JSON file names the teacher and the licence.
"""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import OutputError, TeacherError
from initzoo.files import one_at_a_time, write_bytes
from initzoo.pairs.teachers import TEACHER_ID, Refused, TaughtPair, Teacher, edit_checked

__all__ = ["CACHE_BYTES", "PairStore", "default_store", "store_folder"]

Pixels = NDArray[np.uint8]

CACHE_BYTES = 20 * 2**30
"""Maximum size of the store in the user's cache, bytes: about 80,000 pairs at 256 pixels."""

_DIGEST_KEY = "initzoo-sha256"
_SHARE_BETWEEN_SWEEPS = 0.02
_SHARE_AFTER_SWEEP = 0.9
_MAX_REASON, _MAX_REASON_BYTES = 200, 2000
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)


class PairStore:
    """A folder of pairs by teacher, photo and seed. Several processes can use it at once.

    Args:
        folder: the folder; created when the first pair is written.
        max_bytes: maximum size of all files; the least recently used are deleted first. None for no limit.

    Example:
        >>> import tempfile
        >>> from initzoo.pairs.teachers import FunctionTeacher
        >>> teacher = FunctionTeacher(np.roll, settings={"axis": 1}, version="1")
        >>> photos = [np.arange(192, dtype=np.uint8).reshape(8, 8, 3)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     made = PairStore(folder).teach(teacher, photos, [0])
        ...     read = PairStore(folder).teach(teacher, photos, [0])
        ...     len(list(Path(folder).glob("*/*.png"))), np.array_equal(made, read)
        (1, True)
    """

    def __init__(self, folder: str | os.PathLike[str], *, max_bytes: int | None = None) -> None:
        self.folder = Path(folder)
        self.max_bytes = max_bytes
        self._n_unswept = max_bytes or 0  # the first write of a process checks the whole folder
        self._is_writable = True

    def teach(
        self, teacher: Teacher, photos: Sequence[Pixels], seeds: Sequence[int]
    ) -> list[TaughtPair | Refused]:
        """Read the pairs of photos; make and write the missing and damaged ones.

        If the folder cannot be written, the pairs are made without it, and a warning is given once.

        Args:
            teacher: a teacher with at least one variant. It gets `seed % n_variants` as its seed.
            photos: uint8, shape `(height, width, 3)`.
            seeds: one per photo.

        Returns:
            Input and target of each photo, or the reason why it has none.

        Raises:
            TeacherError: the teacher failed.
        """
        if not TEACHER_ID.fullmatch(teacher.id):  # it becomes part of a path
            raise TeacherError(f"teacher id '{teacher.id}' must be lower-case letters, digits and hyphens")
        variants = [seed % teacher.n_variants for seed in seeds]
        paths = [self._path_of(teacher, *shown) for shown in zip(photos, variants, strict=True)]
        pairs = {path: self._read(path) for path in paths}
        if any(pair is None for pair in pairs.values()):
            with self._alone(teacher):
                # Another process may have made the pairs while this one waited for the lock.
                pairs |= {path: self._read(path) for path, pair in pairs.items() if pair is None}
                missing = {
                    path: (photo, variant)
                    for path, photo, variant in zip(paths, photos, variants, strict=True)
                    if pairs[path] is None
                }
                if missing:
                    shown, seen = zip(*missing.values(), strict=True)
                    made = edit_checked(teacher, shown, seen)
                    self._note(teacher)
                    for path, pair in zip(missing, made, strict=True):
                        pairs[path] = pair
                        self._write(path, pair)
        return [pair for pair in map(pairs.get, paths) if pair is not None]

    def _path_of(self, teacher: Teacher, photo: Pixels, variant: int) -> Path:
        digest = hashlib.sha256(f"{photo.shape} {variant} ".encode())
        digest.update(photo.tobytes())
        return self.folder / teacher.id / f"{digest.hexdigest()[:32]}.png"

    @contextmanager
    def _alone(self, teacher: Teacher) -> Iterator[None]:
        """Lock a teacher, so that one process at a time uses it.

        Two processes would make the same pairs twice, and two models may not fit on one GPU.
        """
        with ExitStack() as stack:
            try:
                if self._is_writable:
                    stack.enter_context(one_at_a_time(self.folder / f"{teacher.model_id or teacher.id}.lock"))
            except OutputError as error:
                self._give_up(error)
            try:
                yield
            finally:
                if teacher.model_id is not None and multiprocessing.parent_process() is not None:
                    teacher.release()  # a device has room for the model of one worker, not of all

    def _note(self, teacher: Teacher) -> None:
        """Say beside the pairs which teacher makes them, and under which licence."""
        path = self.folder / f"{teacher.id}.json"
        if self._is_writable and not path.exists():
            notes = {"teacher": teacher.to_json(), "licence": teacher.licence}
            try:
                write_bytes(path, json.dumps(notes, indent=1).encode() + b"\n", force=True)
            except OutputError as error:
                self._give_up(error)

    def _read(self, path: Path) -> TaughtPair | Refused | None:
        """A pair, or why there is none, or None if the file is missing or damaged."""
        return self._read_pair(path) or self._read_refusal(path)

    def _read_refusal(self, path: Path) -> Refused | None:
        try:
            with _refusal_path(path).open("rb") as file:
                notes = json.loads(file.read(_MAX_REASON_BYTES))
            refused = Refused(notes["refused"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return refused if notes.get(_DIGEST_KEY) == _refusal_digest(path, refused) else None

    def _read_pair(self, path: Path) -> TaughtPair | None:
        from PIL import Image

        try:
            with Image.open(path, formats=["PNG"]) as image:
                image.load()
                both = np.asarray(image)
                promised = image.info.get(_DIGEST_KEY)
        except (*_DECODE_ERRORS, Image.DecompressionBombError):
            return None
        if promised != _digest(path, both) or both.ndim != 3:
            return None
        with suppress(OSError):
            os.utime(path)  # marks the file as used, for _sweep
        width = both.shape[1] // 2
        return both[:, :width].copy(), both[:, width:].copy()

    def _write(self, path: Path, pair: TaughtPair | Refused) -> None:
        if not self._is_writable:
            return
        if isinstance(pair, Refused):
            pair = Refused(pair.reason[:_MAX_REASON])
            notes = {"refused": pair.reason, _DIGEST_KEY: _refusal_digest(path, pair)}
            path, data = _refusal_path(path), json.dumps(notes).encode()
        else:
            data = _encode(path, pair)
        try:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"cannot make the folder {path.parent}: {error.strerror}") from error
            write_bytes(path, data, force=True)
        except OutputError as error:
            self._give_up(error)
            return
        if self.max_bytes is not None:
            self._n_unswept += len(data)
            if self._n_unswept > self.max_bytes * _SHARE_BETWEEN_SWEEPS:
                self._n_unswept = 0
                _sweep(self.folder, self.max_bytes)

    def _give_up(self, error: OutputError) -> None:
        """Continue without writing: a full cache should not end a run of hours."""
        self._is_writable = False
        warnings.warn(
            f"pairs are not stored and will be made again: {error}; set INITZOO_PAIRS to another folder",
            stacklevel=2,
        )


def default_store() -> PairStore:
    """The store at `store_folder()`: limited to `CACHE_BYTES`, unless INITZOO_PAIRS names the folder."""
    return _store_at(store_folder(), None if os.environ.get("INITZOO_PAIRS") else CACHE_BYTES)


@cache
def _store_at(folder: Path, max_bytes: int | None) -> PairStore:
    return PairStore(folder, max_bytes=max_bytes)


def store_folder() -> Path:
    """The folder of the store: `INITZOO_PAIRS`, or a folder among the assets of the Hugging Face cache.

    The variables `HF_ASSETS_CACHE`, `HF_HOME` and `XDG_CACHE_HOME` move that cache, as in all libraries that
    use it.
    """
    if chosen := os.environ.get("INITZOO_PAIRS"):
        return Path(chosen).expanduser()
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or os.path.join(caches, "huggingface")
    assets = os.environ.get("HF_ASSETS_CACHE") or os.path.join(home, "assets")
    return Path(os.path.expandvars(assets)).expanduser() / "initzoo" / "pairs"


def _encode(path: Path, pair: TaughtPair) -> bytes:
    from PIL import Image, PngImagePlugin

    both = np.concatenate(pair, axis=1)
    notes = PngImagePlugin.PngInfo()
    notes.add_text(_DIGEST_KEY, _digest(path, both))
    data = io.BytesIO()
    Image.fromarray(both).save(data, "PNG", pnginfo=notes)
    return data.getvalue()


def _refusal_path(path: Path) -> Path:
    """A hidden file, so that a reader of the folder as pairs does not stumble over it."""
    return path.with_name(f".{path.stem}.json")


def _refusal_digest(path: Path, refused: Refused) -> str:
    return hashlib.sha256(f"{path.parent.name}/{path.stem} {refused.reason}".encode()).hexdigest()


def _digest(path: Path, both: Pixels) -> str:
    digest = hashlib.sha256(f"{path.parent.name}/{path.name} {both.shape} ".encode())
    digest.update(both.tobytes())
    return digest.hexdigest()


def _sweep(folder: Path, max_bytes: int) -> None:
    """Delete the least recently used files until the store is well below its limit."""
    files = []
    for entry in folder.glob("*/*"):
        with suppress(OSError):  # another process may have deleted the file
            stat = entry.stat()
            files.append((stat.st_mtime_ns, stat.st_size, entry))
    n_bytes = sum(size for _, size, _ in files)
    if n_bytes <= max_bytes:
        return
    for _, size, entry in sorted(files):
        with suppress(OSError):
            entry.unlink()
        n_bytes -= size
        if n_bytes <= max_bytes * _SHARE_AFTER_SWEEP:
            return
