"""Training contexts of phrases: wordings of concepts, encoded once, drawn at random and varied."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from initzoo.files import make_folder, write_bytes
from initzoo.generator.colours import lab_values
from initzoo.generator.encoders.encoder import Context
from initzoo.generator.encoders.phrase_values import N_COLOURS, phrase_values
from initzoo.generator.encoders.word_lessons import WordSettings
from initzoo.generator.phrases import PhraseEncoder
from initzoo.generator.tokens import check_words
from initzoo.work import Pool

__all__ = ["PhraseLessons", "PhraseLessonsOnDevice"]

_ARRAYS = ("states", "ends", "phrases", "colours", "first")
_ENCODED_TOGETHER = 64

_FEW_GROUPS = 200
"""Groups of wordings that one core encodes before others have started."""

_Encoded = tuple[NDArray[np.float16], NDArray[np.float16]]


@dataclass(frozen=True)
class PhraseLessons:
    """The encoded wordings of all concepts.

    Args:
        states: token states of all wordings, one after another, float16, shape `(n_tokens, n_states)`.
        ends: end of each wording in `states`, after a zero, int64.
        phrases: the values of each phrase as a whole, float16, shape `(n_wordings, n_phrase_values)`.
        colours: colours of each wording, float32, shape `(n_wordings, N_COLOURS, 3)`; NaN where there are
            fewer.
        first: index of the first wording of each concept, and the number of wordings at the end.
        settings: settings of how wordings are varied.
        kept: folder of these arrays. A copy in another process then opens it instead of copying gigabytes.
    """

    states: NDArray[np.float16]
    ends: NDArray[np.int64]
    phrases: NDArray[np.float16]
    colours: NDArray[np.float32]
    first: NDArray[np.int64]
    settings: WordSettings
    kept: Path | None = None

    @classmethod
    def make(
        cls,
        prompts: Sequence[Sequence[str]],
        text: PhraseEncoder,
        settings: WordSettings,
        *,
        folder: Path | None = None,
    ) -> PhraseLessons:
        """Encode the wordings of each concept, or open them if a folder has them already.

        Args:
            prompts: wordings of each concept.
            text: the phrase encoder.
            settings: settings of how wordings are varied.
            folder: where to keep them: some 8 KB a wording; in memory by default.

        Raises:
            InvalidWords: a wording cannot be read.
            OutputError: the folder cannot be written.
        """
        if folder is None:
            return cls._encoded(prompts, text, settings)
        digest = hashlib.sha256(json.dumps([text.digest, [list(own) for own in prompts]]).encode())
        kept = folder / f"wordings-{digest.hexdigest()[:16]}"
        if not all((kept / f"{name}.npy").is_file() for name in _ARRAYS):
            made = cls._encoded(prompts, text, settings)
            make_folder(kept)
            for name in _ARRAYS:
                buffer = io.BytesIO()
                np.save(buffer, getattr(made, name), allow_pickle=False)
                write_bytes(kept / f"{name}.npy", buffer.getvalue(), force=True)
        return cls(**_open(kept), settings=settings, kept=kept)

    def __getstate__(self) -> dict[str, Any]:
        """Without the arrays, if a folder has them."""
        values = dict(self.__dict__)
        return values if self.kept is None else {"settings": self.settings, "kept": self.kept}

    def __setstate__(self, values: dict[str, Any]) -> None:
        kept = values.get("kept")
        self.__dict__.update(values if kept is None else values | _open(kept))

    @classmethod
    def _encoded(
        cls, prompts: Sequence[Sequence[str]], text: PhraseEncoder, settings: WordSettings
    ) -> PhraseLessons:
        wordings = [check_words(prompt) for own in prompts for prompt in own]
        distinct = list(dict.fromkeys(wordings))
        encoded = dict(zip(distinct, _encode(text, distinct), strict=True))
        plain = text.config.colours
        colours = np.full((len(wordings), N_COLOURS, 3), np.nan, np.float32)
        for row, wording in enumerate(wordings):
            found = lab_values(wording, plain, n_most=N_COLOURS)
            colours[row, : len(found)] = found
        states = [encoded[wording][0] for wording in wordings]
        return cls(
            states=np.concatenate(states),
            ends=np.cumsum([0, *map(len, states)]),
            phrases=np.stack([encoded[wording][1] for wording in wordings]),
            colours=colours,
            first=np.cumsum([0, *map(len, prompts)]),
            settings=settings,
        )

    @property
    def learned_tokens(self) -> tuple[int, ...]:
        """None: token states depend on their neighbours already."""
        return ()

    @property
    def sizes(self) -> dict[str, int]:
        """Fields of `DenoiserShape` that depend on the phrase encoder."""
        return {
            "n_word_values": self.states.shape[1],
            "n_phrase_values": self.phrases.shape[1],
            "n_colour_values": 3,
        }

    def draw(self, concepts: NDArray[np.int64], rng: np.random.Generator) -> Context:
        """Draw a random wording of each concept, with tokens and phrases left out at random and noise added.

        The phrase encoder reads wordings that it was trained on too well, so its readings are noisy and at
        times left out: then the denoiser does not rely on them alone.
        """
        settings = self.settings
        counts = self.first[concepts + 1] - self.first[concepts]
        rows = self.first[concepts] + (rng.random(len(concepts)) * counts).astype(np.int64)
        lengths = self.ends[rows + 1] - self.ends[rows]
        places = np.arange(int(lengths.max()))
        present = places < lengths[:, None]
        index = np.minimum(self.ends[rows][:, None] + places, len(self.states) - 1)
        vectors = torch.from_numpy(self.states[index].astype(np.float32) * present[:, :, None])
        mask = present & (rng.random(present.shape) >= settings.token_dropout)
        mask = np.where(mask.any(axis=1, keepdims=True), mask, present)
        mask &= rng.random((len(rows), 1)) >= settings.words_dropout
        phrases = torch.from_numpy(self.phrases[rows].astype(np.float32))
        if settings.word_noise > 0:
            for values in (vectors, phrases):
                noise = torch.from_numpy(rng.standard_normal(values.shape, dtype=np.float32))
                values += settings.word_noise * values.square().mean(-1, keepdim=True).sqrt() * noise
        left_out = rng.random(len(rows)) < settings.learned_dropout
        phrases[torch.from_numpy(left_out)] = float("nan")
        return Context(
            vectors, torch.from_numpy(mask), phrase=phrases, colours=torch.from_numpy(self.colours[rows])
        )

    def on_device(self, device: torch.device) -> PhraseLessonsOnDevice:
        """Move all encoded wordings to a device, which draws contexts itself."""
        return PhraseLessonsOnDevice(self, device)


class PhraseLessonsOnDevice:
    """The encoded wordings of all concepts in the memory of an accelerator: some 5 KB a wording.

    Its draws take no number from the device, so that they can be captured in a CUDA graph.
    """

    def __init__(self, lessons: PhraseLessons, device: torch.device) -> None:
        self.settings = lessons.settings
        n_most = int(np.diff(lessons.ends).max())
        # Zeros behind the last wording, so that every row can read as many tokens as the longest.
        states = np.concatenate([lessons.states, np.zeros((n_most, lessons.states.shape[1]), np.float16)])
        self._states, self._ends, self._phrases, self._colours, self._first = (
            torch.from_numpy(np.array(values)).to(device)
            for values in (states, lessons.ends, lessons.phrases, lessons.colours, lessons.first)
        )
        self._places = torch.arange(n_most, device=device)

    def draw(self, concepts: Tensor) -> Context:
        """Draw a random wording of each concept, varied as those of `PhraseLessons`.

        Args:
            concepts: int64, shape `(batch,)`, on the device.
        """
        settings, count = self.settings, len(concepts)
        first, device = self._first[concepts], concepts.device
        n_wordings = self._first[concepts + 1] - first
        rows = first + (torch.rand(count, device=device) * n_wordings).long().clamp_max(n_wordings - 1)
        begin, end = self._ends[rows], self._ends[rows + 1]
        present = self._places < (end - begin)[:, None]  # (batch, n_tokens)
        vectors = self._states[begin[:, None] + self._places].float() * present[:, :, None]
        mask = present & (torch.rand(present.shape, device=device) >= settings.token_dropout)
        mask = torch.where(mask.any(dim=1, keepdim=True), mask, present)
        mask = mask & (torch.rand(count, 1, device=device) >= settings.words_dropout)
        phrases = self._phrases[rows].float()
        if settings.word_noise > 0:
            vectors, phrases = (
                values
                + settings.word_noise
                * values.square().mean(-1, keepdim=True).sqrt()
                * torch.randn_like(values)
                for values in (vectors, phrases)
            )
        left_out = torch.rand(count, 1, device=device) < settings.learned_dropout
        phrases = torch.where(left_out, float("nan"), phrases)
        return Context(vectors, mask, phrase=phrases, colours=self._colours[rows])


def _open(folder: Path) -> dict[str, Any]:
    """The arrays of a folder by name, memory-mapped."""
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS}


def _encode(text: PhraseEncoder, wordings: Sequence[str]) -> list[_Encoded]:
    """Token states and phrase values of wordings, in their order.

    Those of about the same length are encoded together, so that little is padded. Many are encoded on all
    cores.
    """
    order = sorted(range(len(wordings)), key=lambda row: (len(wordings[row]), row))
    groups = [order[start : start + _ENCODED_TOGETHER] for start in range(0, len(order), _ENCODED_TOGETHER)]
    found: Iterable[tuple[int, list[_Encoded]]]
    if text.folder is None or len(groups) < _FEW_GROUPS:
        found = (
            (number, _encode_group(text, group)) for number, group in enumerate(_texts(groups, wordings))
        )
    else:
        texts = _texts(groups, wordings)
        make_worker = partial(_start_encoding, text.folder, texts)
        found = Pool.make().run(make_worker, range(len(groups)))
    encoded: list[_Encoded | None] = [None] * len(wordings)
    for number, pieces in found:
        for row, piece in zip(groups[number], pieces, strict=True):
            encoded[row] = piece
    return [one for one in encoded if one is not None]


def _texts(groups: Sequence[Sequence[int]], wordings: Sequence[str]) -> list[list[str]]:
    return [[wordings[row] for row in group] for group in groups]


def _start_encoding(folder: Path, texts: Sequence[Sequence[str]]) -> Callable[[int], list[_Encoded]]:
    text = PhraseEncoder.from_folder(folder)
    return lambda number: _encode_group(text, texts[number])


def _encode_group(text: PhraseEncoder, wordings: Sequence[str]) -> list[_Encoded]:
    """Token states and phrase values of some wordings."""
    return [
        (states.astype(np.float16), phrase_values(text, wording, states).astype(np.float16))
        for wording, states in zip(wordings, text.states.encode(wordings), strict=True)
    ]
