"""Parsing of a start that a user gives: a file of weights, the name of a scheme, or words."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from initzoo.errors import UnknownInitialization
from initzoo.files import IMAGE_SUFFIXES, is_file
from initzoo.generator.request import Request
from initzoo.networks import CLASSICAL

__all__ = ["FROM_ZOO", "NEED_WORDS", "SCHEMES", "File", "Given", "Scheme", "has_file_ending", "parse_given"]

FROM_ZOO = {
    "base": "the zoo's base with an adapter of zeros",
    "mean": "the base with the mean of the zoo's train adapters",
    "nearest": "the train checkpoint whose wording is nearest to the words",
    "generated": "what the zoo's weight generator makes of the words",
}
"""Schemes that need a zoo, with their descriptions."""

NEED_WORDS = ("nearest", "generated")
"""The schemes of `FROM_ZOO` that depend on words."""

SCHEMES = {**CLASSICAL, **FROM_ZOO}
"""All initialization schemes, with their descriptions."""

_WEIGHTS = (
    *(".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".onnx", ".h5", ".hdf5", ".keras", ".npz", ".npy"),
    *(".pkl", ".pickle", ".msgpack", ".gguf", ".tar", ".zip"),
)
_OTHERS = (".svg", ".json", ".toml", ".yaml", ".txt", ".parquet")
_ENDINGS = frozenset((*_WEIGHTS, *IMAGE_SUFFIXES, *_OTHERS))


@dataclass(frozen=True)
class File:
    """A file or folder of weights, which need not exist.

    Args:
        path: its path.
    """

    path: Path


@dataclass(frozen=True)
class Scheme:
    """An initialization scheme.

    Args:
        name: one of `SCHEMES`.
    """

    name: str

    @property
    def needs_words(self) -> bool:
        """Whether its weights depend on words."""
        return self.name in NEED_WORDS


Given = File | Scheme | Request


def parse_given(
    given: str | os.PathLike[str], *, is_wording: Callable[[str], bool] = lambda text: False
) -> Given:
    """Decide whether a user gave a file, the name of a scheme, or words.

    A mistyped path or name must not pass as words, from which weights can always be generated. An existing
    path is therefore a file, and so is text that looks like a path: with a slash, a known file ending, or a
    leading dot or tilde. A near miss of a scheme's name is refused. Everything else is words.

    Args:
        given: a path, the name of a scheme, or words for an edit.
        is_wording: whether the zoo has a concept of exactly these words. Such words stay words even if they
            look like a path or a scheme, unless a file of that name exists.

    Raises:
        UnknownInitialization: the text is a near miss of a scheme's name; the message suggests it.

    Example:
        >>> parse_given("he_normal")
        Scheme(name='he_normal')
        >>> parse_given("models/latest_net_G.pth")
        File(path=PosixPath('models/latest_net_G.pth'))
        >>> parse_given("faded teal charcoal").words
        'faded teal charcoal'
        >>> parse_given("he-norml")
        Traceback (most recent call last):
            ...
        initzoo.errors.UnknownInitialization: no initialization scheme 'he-norml'. Did you mean ...
    """
    if isinstance(given, os.PathLike):
        return File(_expanded(os.fspath(given)))
    path = _expanded(given)
    if given and (is_file(path) or _is_network_folder(path)):
        return File(path)
    if given in SCHEMES:
        return Scheme(given)
    if _looks_like_path(given) or (given and _is_folder(path)):
        return Request(given) if is_wording(given) else File(path)
    close = get_close_matches(given.strip().lower().replace("-", "_").replace(" ", "_"), SCHEMES, 1, 0.82)
    if close and not is_wording(given):
        raise UnknownInitialization(
            f"no initialization scheme {given!r}. Did you mean '{close[0]}'? "
            "If these are words for an edit, use other words"
        )
    return Request(given)


def has_file_ending(text: str) -> bool:
    """Whether a text has the ending of a weights, image or settings file, or nearly `.safetensors`.

    Example:
        >>> has_file_ending("mine.PTH"), has_file_ending("mine.safetensor"), has_file_ending("8.5 mm film")
        (True, True, False)
    """
    ending = os.path.splitext(text.strip())[1].lower()
    return ending in _ENDINGS or bool(ending and get_close_matches(ending, [".safetensors"], 1, 0.7))


def _looks_like_path(text: str) -> bool:
    has_separator = any(separator in text for separator in (os.sep, os.altsep) if separator)
    return has_separator or text.startswith(("~", ".")) or has_file_ending(text)


def _expanded(text: str) -> Path:
    path = Path(text)
    try:
        return path.expanduser()
    except RuntimeError:  # no such home folder
        return path


def _is_network_folder(path: Path) -> bool:
    """Whether a folder holds weights; only such a folder has precedence over a concept of its name."""
    return is_file(path / "config.json") and is_file(path / "model.safetensors")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
