"""Files that carry a digest of themselves, so that damage shows before anything is parsed.

A sealed file holds the text `initzoo-seal-sha256:` and 64 hex digits once, wherever its
format keeps notes. The digits are the SHA-256 of the same file with zeros in their place.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from initzoo.errors import InitzooError

__all__ = [
    "BLANK_SEAL",
    "SEAL_MARK",
    "DamagedFile",
    "check_seal",
    "is_file",
    "read_file",
    "reported_as",
    "seal",
]

SEAL_MARK = b"initzoo-seal-sha256:"
_N_DIGITS = 64
BLANK_SEAL = SEAL_MARK.decode() + "0" * _N_DIGITS


class DamagedFile(ValueError):
    """What is wrong with a file, in words that leave out its name and what to do.

    It stays inside the package: `reported_as` turns it into an `InitzooError`.
    """


@contextmanager
def reported_as(error_class: type[InitzooError], where: str, advice: str) -> Iterator[None]:
    """Turn a `DamagedFile` into an error that says where it was found and what to do next.

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
        raise error_class(f"{where}: {error}. {advice}") from error


def read_file(path: str | os.PathLike[str], *, max_bytes: int, digest: str | None = None) -> bytes:
    """All bytes of a file that is not too large to hold in memory.

    Args:
        path: the file.
        max_bytes: a larger file is refused before it is read.
        digest: SHA-256 in hex that the bytes must have, where it is known.

    Raises:
        DamagedFile: it cannot be read, has more than `max_bytes` bytes, or another digest.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(max_bytes + 1) if os.fstat(file.fileno()).st_size <= max_bytes else None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DamagedFile(f"cannot be read ({reason})") from error
    if data is None or len(data) > max_bytes:
        raise DamagedFile(f"is larger than the {max_bytes} bytes that such a file may have")
    if digest is not None and (found := hashlib.sha256(data).hexdigest()) != digest:
        raise DamagedFile(f"expected sha256 {digest}, found {found}")
    return data


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether there is a file of that name; no when no file can have such a name.

    Example:
        >>> is_file("x" * 10_000)
        False
    """
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def seal(data: bytes) -> bytes:
    """Put the digest in place of `BLANK_SEAL`, which `data` holds exactly once.

    Raises:
        ValueError: there is no blank seal, or there are several seals.

    Example:
        >>> sealed = seal(b"weights " + BLANK_SEAL.encode())
        >>> check_seal(sealed)
        >>> check_seal(sealed.replace(b"w", b"W"))
        Traceback (most recent call last):
            ...
        initzoo.files.digests.DamagedFile: its bytes do not match the digest in its seal
    """
    if data.count(SEAL_MARK) != 1 or data.count(BLANK_SEAL.encode()) != 1:
        raise ValueError("data to be sealed holds the blank seal exactly once, and no other seal")
    return data.replace(BLANK_SEAL.encode(), SEAL_MARK + hashlib.sha256(data).hexdigest().encode())


def check_seal(data: bytes) -> None:
    """Check that sealed bytes are what they were when `seal` returned them.

    Raises:
        DamagedFile: there is no seal, or the bytes have changed since.
    """
    start = data.find(SEAL_MARK) + len(SEAL_MARK)
    if start < len(SEAL_MARK) or len(data) < start + _N_DIGITS or data.find(SEAL_MARK, start) >= 0:
        raise DamagedFile("has no seal of initzoo: it is cut off, or something else made it")
    found = data[start : start + _N_DIGITS]
    blank = data[:start] + b"0" * _N_DIGITS + data[start + _N_DIGITS :]
    if hashlib.sha256(blank).hexdigest().encode() != found:
        raise DamagedFile("its bytes do not match the digest in its seal")
