"""Checks of `tokenizer.json` before the `tokenizers` package reads it.

The package runs what the file says: normalisers that grow the text without end, regular expressions that
never finish, padding to millions of tokens. On files that contradict themselves it ends with a panic of
Rust, which is no `Exception`. So the file may only have parts that are known to be quick, and its ids are
checked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from initzoo.files import DamagedFile, check_depth

__all__ = ["check_tokenizer", "is_panic"]

_MODELS = ("BPE", "Unigram", "WordLevel", "WordPiece")
_NORMALIZERS = (
    *("BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Replace", "Sequence", "Strip"),
    "StripAccents",
)
_PRE_TOKENIZERS = (
    *(
        "BertPreTokenizer",
        "ByteLevel",
        "CharDelimiterSplit",
        "Digits",
        "Metaspace",
        "Punctuation",
        "Sequence",
    ),
    *("Split", "UnicodeScripts", "Whitespace", "WhitespaceSplit"),
)
_POST_PROCESSORS = ("BertProcessing", "ByteLevel", "RobertaProcessing", "TemplateProcessing")
_MAX_PARTS = 16
_MAX_REPLACEMENTS = 2  # each may make a text a few times longer
_MAX_CONTENT = 4
_MAX_ADDED = 10_000


def check_tokenizer(data: bytes, *, n_tokens: int | None) -> None:
    """Check that a tokenizer has known parts alone, and the ids from 0 to `n_tokens - 1`.

    Without `n_tokens`, it may have any number of tokens.

    Raises:
        DamagedFile: it has another part or id, or is not JSON.

    Example:
        >>> check_tokenizer(b'{"model": {"type": "Oracle"}}', n_tokens=1)
        Traceback (most recent call last):
            ...
        initzoo.files.digests.DamagedFile: tokenizer.json has a model of type 'Oracle', which ...
    """
    check_depth(data)
    try:
        values = json.loads(data.decode("utf-8"))
        _check_kind("model", values["model"], _MODELS)
        for name, known in (("normalizer", _NORMALIZERS), ("pre_tokenizer", _PRE_TOKENIZERS)):
            _check_parts(name, values.get(name), known)
        ids = _ids_of(values)
        _check_marks(values.get("post_processor"), len(ids))
    except DamagedFile:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedFile(f"tokenizer.json is not a tokenizer ({type(error).__name__})") from error
    if n_tokens is None:
        n_tokens = len(ids)
    if len(ids) != n_tokens:
        raise DamagedFile(f"tokenizer.json has {len(ids)} tokens, vectors.safetensors {n_tokens}")
    if ids != set(range(n_tokens)):
        raise DamagedFile(f"tokenizer.json has other ids than the {n_tokens} of vectors.safetensors")


def is_panic(error: BaseException) -> bool:
    """Whether an error is a panic of Rust, which Python sees as no `Exception`."""
    return type(error).__name__ == "PanicException"


def _check_kind(name: str, part: Mapping[str, Any], known: tuple[str, ...]) -> None:
    # Older files leave out the type of the model; the package finds it by the keys.
    kind = part.get("type", known[0] if name == "model" else None)
    if kind not in known:
        raise DamagedFile(
            f"tokenizer.json has a {name} of type {str(kind)[:40]!r}, which initzoo does not run"
        )


def _check_parts(name: str, part: Any, known: tuple[str, ...]) -> None:
    if part is None:
        return
    parts = list(_flat(part))
    replacing = [one for one in parts if one.get("type") == "Replace"]
    if len(parts) > _MAX_PARTS or len(replacing) > _MAX_REPLACEMENTS:
        raise DamagedFile(f"tokenizer.json has {len(parts)} parts in its {name}, which is too many")
    for one in parts:
        _check_kind(name, one, known)
        pattern = one.get("pattern")
        if isinstance(pattern, dict) and "Regex" in pattern:
            raise DamagedFile(
                f"tokenizer.json has a regular expression in its {name}, which initzoo does not run"
            )
        if len(str(one.get("content", ""))) > _MAX_CONTENT or pattern == {"String": ""}:
            raise DamagedFile(f"tokenizer.json has a {name} that makes texts much longer")


def _check_marks(part: Any, n_tokens: int) -> None:
    """Check the tokens that are put around a text: their ids, and that they are few."""
    if part is None:
        return
    _check_kind("post_processor", part, _POST_PROCESSORS)
    ids = [part[name][1] for name in ("sep", "cls") if name in part]
    for token in (part.get("special_tokens") or {}).values():
        ids += token["ids"]
    pieces = [*(part.get("single") or ()), *(part.get("pair") or ())]
    if len(pieces) > _MAX_PARTS or len(ids) > _MAX_PARTS:
        raise DamagedFile("tokenizer.json has too many tokens around a text")
    if not all(type(one) is int and 0 <= one < n_tokens for one in ids):
        raise DamagedFile("tokenizer.json has another id around a text than its tokens have")


def _flat(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A part and all parts within it."""
    yield part
    for name in ("normalizers", "pretokenizers"):
        for inner in part.get(name, ()):
            yield from _flat(inner)


def _ids_of(values: Mapping[str, Any]) -> set[int]:
    """The ids of all tokens.

    Raises:
        DamagedFile: two tokens have the same id, or an id is not an integer.
    """
    vocabulary = values["model"]["vocab"]
    ids = list(range(len(vocabulary))) if isinstance(vocabulary, list) else list(vocabulary.values())
    added = values.get("added_tokens") or []
    if len(added) > _MAX_ADDED:
        raise DamagedFile(f"tokenizer.json has {len(added)} added tokens, the limit is {_MAX_ADDED}")
    if not all(type(one) is int for one in [*ids, *(token["id"] for token in added)]):
        raise DamagedFile("tokenizer.json has an id that is not an integer")
    if len(set(ids)) < len(ids):
        raise DamagedFile("tokenizer.json has the same id for two tokens")
    return {*ids, *(token["id"] for token in added)}
