"""The encoder of phrases: token states of a sentence encoder, the phrase as a whole, and its colours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidGenerator
from initzoo.generator.colours import lab_values
from initzoo.generator.encoders.encoder import Context, Taught, refuse_pairs
from initzoo.generator.encoders.phrase_values import N_COLOURS, phrase_values
from initzoo.generator.novelty import TaughtPhrases, embed_phrases
from initzoo.generator.phrases import PhraseEncoder
from initzoo.generator.request import Request
from initzoo.generator.tokens import check_words

if TYPE_CHECKING:
    from initzoo.generator.encoders.phrase_lessons import PhraseLessons
    from initzoo.generator.encoders.word_lessons import WordSettings
    from initzoo.generator.encoders.word_reader import WordReader
    from initzoo.generator.shape import DenoiserShape

__all__ = ["PhrasesEncoder"]


class PhrasesEncoder:
    """Encodes the words of requests as the zoo's phrase encoder reads them, and refuses other conditions.

    Context tokens are the token states of the sentence encoder, one token for the phrase as a whole (its
    vector and the share of each look), and one for each colour that it names.

    Args:
        text: the phrase encoder.
        shape: sizes of the denoiser; not needed here.
        learned_tokens: none, since token states depend on their neighbours already.

    Example:
        >>> from initzoo.pairs import catalog_folder
        >>> encoder = PhrasesEncoder(PhraseEncoder.from_folder(catalog_folder() / "model" / "phrase_encoder"))
        >>> encoder.encode([Request("navy to gold"), Request("gold")]).colours.shape
        torch.Size([2, 2, 3])
    """

    reads: ClassVar[tuple[str, ...]] = ("words",)

    def __init__(
        self,
        text: PhraseEncoder,
        *,
        shape: DenoiserShape | None = None,
        learned_tokens: Sequence[int] = (),
    ) -> None:
        if not isinstance(text, PhraseEncoder) or learned_tokens:
            raise InvalidGenerator("the encoder 'phrases' reads words with a phrase encoder alone")
        self.text = text

    @property
    def digest(self) -> str:
        """Digest of the phrase encoder."""
        return self.text.digest

    def check(self, request: Request) -> None:
        """Refuse words that cannot be read, and example pairs.

        Raises:
            InvalidWords: the words are empty, too long, or have control or invisible characters.
            InvalidRequest: the request has example pairs.
        """
        refuse_pairs(request)
        check_words(request.words)

    def arrays(self, requests: Sequence[Request]) -> dict[str, NDArray[Any]]:
        """Encode the words of each request, without torch; the fields of a `Context` by name.

        Raises:
            InvalidWords, InvalidRequest: as for `check`.
        """
        for request in requests:
            self.check(request)
        words = [check_words(request.words) for request in requests]
        read = [self.text.states.encode([text])[0] for text in words]
        states, mask = _stack(read)
        phrases = [phrase_values(self.text, text, own) for text, own in zip(words, read, strict=True)]
        found = [lab_values(text, self.text.config.colours, n_most=N_COLOURS) for text in words]
        colours = np.full((len(words), max(1, *map(len, found)), 3), np.nan, np.float32)
        for row, own in enumerate(found):
            colours[row, : len(own)] = own
        return {"vectors": states, "mask": mask, "phrase": np.stack(phrases), "colours": colours}

    def encode(self, requests: Sequence[Request]) -> Context:
        """Encode the words of each request; see `arrays`.

        Raises:
            InvalidWords, InvalidRequest: as for `check`.
        """
        return Context.of(self.arrays(requests))

    def embed(self, requests: Sequence[Request]) -> NDArray[np.float32]:
        """The vector of each request's phrase, scaled to unit length.

        Returns:
            float32, shape `(n_requests, n_values)`.

        Raises:
            InvalidWords, InvalidRequest: as for `check`.
        """
        for request in requests:
            self.check(request)
        return embed_phrases(self.text, [request.words for request in requests])

    def novelty(self, requests: Iterable[Sequence[Request]]) -> TaughtPhrases:
        """Make the novelty measure of taught requests, given per concept."""
        return TaughtPhrases.from_wordings(self.text, [[one.words for one in taught] for taught in requests])

    def read_novelty(self, values: Mapping[str, Any]) -> TaughtPhrases:
        """Read the output of `TaughtPhrases.to_dict`.

        Raises:
            KeyError, TypeError, ValueError: the values are invalid.
        """
        return TaughtPhrases.from_dict(self.text, values)

    def lessons(self, taught: Taught, settings: WordSettings, *, folder: Path | None = None) -> PhraseLessons:
        """Make the source of training contexts from all wordings of all concepts.

        Raises:
            InvalidWords: a wording cannot be read.
            OutputError: the folder cannot be written.
        """
        from initzoo.generator.encoders.phrase_lessons import PhraseLessons

        return PhraseLessons.make(taught.all_prompts, self.text, settings, folder=folder)

    @staticmethod
    def reader(shape: DenoiserShape) -> WordReader:
        """The layers of a denoiser that read phrases."""
        from initzoo.generator.encoders.word_reader import WordReader

        return WordReader(shape)


def _stack(states: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Pad token states to one length.

    Returns:
        float32, shape `(n_phrases, n_tokens, n_values)`, and the mask of tokens.
    """
    longest = max(map(len, states))
    stacked = np.zeros((len(states), longest, states[0].shape[1]), np.float32)
    mask = np.zeros((len(states), longest), bool)
    for row, own in enumerate(states):
        stacked[row, : len(own)] = own
        mask[row, : len(own)] = True
    return stacked, mask
