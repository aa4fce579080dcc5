"""Sealed files, which carry their own digest, so that damage is detected before anything is parsed.

A sealed file holds the text `initzoo-seal-sha256:` and 64 hex digits exactly once, in the metadata
of its format. The digits are the SHA-256 of the file with zeros in their place.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from initzoo.errors import InitzooError

__all__ = [
    "BLANK_SEAL",
    "SEAL_MARK",
    "DamagedFile",
    "check_no_pointer",
    "check_seal",
    "is_file",
    "read_file",
    "reported_as",
    "seal",
]

SEAL_MARK = b"initzoo-seal-sha256:"
_N_DIGITS = 64
_MAX_PROBLEM = 180
_POINTER = b"version https://git-lfs.github.com/spec/"
BLANK_SEAL = SEAL_MARK.decode() + "0" * _N_DIGITS


class DamagedFile(ValueError):
    """A problem with a file. The message names neither the file nor the next step.

    It never leaves the package: `reported_as` turns it into an `InitzooError`.
    """


@contextmanager
def reported_as(error_class: type[InitzooError], where: str, advice: str) -> Iterator[None]:
    """Turn a `DamagedFile` into an error that names the file and the next step.

    Example:
        >>> from initzoo.errors import InvalidInit
        >>> with reported_as(InvalidInit, "init 'a.safetensors'", "Pull it again."):
        ...     raise DamagedFile("cut off after 3 bytes")
        Traceback (most recent call last):
            ...
        initzoo.errors.InvalidInit: init 'a.safetensors': cut off after 3 bytes. Pull it again.
    """
    try:
        yield
    except DamagedFile as error:
        problem = " ".join(str(error).split())
        if len(problem) > _MAX_PROBLEM:  # it quotes the file
            problem = f"{problem[:_MAX_PROBLEM]}..."
        raise error_class(f"{where}: {problem}. {advice}") from error


def read_file(path: str | os.PathLike[str], *, max_bytes: int, digest: str | None = None) -> bytes:
    """Read a file of limited size into memory.

    Args:
        path: the file.
        max_bytes: a larger file is refused before it is read.
        digest: expected SHA-256 in hex; not checked by default.

    Raises:
        DamagedFile: the file cannot be read, is larger than `max_bytes`, is a pointer of Git LFS, or has
            another digest.
    """
    try:
        if not stat.S_ISREG(mode := os.stat(path).st_mode) and not stat.S_ISDIR(mode):
            raise DamagedFile("cannot be read (it is a device or the like)")  # reading a pipe would not end
        with Path(path).open("rb") as file:
            # One byte more, in case the file grows while it is read; Python allots all that is asked for.
            size = os.fstat(file.fileno()).st_size
            data = file.read(size + 1) if size <= max_bytes else None
    except DamagedFile:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DamagedFile(f"cannot be read ({reason})") from error
    if data is None or len(data) > max_bytes:
        raise DamagedFile(f"is larger than the limit of {max_bytes} bytes")
    if len(data) > size:
        raise DamagedFile("grew while it was read; wait until it is written")
    check_no_pointer(data)
    if digest is not None and (actual := hashlib.sha256(data).hexdigest()) != digest:
        raise DamagedFile(f"expected sha256 {digest}, found {actual}")
    return data


def check_no_pointer(data: bytes) -> None:
    """Raise if a file begins as a pointer of Git LFS does, which a clone without Git LFS leaves in its place.

    Raises:
        DamagedFile: it is a pointer.

    Example:
        >>> check_no_pointer(b"version https://git-lfs.github.com/spec/v1")
        Traceback (most recent call last):
            ...
        initzoo.files.digests.DamagedFile: is a pointer of Git LFS and not the file itself; fetch the file ...
    """
    if data.startswith(_POINTER):
        raise DamagedFile(
            "is a pointer of Git LFS and not the file itself; fetch the file with: "
            "git lfs install && git lfs pull"
        )


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether a path is an existing file. False for a name that the file system rejects.

    Example:
        >>> is_file("x" * 10_000)
        False
    """
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def seal(data: bytes) -> bytes:
    """Replace `BLANK_SEAL`, which `data` holds exactly once, by the seal.

    Raises:
        ValueError: `data` holds no blank seal, or several seals.

    Example:
        >>> sealed = seal(b"weights " + BLANK_SEAL.encode())
        >>> check_seal(sealed)
        >>> check_seal(sealed.replace(b"w", b"W"))
        Traceback (most recent call last):
            ...
        initzoo.files.digests.DamagedFile: its bytes do not match the digest in its seal
    """
    if data.count(SEAL_MARK) != 1 or data.count(BLANK_SEAL.encode()) != 1:
        raise ValueError("data to be sealed must hold the blank seal exactly once, and no other seal")
    return data.replace(BLANK_SEAL.encode(), SEAL_MARK + hashlib.sha256(data).hexdigest().encode())


def check_seal(data: bytes) -> None:
    """Check that sealed bytes have not changed since they were sealed.

    Raises:
        DamagedFile: the seal is missing, or the bytes have changed.
    """
    start = data.find(SEAL_MARK) + len(SEAL_MARK)
    if start < len(SEAL_MARK) or len(data) < start + _N_DIGITS or data.find(SEAL_MARK, start) >= 0:
        raise DamagedFile("has no seal of initzoo: it is cut off, or something else made it")
    digest = data[start : start + _N_DIGITS]
    blank = data[:start] + b"0" * _N_DIGITS + data[start + _N_DIGITS :]
    if hashlib.sha256(blank).hexdigest().encode() != digest:
        raise DamagedFile("its bytes do not match the digest in its seal")
