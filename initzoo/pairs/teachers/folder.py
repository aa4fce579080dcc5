"""A teacher that takes its pairs from a folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from initzoo.errors import InvalidPairs
from initzoo.pairs.folders import LAYOUTS, Pair, PairFile, hold_out, list_pairs, what_is_at
from initzoo.pairs.opencv import fit_short_side
from initzoo.pairs.teachers.teacher import Pixels, Teacher

__all__ = ["FolderTeacher"]

_N_CACHED = 512
"""Number of pairs that a process keeps in memory: about 300 MB at 256 pixels."""


class FolderTeacher(Teacher):
    """Returns the pairs of a folder, in one of the layouts of `open_pairs`.

    Only the size of a photo matters: the seed picks a training pair, which is resized to the shorter side of
    the photo. About one pair in five, at most 16, is for scores only, unless the folder has a `val` or
    `test`.

    Args:
        folder: folder of the pairs.
        licence: licence of the pairs: SPDX name, or a description.

    Raises:
        InvalidPairs: there are fewer than two pairs, they do not match, or a file cannot be read.
    """

    n_variants = 0  # the pairs are on disk already

    def __init__(self, folder: str | os.PathLike[str], *, licence: str = "unknown") -> None:
        self.folder = Path(folder)
        listed = list_pairs(self.folder)
        if listed is None:
            raise InvalidPairs(f"no pairs at {self.folder}: {what_is_at(self.folder)}. {LAYOUTS}")
        train, score = listed.train, listed.held_out
        if not (train and score):
            train, score = hold_out(train, source=str(self.folder))
        self._files = {"train": train, "score": score}
        self._licence = licence
        self._digest = _digest(self._files)

    @property
    def id(self) -> str:
        """A digest of all files and of the split."""
        return f"folder-{self._digest[:32]}"

    @property
    def name(self) -> str:
        """The name of the folder, without its path, which should not be published with a zoo."""
        return self.folder.resolve().name

    @property
    def licence(self) -> str:
        """The given licence."""
        return self._licence

    def edit(self, photos: Sequence[Pixels], seeds: Sequence[int]) -> tuple[list[Pixels], list[Pixels]]:
        """Pick a training pair per seed, resized to the shorter side of the photo.

        Raises:
            InvalidPairs, InvalidImage: a file has changed and is no longer valid.
        """
        train = self._files["train"]
        pairs = [
            _read_pair(train[seed % len(train)], min(photo.shape[:2]))
            for photo, seed in zip(photos, seeds, strict=True)
        ]
        return [pair.given for pair in pairs], [pair.wanted for pair in pairs]

    def fixed_pairs(self, split: str, side: int) -> tuple[Pair, ...]:
        """All pairs of a split.

        Raises:
            InvalidPairs, InvalidImage: a file has changed and is no longer valid.
        """
        return tuple(_read_pair(file, side) for file in self._files[split])


def _digest(files: dict[str, tuple[PairFile, ...]]) -> str:
    digest = hashlib.sha256()
    for split, listed in files.items():
        digest.update(f"{split} {len(listed)} ".encode())
        for file in listed:
            digest.update(f"{file.name} {len(file.paths)} ".encode("utf-8", "replace"))
            for path in file.paths:
                try:
                    with path.open("rb") as opened:
                        digest.update(hashlib.file_digest(opened, "sha256").digest())
                except OSError as error:
                    raise InvalidPairs(f"cannot read {path}: {error.strerror}. Check the file") from error
    return digest.hexdigest()


@lru_cache(maxsize=_N_CACHED)
def _read_pair(file: PairFile, side: int) -> Pair:
    pair = file.read()
    return Pair(pair.name, fit_short_side(pair.given, side), fit_short_side(pair.wanted, side))
