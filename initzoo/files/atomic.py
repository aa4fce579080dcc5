"""Atomic writes: files and folders are written under a temporary name, then renamed."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from initzoo.errors import OutputError

__all__ = [
    "check_free",
    "check_free_folder",
    "check_room",
    "is_full",
    "is_reserved_name",
    "make_folder",
    "new_file",
    "one_at_a_time",
    "replace_folder",
    "shorten_name",
    "temporary_folder",
    "write_bytes",
    "write_files",
    "written_together",
]

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""Error numbers of file systems without locks."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_MAX_NAME = 255
"""Maximum length of a file name: bytes, or UTF-16 units on Windows."""

_IS_WINDOWS = os.name == "nt"
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])[ .]*(\..*)?")


def check_free(path: Path, *names: str, force: bool, endings: Collection[str] = ()) -> None:
    """Raise if a file could not be written. Called before long work, so that the work is not lost.

    Args:
        path: the file; with `names`, a folder, which may be missing.
        names: names of the files in the folder.
        force: allow existing files to be replaced.
        endings: allowed endings of a single file, e.g. `.png`; any ending by default.

    Raises:
        OutputError: a file exists and `force` is False, a folder has the name of a file or the other way
            round, the parent folder is missing, or the ending is not allowed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     check_free(Path(folder) / "report.json", force=False)
        ...     check_free(Path(folder) / "report", "report.json", "plot.png", force=False)
        ...     check_free(Path(folder) / "reports" / "report.json", force=False)
        Traceback (most recent call last):
            ...
        initzoo.errors.OutputError: cannot write ...report.json: there is no folder ... Make it first
    """
    path = Path(path)
    if endings and path.suffix.lower() not in endings:
        raise OutputError(f"cannot write {path}: its name must end with {' or '.join(endings)}")
    if names and os.path.lexists(path) and not os.path.isdir(path):
        raise OutputError(f"cannot write into {path}: it is not a folder. Name another one")
    for file in [path / name for name in names] or [path]:
        _check_name(file)
        if os.path.isdir(file):
            raise OutputError(f"cannot write {file}: it is a folder. Name a file")
        if os.path.exists(file) and not os.path.isfile(file):
            raise OutputError(f"cannot write {file}: it is a device or the like. Name a file")
        if os.path.lexists(file) and not force and not _is_unfinished(file):
            raise OutputError(f"{file} exists already. Choose another name, or add --force to replace it")
    if names:
        _check_parent(_first_missing(path / names[0]))
    else:
        _check_parent(path)


def is_reserved_name(name: str) -> bool:
    """Whether Windows reserves a name for a device; case and ending do not matter.

    Example:
        >>> is_reserved_name("CON"), is_reserved_name("nul.safetensors"), is_reserved_name("console.png")
        (True, True, False)
    """
    return _RESERVED.fullmatch(name) is not None


def shorten_name(name: str, n_bytes: int) -> str:
    """Cut a name to at most `n_bytes` bytes, at the end of a letter, which can have four bytes.

    Example:
        >>> shorten_name("素描.png", 7), shorten_name("a.png", 7)
        ('素描.', 'a.png')
    """
    return os.fsencode(name)[:n_bytes].decode("utf-8", "ignore")


def check_free_folder(path: Path, *, force: bool) -> None:
    """Raise if `replace_folder` could not write a folder. Called before long work.

    Args:
        path: the folder; it may exist if it is empty.
        force: allow the content of the folder to be replaced.

    Raises:
        OutputError: as for `replace_folder`.

    Example:
        >>> check_free_folder(Path("new-zoo"), force=False)
    """
    path = Path(path)
    if os.path.lexists(path) and not os.path.isdir(path):
        raise OutputError(f"cannot write the folder {path}: a file has that name. Choose another name")
    if Path.cwd().is_relative_to(path.resolve()):
        raise OutputError(f"cannot replace {path}: it is the current folder or holds it. Name a new folder")
    _check_name(path)
    _check_parent(path)
    if os.path.isdir(path) and not force:
        try:
            is_empty = next(path.iterdir(), None) is None
        except OSError as error:
            raise _not_writable(path, error) from error
        if not is_empty:
            raise OutputError(f"{path} is not empty. Choose another folder, or add --force to replace it")


def check_room(path: Path, n_bytes: int, what: str, advice: str = "") -> None:
    """Raise if the disk of a file or folder, which may be missing, has less room than is needed.

    Args:
        path: the file or folder.
        n_bytes: bytes that are needed.
        what: what needs them, for the error.
        advice: what to do but to make room, for the error.

    Raises:
        OutputError: the disk has less room.

    Example:
        >>> check_room(Path("new.safetensors"), 2**80, "these weights")
        Traceback (most recent call last):
            ...
        initzoo.errors.OutputError: these weights: 1,208,925,819,614,629,174,706,176 bytes are needed, and ...
    """
    path = Path(path).absolute()
    with suppress(OSError):  # a file system that does not say
        existing = next(folder for folder in (path, *path.parents) if folder.exists())
        n_free = shutil.disk_usage(existing).free
        if n_free < n_bytes:
            raise OutputError(
                f"{what}: {n_bytes:,} bytes are needed, and the disk of {path} has room for {n_free:,}. "
                f"Make room{f', or {advice}' if advice else ', or choose another place'}"
            )


def make_folder(path: Path) -> None:
    """Create a folder and its parents, unless they exist.

    Raises:
        OutputError: the folder cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {path}: {error.strerror}. Name another one") from error


def write_bytes(path: Path, data: bytes, *, force: bool) -> None:
    """Write a file atomically.

    Args:
        path: path of the file; its folder must exist.
        data: content of the file.
        force: replace an existing file.

    Raises:
        OutputError: the file exists and `force` is False, the path is a folder, or the file cannot be
            written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_bytes(Path(folder) / "note.txt", b"hello", force=False)
        ...     (Path(folder) / "note.txt").read_text()
        'hello'
    """
    with new_file(path, force=force) as file:
        file.write(data)


def write_files(folder: Path, files: Mapping[str, bytes], *, force: bool) -> None:
    """Write files into a folder, each atomically. If one must not be replaced, none is written.

    Args:
        folder: the folder; created if it is missing.
        files: content of each file, by name.
        force: replace existing files.

    Raises:
        OutputError: as for `check_free` and `write_bytes`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     write_files(Path(parent) / "a", {"b.txt": b"b", "c.txt": b"c"}, force=False)
        ...     sorted(file.name for file in (Path(parent) / "a").iterdir())
        ['b.txt', 'c.txt']
    """
    check_free(folder, *files, force=force)
    make_folder(folder)
    with written_together({folder / name: data for name, data in files.items()}, force=force):
        pass


@contextmanager
def written_together(files: Mapping[Path, bytes], *, force: bool) -> Iterator[None]:
    """Write the files of one result, so that a killed command can be run again.

    A note beside each file says what it will hold, until the block ends. If the process is killed before,
    `check_free` and `write_bytes` let the same command replace the files that it had written, and no others.

    Args:
        files: content by path; the folders must exist.
        force: replace existing files.

    Raises:
        OutputError: as for `check_free` and `write_bytes`; if one file must not be replaced, none is written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     files = {Path(name) / "a.txt": b"a", Path(name) / "b.txt": b"b"}
        ...     with written_together(files, force=False):
        ...         check_free(Path(name) / "a.txt", force=False)  # as after a kill
        ...     sorted(file.name for file in Path(name).iterdir())
        ['a.txt', 'b.txt']
    """
    for path in files:
        check_free(path, force=force)
    notes = {_note_of(path): hashlib.sha256(data).hexdigest() for path, data in files.items()}
    for note, digest in notes.items():
        write_bytes(note, digest.encode(), force=True)
    try:
        for path, data in files.items():
            write_bytes(path, data, force=force)
        yield
    finally:
        for note in notes:
            with suppress(OSError):
                note.unlink(missing_ok=True)


def _note_of(path: Path) -> Path:
    return path.absolute().parent / f".{shorten_name(path.name, 200)}.unfinished"


def _is_unfinished(path: Path) -> bool:
    """Whether a file is part of a result that a killed command left unfinished, and has not changed since."""
    try:
        digest = _note_of(path).read_bytes()
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest().encode() == digest
    except OSError:
        return False


@contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """Write a file in parts, atomically.

    Yields a temporary file beside `path`, open for reading and writing. It is renamed to `path` when the
    block ends, and removed when the block raises.

    Raises:
        OutputError: as for `write_bytes`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with new_file(Path(folder) / "note.txt", force=False) as file:
        ...         _ = file.write(b"hel"), file.write(b"lo")
        ...     (Path(folder) / "note.txt").read_text()
        'hello'
    """
    path = Path(path)
    check_free(path, force=force)
    beside = _beside(Path(os.path.realpath(path)), "part")
    try:
        with open(beside, "x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave an empty file under the new name
        os.replace(beside, os.path.realpath(path))
        _flush_folder(beside.parent)
    except OSError as error:
        raise _not_writable(path, error) from error
    finally:
        with suppress(OSError):  # an error of the clean-up would hide the first one
            beside.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: Path, *, force: bool) -> Iterator[Path]:
    """Write a folder atomically.

    Yields an empty temporary folder beside `path`. It is renamed to `path` when the block ends, and removed
    when the block raises.

    Args:
        path: path of the folder; its parent must exist.
        force: replace an existing folder with all its content.

    Raises:
        OutputError: the folder is not empty and `force` is False, the path is a file or the current folder,
            or the folder cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     with replace_folder(Path(parent) / "pairs", force=False) as folder:
        ...         write_bytes(folder / "a.txt", b"a", force=False)
        ...     [file.name for file in (Path(parent) / "pairs").iterdir()]
        ['a.txt']
    """
    path = Path(path)
    check_free_folder(path, force=force)
    beside = _beside(path, "part")
    try:
        beside.mkdir()
    except OSError as error:
        raise _not_writable(path, error) from error
    try:
        yield beside
        _swap(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _swap(new: Path, path: Path) -> None:
    """Rename `new` to `path`. The old folder is removed only after the new one is in place."""
    old = _beside(path, "old")
    moved = False
    try:
        _flush_tree(new)
        if path.exists():
            os.rename(path, old)
            moved = True
        os.rename(new, path)
        _flush_folder(path.absolute().parent)
    except OSError as error:
        if moved:
            os.rename(old, path)
        raise _not_writable(path, error) from error
    if moved:
        shutil.rmtree(old, ignore_errors=True)


def _flush_tree(folder: Path) -> None:
    """Flush all files and folders below a folder to the disk. Does nothing where folders cannot be opened."""
    if _IS_WINDOWS:
        return
    for parent, _, names in os.walk(folder):
        for name in names:
            _flush(os.path.join(parent, name))
        _flush(parent)


def _flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk. Windows cannot, and does it itself."""
    if not _IS_WINDOWS:
        _flush(folder)


def _flush(path: str | os.PathLike[str]) -> None:
    with suppress(OSError):  # some file systems refuse to flush a folder
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _check_name(path: Path) -> None:
    """Raise if no file can have this name; on Windows also if it would end up elsewhere."""
    name = path.name
    unit = "letters" if _IS_WINDOWS else "bytes"
    length = len(name.encode("utf-16-le", "surrogatepass")) // 2 if _IS_WINDOWS else len(os.fsencode(name))
    if length > _MAX_NAME:
        raise OutputError(
            f"cannot write {path}: its name has {length} {unit}, at most {_MAX_NAME} are possible. "
            "Choose a shorter one"
        )
    if _IS_WINDOWS:
        # Windows would write to a device, into a hidden stream of another file, or under a shorter name.
        forbidden = sorted({letter for letter in name if letter in '<>:"|?*' or ord(letter) < 32})
        problem = f"its name has {forbidden[0]!r} in it" if forbidden else ""
        if is_reserved_name(name):
            problem = "Windows keeps that name for a device"
        elif name.endswith((" ", ".")):
            problem = "its name ends with a blank or a dot"
        if problem:
            raise OutputError(f"cannot write {path}: {problem}. Choose another name")


def _check_parent(path: Path) -> None:
    parent = path.absolute().parent
    if not parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}. Make it first")
    if not os.access(parent, os.W_OK):
        raise OutputError(f"cannot write {path}: {parent} is read-only. Choose a place that is writable")


def _first_missing(path: Path) -> Path:
    """The topmost part of a path that is not there yet."""
    path = path.absolute()
    while not os.path.lexists(path.parent) and path.parent != path:
        path = path.parent
    return path


def _beside(path: Path, ending: str) -> Path:
    name = shorten_name(path.name, 100)
    return path.absolute().parent / f".{name}.{secrets.token_hex(4)}.{ending}"


def _not_writable(path: Path, error: OSError) -> OutputError:
    advice = "Make room, or choose another place" if is_full(error) else "Choose a place that is writable"
    return OutputError(f"cannot write {path}: {error.strerror or error}. {advice}")


def is_full(error: OSError) -> bool:
    """Whether an error says that a disk, or what somebody may use of it, is full.

    Example:
        >>> is_full(OSError(errno.ENOSPC, "No space left on device")), is_full(FileNotFoundError())
        (True, False)
    """
    return error.errno in _FULL


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """An empty folder for temporary files, removed when the block ends.

    Raises:
        OutputError: there is no folder for temporary files, or no room in it.

    Example:
        >>> with temporary_folder() as folder:
        ...     folder.is_dir()
        True
    """
    advice = "Set TMPDIR to a folder with room"
    try:
        made = tempfile.TemporaryDirectory(prefix="initzoo-")
    except OSError as error:
        raise OutputError(f"cannot make a temporary folder: {error.strerror or error}. {advice}") from error
    with made as name:
        try:
            yield Path(name)
        except OSError as error:
            if not is_full(error):
                raise
            raise OutputError(
                f"cannot write temporary files in {name}: {error.strerror}. {advice}"
            ) from error


@contextmanager
def one_at_a_time(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Lock a file, so that one process at a time runs the block. The lock ends with its process.

    On a file system without locks every process runs the block, and work may be done twice.

    Args:
        path: the lock file; it and its folder are created and kept.
        wait: wait until the lock is free; otherwise run the block at once.

    Yields:
        Whether this process has the lock.

    Raises:
        OutputError: the lock file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, one_at_a_time(Path(folder) / "a.lock") as is_free:
        ...     is_free
        True
    """
    from filelock import FileLock, Timeout

    # No fallback to marker files: the marker of a killed process would block all others for ever.
    lock, is_free = FileLock(path, timeout=-1 if wait else 0, fallback_to_soft=False), True
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        is_free = False
    except NotImplementedError:
        pass
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise _not_writable(path, error) from error
    try:
        yield is_free
    finally:
        lock.release()
