"""What a published zoo consists of: `zoo.json` in its dataset repo, written when it is published.

It names the model repo with its revision, and size and digest of every file that a reader
may ask for, so that each is checked as it comes in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from initzoo.files.digests import BLANK_SEAL, DamagedFile, parse_sealed_json, seal

__all__ = ["MANIFEST_FILE", "MAX_MANIFEST_BYTES", "FileDigest", "Manifest"]

MANIFEST_FILE = "zoo.json"
MAX_MANIFEST_BYTES = 2**26

_FORMAT_VERSION = 1
_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_PATH = re.compile(rf"({_PART}/){{0,8}}{_PART}")
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_REVISION = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class FileDigest:
    """Size of a file in bytes, and its SHA-256 in hex."""

    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a published zoo consists of.

    Args:
        model_repo: the model repo, `owner/name`.
        model_revision: its revision, 40 hex digits.
        base: folder of the base in the model repo.
        generator: folder of the weight generator in the model repo, or None.
        dataset_files: files of the dataset repo by path.
        model_files: files of the model repo by path.

    Example:
        >>> digest = FileDigest(3, "0" * 64)
        >>> files = {"index.parquet": digest}, {"base/a/config.json": digest}
        >>> manifest = Manifest("me/zoo", "1" * 40, "base/a", None, *files)
        >>> Manifest.from_bytes(manifest.to_bytes()) == manifest
        True
    """

    model_repo: str
    model_revision: str
    base: str
    generator: str | None
    dataset_files: Mapping[str, FileDigest]
    model_files: Mapping[str, FileDigest]

    def to_bytes(self) -> bytes:
        """The sealed file: the same for the same manifest."""
        values = {
            "format_version": _FORMAT_VERSION,
            "model": {
                "repo": self.model_repo,
                "revision": self.model_revision,
                "base": self.base,
                "weight_generator": self.generator,
            },
            "dataset_files": _to_plain(self.dataset_files),
            "model_files": _to_plain(self.model_files),
            "seal": BLANK_SEAL,
        }
        return seal(json.dumps(values, indent=1, sort_keys=True).encode() + b"\n")

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Read what `to_bytes` gave.

        Raises:
            DamagedFile: it is damaged, of another format version, or names an unsafe path.
        """
        values = parse_sealed_json(data, format_version=_FORMAT_VERSION)
        try:
            model = values["model"]
            places = [
                model["base"],
                *([] if model["weight_generator"] is None else [model["weight_generator"]]),
            ]
            manifest = cls(
                model_repo=_matching(_REPO, model["repo"]),
                model_revision=_matching(_REVISION, model["revision"]),
                base=_matching(_PATH, places[0]),
                generator=_matching(_PATH, places[1]) if len(places) > 1 else None,
                dataset_files=_from_plain(values["dataset_files"]),
                model_files=_from_plain(values["model_files"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise DamagedFile(f"is not laid out as one of a zoo ({error})") from error
        for folder in places:
            if f"{folder}/config.json" not in manifest.model_files:
                raise DamagedFile(f"does not list {folder}/config.json")
        if "index.parquet" not in manifest.dataset_files:
            raise DamagedFile("does not list index.parquet")
        return manifest


def _to_plain(files: Mapping[str, FileDigest]) -> dict[str, list[Any]]:
    return {path: [file.n_bytes, file.sha256] for path, file in files.items()}


def _from_plain(values: Any) -> dict[str, FileDigest]:
    files = {}
    for path, (n_bytes, sha256) in values.items():
        if type(n_bytes) is not int or not 0 <= n_bytes < 2**48:
            raise DamagedFile(f"gives {path[:80]!r} a size that no file has")
        files[_matching(_PATH, path)] = FileDigest(n_bytes, _matching(_DIGEST, sha256))
    return files


def _matching(pattern: re.Pattern[str], text: Any) -> str:
    if not isinstance(text, str) or not pattern.fullmatch(text):
        raise DamagedFile(f"has the value {str(text)[:80]!r}, which no zoo has")
    return text
