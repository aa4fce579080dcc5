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
from initzoo.generator.phrases.graphs import check_graph
from initzoo.generator.tokenizer_files import check_tokenizer, is_panic
from initzoo.work import open_graph

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
        from tokenizers import Tokenizer

        check_tokenizer(tokenizer_json, n_tokens=None)
        self._tokenizer: Any = Tokenizer.from_str(tokenizer_json.decode("utf-8"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_PHRASE_TOKENS)
        n_ids = self._tokenizer.get_vocab_size()
        check_graph(graph, max_tokens=MAX_PHRASE_TOKENS, n_ids=n_ids)
        self._session = open_graph(graph)
        last = n_ids - 1
        self.n_values: int = self._run(np.array([[last]], dtype=np.int64), np.ones((1, 1), np.int64)).shape[2]

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
            DamagedFile: one of them cannot be read, or takes more than a sentence encoder.
        """
        try:
            return cls(graph, tokenizer_json)
        except DamagedFile:
            raise
        except Exception as error:  # both libraries raise plain or private exceptions
            reason = " ".join(str(error).split())[:100]
            raise DamagedFile(f"encoder.onnx or tokenizer.json cannot be read ({reason})") from error
        except BaseException as error:
            if not is_panic(error):
                raise
            raise DamagedFile("tokenizer.json is not a tokenizer") from error

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
        ids = [encoding.ids[:MAX_PHRASE_TOKENS] for encoding in self._tokenizer.encode_batch(list(phrases))]
        longest = max(map(len, ids))
        padded = np.zeros((len(ids), longest), dtype=np.int64)
        mask = np.zeros((len(ids), longest), dtype=np.int64)
        for row, tokens in enumerate(ids):
            padded[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        with reported_as(InvalidGenerator, "phrase encoder", _ADVICE):
            states = self._run(padded, mask)
        return [states[row, : len(tokens)] for row, tokens in enumerate(ids)]

    def _run(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Run the graph.

        Raises:
            DamagedFile: it fails, or its result is not finite or has another shape.
        """
        try:
            states: NDArray[np.float32] = self._session.run(["states"], {"ids": ids, "mask": mask})[0]
        except Exception as error:  # the library raises private exceptions
            reason = " ".join(str(error).split())[:80]
            raise DamagedFile(f"encoder.onnx cannot be run ({reason})") from error
        if states.ndim != 3 or states.shape[:2] != ids.shape or states.dtype != np.float32:
            raise DamagedFile(f"encoder.onnx has states {states.dtype} {states.shape} for ids {ids.shape}")
        if not np.isfinite(states).all():
            raise DamagedFile("encoder.onnx has states that are NaN or infinite")
        return states
