"""Words as sequences of token vectors: static ones, distilled once from a sentence encoder.

A folder of token vectors holds `tokenizer.json`, which the `tokenizers` package reads, and
`vectors.safetensors`: `values`, int8, and `scales`, float16, so that token `i` has the vector
`values[i] * scales[i]`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidGenerator, InvalidWords, MissingExtra, OutputError
from initzoo.files.atomic import write_bytes
from initzoo.files.digests import DamagedFile, read_file, reported_as

__all__ = ["MAX_TOKENS", "TokenVectors", "check_words", "distil_words", "read_extra_words"]

MAX_TOKENS = 64
"""More tokens than this are no wording of an edit, and no training saw so many."""

_MAX_LETTERS = 1000
_INVISIBLE = ("Cc", "Cf", "Cs")
_MAX_FILE_BYTES = 2**27
_FILES = ("tokenizer.json", "vectors.safetensors")
_MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_ADVICE = "Get the weight generator again."


def check_words(words: str) -> str:
    """Strip words of space around them, and check that they can be a wording.

    Letters in another form, such as full-width ones, become plain ones.

    Raises:
        InvalidWords: they are empty, too long, or hold control or invisible characters.

    Example:
        >>> check_words("  faded \N{FULLWIDTH LATIN SMALL LETTER T}eal ")
        'faded teal'
    """
    plain = unicodedata.normalize("NFKC", words).strip()
    if not plain:
        raise InvalidWords('the words are empty. Say what the edit should look like, e.g. "faded teal"')
    if len(plain) > _MAX_LETTERS:
        raise InvalidWords(
            f"the words have {len(plain)} letters, at most {_MAX_LETTERS} are read. Say it in one sentence"
        )
    odd = next((letter for letter in plain if unicodedata.category(letter) in _INVISIBLE), None)
    if odd is not None:
        raise InvalidWords(
            f"the words hold the control or invisible character U+{ord(odd):04X}. "
            "Write them on one line, as plain text"
        )
    return plain


@dataclass(frozen=True, eq=False)
class TokenVectors:
    """A tokenizer and a vector for each of its tokens.

    Args:
        tokenizer_json: what the `tokenizers` package reads, as bytes.
        values: int8, shape `(n_tokens, n_values)`.
        scales: float16, shape `(n_tokens,)`, above zero.

    Example:
        >>> vectors = TokenVectors.tiny(["navy", "to", "gold"], n_values=4)
        >>> vectors.encode_as_sequence("Navy to gold").shape
        (3, 4)
    """

    tokenizer_json: bytes
    values: NDArray[np.int8]
    scales: NDArray[np.float16]

    def __post_init__(self) -> None:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.tokenizer_json.decode("utf-8"))
        # Marks such as [UNK] and [MASK] are no words, even when somebody types them.
        places = (tokenizer.token_to_id(mark) for mark in _MARKS)
        special = {place for place in places if place is not None}
        object.__setattr__(self, "_tokenizer", tokenizer)
        object.__setattr__(self, "_marks", frozenset(special))

    @property
    def n_values(self) -> int:
        """Values in a token's vector."""
        return int(self.values.shape[1])

    def tokenise(self, words: str, *, max_tokens: int = MAX_TOKENS) -> list[int]:
        """The known tokens of words, in order; what is no token is left out.

        Args:
            words: a wording.
            max_tokens: more are too many.

        Raises:
            InvalidWords: the words are empty, too long, hold control characters or no known token.
        """
        plain = check_words(words)
        tokenizer: Any = self._tokenizer  # type: ignore[attr-defined]
        ids = tokenizer.encode(plain, add_special_tokens=False).ids
        known = [token for token in ids if token not in self._marks]  # type: ignore[attr-defined]
        if not known:
            raise InvalidWords(f"no word of {plain[:60]!r} is known. Say it in plain English words")
        if len(known) > max_tokens:
            raise InvalidWords(
                f"the words have {len(known)} tokens, at most {max_tokens} are read. Say it in one sentence"
            )
        return known

    def encode_as_sequence(self, words: str) -> NDArray[np.float32]:
        """The vectors of the tokens of words, in order.

        Returns:
            float32, shape `(n_tokens, n_values)`.

        Raises:
            InvalidWords: as for `tokenise`.
        """
        return self.vectors_of(self.tokenise(words))

    def vectors_of(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """The vectors of tokens, float32, shape `(n_tokens, n_values)`."""
        places = np.asarray(tokens, dtype=np.int64)
        return self.values[places].astype(np.float32) * self.scales[places].astype(np.float32)[:, None]

    def frequent_tokens(self, n_tokens: int, *, without: Sequence[int] = ()) -> list[int]:
        """Whole words of Latin letters in the order of their frequency, the most frequent first.

        The shorter a token's vector, the more frequent it is: distilling shortens vectors so.

        Args:
            n_tokens: at most so many.
            without: tokens that are left out.
        """
        tokenizer: Any = self._tokenizer  # type: ignore[attr-defined]
        lengths = np.linalg.norm(self.vectors_of(range(len(self.values))), axis=1)
        left_out = {*without, *self._marks}  # type: ignore[attr-defined]
        words = (int(token) for token in np.argsort(lengths, kind="stable") if int(token) not in left_out)
        named = ((token, tokenizer.id_to_token(token)) for token in words)
        whole = (token for token, name in named if _is_word(name))
        return list(islice(whole, n_tokens))

    def neighbours_of(self, tokens: Sequence[int], *, least_cosine: float, n_most: int) -> list[list[int]]:
        """Other whole words that are nearer to a token than to any other of `tokens`.

        Args:
            tokens: some tokens, e.g. all that wordings teach.
            least_cosine: how near they must be.
            n_most: at most so many for a token, the nearest ones.

        Returns:
            For each token the places of such words, the nearest first.
        """
        tokenizer: Any = self._tokenizer  # type: ignore[attr-defined]
        vectors = self.vectors_of(range(len(self.values)))
        units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        cosines = units @ units[list(tokens)].T
        owners, found = cosines.argmax(axis=1), cosines.max(axis=1)
        near: list[list[int]] = [[] for _ in tokens]
        left_out = {*tokens, *self._marks}  # type: ignore[attr-defined]
        for place in np.argsort(-found, kind="stable").tolist():
            if found[place] < least_cosine:
                break
            own = near[owners[place]]
            if len(own) < n_most and place not in left_out and _is_word(tokenizer.id_to_token(place)):
                own.append(place)
        return near

    def to_files(self) -> dict[str, bytes]:
        """The files of the folder, by name: the same bytes every time."""
        from safetensors.numpy import save

        return {
            "tokenizer.json": self.tokenizer_json,
            # safetensors writes memory as it lies: of an array in Fortran's order it would make another one.
            "vectors.safetensors": save({"scales": self.scales, "values": np.ascontiguousarray(self.values)}),
        }

    @property
    def digest(self) -> str:
        """Sixty-four hex digits that change when tokenizer or vectors do."""
        return _digest_of(self.to_files())

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str], *, digest: str | None = None) -> TokenVectors:
        """Read what `to_files` gave.

        Args:
            folder: holds `tokenizer.json` and `vectors.safetensors`.
            digest: what they must have, where it is known.

        Raises:
            InvalidGenerator: a file is missing, damaged, or not the one of that digest.
        """
        with reported_as(InvalidGenerator, f"token vectors '{folder}'", _ADVICE):
            files = {name: _read(Path(folder) / name) for name in _FILES}
            if digest is not None and _digest_of(files) != digest:
                raise DamagedFile(f"tokenizer.json or {_FILES[1]} is not the one that config.json names")
            return cls._parse(files)

    @classmethod
    def _parse(cls, files: dict[str, bytes]) -> TokenVectors:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            tensors = load(files["vectors.safetensors"])
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise DamagedFile(f"vectors.safetensors is no safetensors file ({error})") from error
        values, scales = tensors.get("values"), tensors.get("scales")
        if set(tensors) != {"values", "scales"} or values is None or scales is None:
            raise DamagedFile(f"vectors.safetensors: expected 'values' and 'scales', found {sorted(tensors)}")
        is_sound = values.dtype == np.int8 and scales.dtype == np.float16 and values.ndim == 2
        if not is_sound or scales.shape != values.shape[:1] or not np.isfinite(scales).all():
            raise DamagedFile(
                f"vectors.safetensors: expected int8 (n, m) and finite float16 (n,), "
                f"found {values.dtype} {values.shape} and {scales.dtype} {scales.shape}"
            )
        try:
            vectors = cls(files["tokenizer.json"], values, scales)
        except Exception as error:
            raise DamagedFile(f"tokenizer.json is no tokenizer ({str(error)[:100]})") from error
        n_tokens = vectors._tokenizer.get_vocab_size()  # type: ignore[attr-defined]
        if n_tokens != len(values):
            raise DamagedFile(f"tokenizer.json has {n_tokens} tokens, vectors.safetensors {len(values)}")
        return vectors

    @classmethod
    def from_floats(cls, tokenizer_json: bytes, vectors: NDArray[np.float32]) -> TokenVectors:
        """Round vectors to a byte a value, each token with a scale of its own."""
        scales = np.maximum(np.abs(vectors).max(axis=1) / 127, 1e-6).astype(np.float16)
        values = np.rint(vectors / scales.astype(np.float32)[:, None]).clip(-127, 127)
        return cls(tokenizer_json, values.astype(np.int8), scales)

    @classmethod
    def tiny(cls, tokens: Sequence[str], *, n_values: int) -> TokenVectors:
        """Random vectors for a few whole words: to try things out."""
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

        vocabulary = {word: place for place, word in enumerate(["[UNK]", *tokens])}
        tokenizer = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.Lowercase()
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        drawn = np.random.default_rng(0).standard_normal((len(vocabulary), n_values))
        return cls.from_floats(tokenizer.to_str().encode(), drawn.astype(np.float32))


def read_extra_words(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The words of a file, one a line, in the order of the alphabet.

    Raises:
        InvalidWords: the file cannot be read, or a line is no word of small letters.
    """
    try:
        words = Path(path).read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidWords(f"cannot read the words in {path}: {error}. Name a text file") from error
    found = sorted({word.strip() for word in words} - {""})
    odd = next((word for word in found if not word.isalpha() or word != word.lower()), None)
    if odd is not None:
        raise InvalidWords(f"{path}: {odd[:40]!r} is no word of small letters. Write one word a line")
    return tuple(found)


def distil_words(
    encoder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    extra_words: Sequence[str] = (),
    n_values: int = 176,
) -> int:
    """Distil a sentence encoder into token vectors, and write their folder.

    Every token is encoded alone, the vectors are turned to their principal axes, cut to the first
    `n_values`, and made shorter for frequent tokens, as `model2vec` does it.

    Args:
        encoder: folder of a sentence encoder as transformers reads it, e.g. all-MiniLM-L6-v2.
        out: where `tokenizer.json` and `vectors.safetensors` go; made when it is missing.
        extra_words: words that become one token each, where the encoder's tokenizer would cut them:
            a word means more to the encoder than its pieces do one by one.
        n_values: values in a token's vector.

    Returns:
        The number of tokens.

    Raises:
        MissingExtra: model2vec with its distillation is not installed.
        InvalidGenerator: the folder holds no encoder.
        OutputError: the files exist already or cannot be written.
    """
    try:
        from model2vec.distill import distill
    except ImportError as error:
        raise MissingExtra(
            'distilling needs model2vec. Install it with: pip install "initzoo[distil]"'
        ) from error
    folder = Path(out)
    if not (Path(encoder) / "config.json").is_file():
        raise InvalidGenerator(f"no sentence encoder at '{encoder}': it has no config.json. Name its folder")
    with TemporaryDirectory() as plain:
        _copy_without_padding(Path(encoder), Path(plain))
        model = distill(model_name=plain, vocabulary=list(extra_words) or None, pca_dims=n_values)
    # Vectors and how much each token counts come apart; here a token that says little has a short vector.
    matrix = np.asarray(model.embedding, dtype=np.float32)
    if model.weights is not None:
        matrix = matrix * np.asarray(model.weights, dtype=np.float32)[:, None]
    vectors = TokenVectors.from_floats(
        model.tokenizer.to_str().encode("utf-8"), matrix / np.sqrt(np.mean(matrix**2))
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder '{folder}': {error.strerror or error}.") from error
    for name, data in vectors.to_files().items():
        write_bytes(folder / name, data, force=False)
    return len(matrix)


def _copy_without_padding(encoder: Path, out: Path) -> None:
    """Copy an encoder with a tokenizer that neither pads nor cuts.

    Distilling takes the mean over all that the tokenizer gives for a word of several pieces. Where that is
    padded to a fixed length, as all-MiniLM-L6-v2 does, padding is nearly all of it, and all such words
    come out nearly alike.
    """
    shutil.copytree(encoder, out, dirs_exist_ok=True)
    path = out / "tokenizer.json"
    try:
        values = json.loads(path.read_bytes()) | {"padding": None, "truncation": None}
    except (OSError, ValueError, TypeError) as error:
        raise InvalidGenerator(
            f"'{encoder}' is no sentence encoder: its tokenizer.json cannot be read ({error}). Get it again"
        ) from error
    path.write_text(json.dumps(values), "utf-8")


def _is_word(name: str) -> bool:
    return name.isascii() and name.isalpha() and (len(name) > 1 or name in ("a", "i"))


def _read(path: Path) -> bytes:
    try:
        return read_file(path, max_bytes=_MAX_FILE_BYTES)
    except DamagedFile as error:
        raise DamagedFile(f"{path.name} {error}") from error


def _digest_of(files: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(hashlib.sha256(files[name]).digest())
    return digest.hexdigest()
