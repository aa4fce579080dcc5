"""Words as sequences of static token vectors, distilled once from a sentence encoder.

A folder of token vectors holds `tokenizer.json`, which the `tokenizers` package reads, and
`vectors.safetensors` with `values` (int8) and `scales` (float16). Token `i` has the vector
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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidGenerator, InvalidWords, MissingExtra, OutputError
from initzoo.files import DamagedFile, read_file, reported_as, temporary_folder, write_bytes
from initzoo.generator.tokenizer_files import check_tokenizer, is_panic

__all__ = ["MAX_TOKENS", "TokenVectors", "check_words", "distil_words", "read_extra_words"]

MAX_TOKENS = 64
"""Maximum number of tokens of a wording; longer ones do not occur in training."""

_MAX_LETTERS = 1000
_INVISIBLE = ("Cc", "Cf", "Cs")
_MAX_FILE_BYTES = 2**27
_FILES = ("tokenizer.json", "vectors.safetensors")
_MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_ADVICE = "Get the weight generator again."


def check_words(words: str) -> str:
    """Strip the spaces around words and check that they can be a wording.

    Compatibility forms such as full-width letters become plain letters.

    Raises:
        InvalidWords: the words are empty, too long, or have control or invisible characters.

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
    hidden = next((letter for letter in plain if unicodedata.category(letter) in _INVISIBLE), None)
    if hidden is not None:
        raise InvalidWords(
            f"the words hold the control or invisible character U+{ord(hidden):04X}. "
            "Write them on one line, as plain text"
        )
    return plain


@dataclass(frozen=True, eq=False)
class TokenVectors:
    """A tokenizer and a vector for each of its tokens.

    Args:
        tokenizer_json: the tokenizer as a file of the `tokenizers` package.
        values: int8, shape `(n_tokens, n_values)`.
        scales: float16, positive, shape `(n_tokens,)`.

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
        # Special tokens such as [UNK] and [MASK] are not words, even if somebody types them.
        ids = (tokenizer.token_to_id(mark) for mark in _MARKS)
        special = {token for token in ids if token is not None}
        tokenizer.no_padding()  # else a file could ask for any number of tokens
        tokenizer.no_truncation()  # words are limited by `tokenise`
        object.__setattr__(self, "_tokenizer", tokenizer)
        object.__setattr__(self, "_marks", frozenset(special))

    @property
    def n_values(self) -> int:
        """Number of values per token vector."""
        return int(self.values.shape[1])

    def tokenise(self, words: str, *, max_tokens: int = MAX_TOKENS) -> list[int]:
        """Tokenise words; unknown parts are dropped.

        Args:
            words: a wording.
            max_tokens: maximum number of tokens.

        Raises:
            InvalidWords: the words are empty, too long, have control characters or no known token.
        """
        plain = check_words(words)
        tokenizer: Any = self._tokenizer  # type: ignore[attr-defined]
        try:
            ids = tokenizer.encode(plain, add_special_tokens=False).ids
        except BaseException as error:
            if not is_panic(error) and not isinstance(error, Exception):
                raise
            raise InvalidGenerator(
                f"the tokenizer of the weight generator fails on {plain[:60]!r}. {_ADVICE}"
            ) from error
        known = [token for token in ids if token not in self._marks]  # type: ignore[attr-defined]
        if not known:
            raise InvalidWords(f"no word of {plain[:60]!r} is known. Say it in plain English words")
        if len(known) > max_tokens:
            raise InvalidWords(
                f"the words have {len(known)} tokens, at most {max_tokens} are read. Say it in one sentence"
            )
        return known

    def encode_as_sequence(self, words: str) -> NDArray[np.float32]:
        """Return the vectors of the tokens of words, in order.

        Returns:
            float32, shape `(n_tokens, n_values)`.

        Raises:
            InvalidWords: as for `tokenise`.
        """
        return self.vectors_of(self.tokenise(words))

    def vectors_of(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Return the vectors of tokens, float32, shape `(n_tokens, n_values)`."""
        ids = np.asarray(tokens, dtype=np.int64)
        return self.values[ids].astype(np.float32) * self.scales[ids].astype(np.float32)[:, None]

    def frequent_tokens(self, n_tokens: int, *, without: Sequence[int] = ()) -> list[int]:
        """List whole words of Latin letters by frequency, the most frequent first.

        Distillation shortens the vectors of frequent tokens, so the length of a vector gives the order.

        Args:
            n_tokens: maximum number of tokens.
            without: tokens to leave out.
        """
        tokenizer: Any = self._tokenizer  # type: ignore[attr-defined]
        lengths = np.linalg.norm(self.vectors_of(range(len(self.values))), axis=1)
        left_out = {*without, *self._marks}  # type: ignore[attr-defined]
        words = (int(token) for token in np.argsort(lengths, kind="stable") if int(token) not in left_out)
        named = ((token, tokenizer.id_to_token(token)) for token in words)
        whole = (token for token, name in named if _is_word(name))
        return list(islice(whole, n_tokens))

    def neighbours_of(self, tokens: Sequence[int], *, least_cosine: float, n_most: int) -> list[list[int]]:
        """Find the whole words whose nearest token among `tokens` is each of these.

        Args:
            tokens: some tokens, e.g. all tokens of the taught wordings.
            least_cosine: minimum cosine of a word with its token.
            n_most: maximum number of words per token.

        Returns:
            For each token the ids of its words, nearest first.
        """
        tokenizer: Any = self._tokenizer  # type: ignore[attr-defined]
        vectors = self.vectors_of(range(len(self.values)))
        units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        cosines = units @ units[list(tokens)].T
        owners, best = cosines.argmax(axis=1), cosines.max(axis=1)
        near: list[list[int]] = [[] for _ in tokens]
        left_out = {*tokens, *self._marks}  # type: ignore[attr-defined]
        for token in np.argsort(-best, kind="stable").tolist():
            if best[token] < least_cosine:
                break
            neighbours = near[owners[token]]
            if len(neighbours) < n_most and token not in left_out and _is_word(tokenizer.id_to_token(token)):
                neighbours.append(token)
        return near

    def to_files(self) -> dict[str, bytes]:
        """The files of the folder by name. Equal vectors give the same bytes."""
        from safetensors.numpy import save

        return {
            "tokenizer.json": self.tokenizer_json,
            # safetensors writes the memory of an array as it is, so a Fortran-ordered array would be wrong.
            "vectors.safetensors": save({"scales": self.scales, "values": np.ascontiguousarray(self.values)}),
        }

    @property
    def digest(self) -> str:
        """A digest of tokenizer and vectors, 64 hex digits."""
        return _digest_of(self.to_files())

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str], *, digest: str | None = None) -> TokenVectors:
        """Read a folder with the files of `to_files`.

        Args:
            folder: folder with `tokenizer.json` and `vectors.safetensors`.
            digest: expected digest of both; not checked by default.

        Raises:
            InvalidGenerator: a file is missing or damaged, or the digest differs.
        """
        with reported_as(InvalidGenerator, f"token vectors '{folder}'", _ADVICE):
            files = {name: _read(Path(folder) / name) for name in _FILES}
            if digest is not None and _digest_of(files) != digest:
                raise DamagedFile(f"tokenizer.json or {_FILES[1]} does not match the digest in config.json")
            return cls._parse(files)

    @classmethod
    def _parse(cls, files: dict[str, bytes]) -> TokenVectors:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            tensors = load(files["vectors.safetensors"])
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise DamagedFile(f"vectors.safetensors is not a safetensors file ({error})") from error
        values, scales = tensors.get("values"), tensors.get("scales")
        if set(tensors) != {"values", "scales"} or values is None or scales is None:
            raise DamagedFile(f"vectors.safetensors: expected 'values' and 'scales', found {sorted(tensors)}")
        is_sound = values.dtype == np.int8 and scales.dtype == np.float16 and values.ndim == 2
        if not is_sound or scales.shape != values.shape[:1] or not np.isfinite(scales).all():
            raise DamagedFile(
                f"vectors.safetensors: expected int8 (n, m) and finite float16 (n,), "
                f"found {values.dtype} {values.shape} and {scales.dtype} {scales.shape}"
            )
        check_tokenizer(files["tokenizer.json"], n_tokens=len(values))
        try:
            vectors = cls(files["tokenizer.json"], values, scales)
        except Exception as error:
            raise DamagedFile(f"tokenizer.json is not a tokenizer ({str(error)[:100]})") from error
        except BaseException as error:
            if not is_panic(error):
                raise
            raise DamagedFile("tokenizer.json is not a tokenizer") from error
        n_tokens = vectors._tokenizer.get_vocab_size()  # type: ignore[attr-defined]
        if n_tokens != len(values):
            raise DamagedFile(f"tokenizer.json has {n_tokens} tokens, vectors.safetensors {len(values)}")
        return vectors

    @classmethod
    def from_floats(cls, tokenizer_json: bytes, vectors: NDArray[np.float32]) -> TokenVectors:
        """Quantise vectors to int8 with one scale per token."""
        scales = np.maximum(np.abs(vectors).max(axis=1) / 127, 1e-6).astype(np.float16)
        values = np.rint(vectors / scales.astype(np.float32)[:, None]).clip(-127, 127)
        return cls(tokenizer_json, values.astype(np.int8), scales)

    @classmethod
    def tiny(cls, tokens: Sequence[str], *, n_values: int) -> TokenVectors:
        """Make random vectors for a few whole words, for tests and examples."""
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

        vocabulary = {word: number for number, word in enumerate(["[UNK]", *tokens])}
        tokenizer = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.Lowercase()
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        drawn = np.random.default_rng(0).standard_normal((len(vocabulary), n_values))
        return cls.from_floats(tokenizer.to_str().encode(), drawn.astype(np.float32))


def read_extra_words(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read a file of words, one per line, and sort them.

    Raises:
        InvalidWords: the file cannot be read, or a line is not a lower-case word.
    """
    try:
        words = Path(path).read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidWords(f"cannot read the words in {path}: {reason}. Name a text file") from error
    distinct = sorted({word.strip() for word in words} - {""})
    bad = next((word for word in distinct if not word.isalpha() or word != word.lower()), None)
    if bad is not None:
        raise InvalidWords(f"{path}: {bad[:40]!r} is not a lower-case word. Write one word per line")
    return tuple(distinct)


def distil_words(
    encoder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    extra_words: Sequence[str] = (),
    n_values: int = 176,
) -> int:
    """Distil a sentence encoder into token vectors and write their folder.

    Every token is encoded alone. The vectors are projected on their first `n_values` principal components
    and shortened for frequent tokens, as `model2vec` does.

    Args:
        encoder: folder of a sentence encoder for transformers, e.g. all-MiniLM-L6-v2.
        out: folder for `tokenizer.json` and `vectors.safetensors`; created if it is missing.
        extra_words: words that become one token each even if the encoder's tokenizer splits them. The
            encoder knows a whole word better than its pieces one by one.
        n_values: number of values per token vector.

    Returns:
        The number of tokens.

    Raises:
        MissingExtra: model2vec with its distillation is not installed.
        InvalidGenerator: the folder does not hold an encoder.
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
    with temporary_folder() as plain:
        _copy_without_padding(Path(encoder), plain)
        model = distill(model_name=str(plain), vocabulary=list(extra_words) or None, pca_dims=n_values)
    # model2vec returns vectors and weights separately; here the weight is the length of the vector.
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
    """Copy an encoder with a tokenizer that neither pads nor truncates.

    Distillation averages over all tokens of a word that is split. A tokenizer that pads to a fixed length,
    like that of all-MiniLM-L6-v2, would make the average mostly padding and all such words nearly equal.
    """
    shutil.copytree(encoder, out, dirs_exist_ok=True)
    path = out / "tokenizer.json"
    try:
        values = json.loads(path.read_bytes()) | {"padding": None, "truncation": None}
    except (OSError, ValueError, TypeError) as error:
        raise InvalidGenerator(
            f"'{encoder}' is not a sentence encoder: tokenizer.json cannot be read ({error}). Get it again"
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
