"""Token states of a phrase, from a sentence encoder that runs in onnxruntime without torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidGenerator
from initzoo.files import DamagedFile, read_file, reported_as

__all__ = ["MAX_PHRASE_TOKENS", "PhraseStates"]

MAX_PHRASE_TOKENS = 32
"""Tokens of a phrase that are read, its two marks included; the rest is left out."""

_MAX_FILE_BYTES = 2**28
_ADVICE = "Get the zoo again."


class PhraseStates:
    """A sentence encoder as an ONNX graph, with its tokenizer.

    The graph takes `ids` and `mask`, int64 of shape `(n_phrases, n_tokens)`, and returns `states`, float32 of
    shape `(n_phrases, n_tokens, n_values)`. It runs on one thread, so that equal phrases give equal bytes.

    Args:
        graph: the ONNX file.
        tokenizer_json: the tokenizer as a file of the `tokenizers` package.
    """

    def __init__(self, graph: bytes, tokenizer_json: bytes) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._tokenizer: Any = Tokenizer.from_str(tokenizer_json.decode("utf-8"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_PHRASE_TOKENS)

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str]) -> PhraseStates:
        """Read `encoder.onnx` and `tokenizer.json` of a folder.

        Raises:
            InvalidGenerator: a file is missing or damaged.
        """
        with reported_as(InvalidGenerator, f"phrase encoder '{folder}'", _ADVICE):
            graph = read_file(Path(folder) / "encoder.onnx", max_bytes=_MAX_FILE_BYTES)
            tokenizer = read_file(Path(folder) / "tokenizer.json", max_bytes=_MAX_FILE_BYTES)
            return cls.from_bytes(graph, tokenizer)

    @classmethod
    def from_bytes(cls, graph: bytes, tokenizer_json: bytes) -> PhraseStates:
        """Open a graph and a tokenizer.

        Raises:
            DamagedFile: one of them cannot be read.
        """
        try:
            return cls(graph, tokenizer_json)
        except Exception as error:  # both libraries raise plain or private exceptions
            reason = " ".join(str(error).split())[:100]
            raise DamagedFile(f"encoder.onnx or tokenizer.json cannot be read ({reason})") from error

    def is_word(self, text: str) -> bool:
        """Whether the tokenizer has a text as one whole word.

        Rare and misspelt words are split into pieces.
        """
        return self._tokenizer.token_to_id(text.lower()) is not None

    def list_words(self, *, least_letters: int) -> list[str]:
        """List the whole words of the tokenizer in plain Latin letters, sorted."""
        names = (name for name in self._tokenizer.get_vocab() if len(name) >= least_letters)
        return sorted(name for name in names if name.isascii() and name.isalpha())

    def encode(self, phrases: Sequence[str]) -> list[NDArray[np.float32]]:
        """Encode phrases together.

        Returns:
            For each phrase float32 of shape `(n_tokens, n_values)`, the marks at both ends included.
        """
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(phrases))]
        longest = max(map(len, ids))
        padded = np.zeros((len(ids), longest), dtype=np.int64)
        mask = np.zeros((len(ids), longest), dtype=np.int64)
        for row, tokens in enumerate(ids):
            padded[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        states = self._session.run(["states"], {"ids": padded, "mask": mask})[0]
        return [states[row, : len(tokens)] for row, tokens in enumerate(ids)]
