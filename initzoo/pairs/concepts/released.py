"""Concepts of the prompts and pairs that the authors released: `Yifanfanfanfan/denoised-weights`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from initzoo.errors import InvalidConcepts, InvalidPairs, TeacherError
from initzoo.files import DamagedFile, read_file
from initzoo.pairs.concepts.concept import Concept
from initzoo.pairs.concepts.teachers import read_teacher
from initzoo.pairs.concepts.words import normalise_words
from initzoo.pairs.folders import list_pairs
from initzoo.pairs.teachers import FolderTeacher, Teacher

_PROMPTS, _PAIRS = "concept-prompt", "paired-images"
_MAX_LIST_BYTES = 64_000_000
_LISTED = re.compile(r"\s*(?:\d+[.):]\s+|[-*•]\s+)?[\"'“]?(.*?)[\"'”]?[,;]?\s*")
_MAX_ID = 64


def released_concepts(
    folder: Path, *, diffusion: Mapping[str, Any] | None, licence: str | None, source: str | None
) -> list[Concept]:
    """The concepts of a download: text lists in `concept-prompt`, folders of pairs in `paired-images`.

    A list has a prompt a line; numbers, bullets and quotes around it are dropped, and so are repeated
    prompts. A folder of pairs, in any layout of `FolderTeacher` and at any depth, belongs to the prompt that
    its name says. One concept in ten, by a hash, is `heldout-new`.

    Args:
        folder: with the two folders, or one of them.
        diffusion: settings of a model, which makes the pairs of prompts without any; None to leave them out.
        licence, source: of all concepts; by default what the teachers say.

    Raises:
        InvalidConcepts: there is neither folder, a list cannot be read, pairs do not match, or no concept is
            left.
    """
    parts = [folder / name for name in (_PROMPTS, _PAIRS) if (folder / name).is_dir()]
    if not parts:
        raise InvalidConcepts(
            f"released: {folder} has no folder {_PROMPTS} or {_PAIRS}. Download it with: hf download "
            "Yifanfanfanfan/denoised-weights --repo-type dataset --local-dir FOLDER"
        )
    pairs = {normalise_words(path.name): path for path in _pair_folders(folder / _PAIRS)}
    prompts = dict(_prompts(folder / _PROMPTS))
    for words, path in pairs.items():
        prompts.setdefault(words, " ".join(re.split(r"[\s_]+", path.name)))
    concepts = []
    for words, prompt in prompts.items():
        teacher = _teacher(pairs.get(words), prompt, folder, diffusion, licence)
        if words and teacher is not None:
            digest = hashlib.sha256(words.encode()).digest()
            split = "heldout-new" if digest[0] < 26 else "train"
            given = (licence or teacher.licence, source or teacher.name)
            concepts.append(Concept(_id_of(words), "style", split, "", teacher, (prompt,), (), *given))
    if not concepts:
        raise InvalidConcepts(
            f"released: {folder} has {len(prompts)} prompts and no folder of pairs for any of them. Unpack "
            "its archives, or name a model in [diffusion]"
        )
    return concepts


def _teacher(
    pairs: Path | None,
    prompt: str,
    folder: Path,
    diffusion: Mapping[str, Any] | None,
    licence: str | None,
) -> Teacher | None:
    try:
        if pairs is not None:
            return FolderTeacher(pairs, licence=licence or "unknown")
    except (InvalidPairs, TeacherError) as error:
        raise InvalidConcepts(f"released: {error}") from error
    if diffusion is None:
        return None
    return read_teacher(None, folder=folder, colours={}, licence=licence, diffusion=diffusion, prompt=prompt)


def _prompts(folder: Path) -> Iterator[tuple[str, str]]:
    """The prompts of all lists, by the words that they are compared by; of equal ones the first."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*.txt")):
        try:
            text = read_file(path, max_bytes=_MAX_LIST_BYTES).decode("utf-8-sig")
        except (DamagedFile, UnicodeDecodeError) as error:
            reason = error if isinstance(error, DamagedFile) else "is not UTF-8"
            raise InvalidConcepts(f"released: {path} {reason}. Replace it") from error
        for line in text.splitlines():
            listed = _LISTED.fullmatch(line)
            prompt = listed[1] if listed else ""
            if words := normalise_words(prompt):
                found.setdefault(words, prompt)
    yield from found.items()


def _pair_folders(folder: Path) -> Iterator[Path]:
    """The folders of pairs, each the uppermost that is one."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        for path in paths:
            if list_pairs(path) is not None:
                yield path
            else:
                yield from _pair_folders(path)
    except InvalidPairs as error:
        raise InvalidConcepts(f"released: {error}") from error


def _id_of(words: str) -> str:
    """The prompt as an id; one that is cut, or has letters that ids do not take, ends with a digest."""
    slug = re.sub(r"[^a-z0-9]+", "-", words).strip("-")
    if slug == words.replace(" ", "-") and len(slug) <= _MAX_ID:
        return slug
    digest = hashlib.sha256(words.encode()).hexdigest()[:8]
    return f"{slug[: _MAX_ID - 9].strip('-')}-{digest}".strip("-")
