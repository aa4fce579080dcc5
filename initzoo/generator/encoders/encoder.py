"""The context that denoisers read, and the protocol of encoders, one per kind of condition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from initzoo.errors import InvalidRequest
from initzoo.generator.novelty import Novelty
from initzoo.generator.request import Request

if TYPE_CHECKING:
    from torch import Tensor, device, nn

    from initzoo.generator.shape import DenoiserShape
    from initzoo.pairs import Teacher

__all__ = ["Context", "Encoder", "Lessons", "Taught", "TextModel", "refuse_pairs"]


@dataclass(frozen=True)
class Context:
    """The context tokens of a batch of requests.

    Args:
        vectors: shape `(batch, n_tokens, n_values)`; arbitrary at padding.
        mask: bool, shape `(batch, n_tokens)`; False at padding. A row of padding only is unconditional.
        learned: int64, shape `(batch, n_tokens)`: index of each token's learned vector, from 1; 0 for a
            token without one. None if no token has one.
        phrase: the vector of each phrase as a whole, shape `(batch, n_phrase_values)`, or None. NaN for a
            phrase that is left out.
        colours: the colours that each phrase names, as `lab_values` gives them, shape
            `(batch, n_colours, 3)`, or None. NaN where a phrase names fewer.
    """

    vectors: Tensor
    mask: Tensor
    learned: Tensor | None = None
    phrase: Tensor | None = None
    colours: Tensor | None = None

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Context:
        """The context of the arrays that `Encoder.arrays` returns."""
        import torch

        return cls(**{name: torch.from_numpy(array) for name, array in arrays.items()})

    def to(self, device: device) -> Context:
        """The same tokens on a device."""
        parts = (self.vectors, self.mask, self.learned, self.phrase, self.colours)
        vectors, mask, *others = (None if part is None else part.to(device) for part in parts)
        assert vectors is not None
        assert mask is not None
        return Context(vectors, mask, *others)

    def take(self, rows: range) -> Context:
        """Some rows, which follow each other."""
        parts = (self.vectors, self.mask, self.learned, self.phrase, self.colours)
        vectors, mask, *others = (None if part is None else part[rows.start : rows.stop] for part in parts)
        assert vectors is not None
        assert mask is not None
        return Context(vectors, mask, *others)

    def repeat(self, n_times: int) -> Context:
        """Repeat each row `n_times`; copies of a row are adjacent."""
        vectors, mask = (part.repeat_interleave(n_times, dim=0) for part in (self.vectors, self.mask))
        others = (
            None if part is None else part.repeat_interleave(n_times, dim=0)
            for part in (self.learned, self.phrase, self.colours)
        )
        return Context(vectors, mask, *others)


class TextModel(Protocol):
    """What an encoder reads words with: `TokenVectors` or a `PhraseEncoder`."""

    @property
    def n_values(self) -> int:
        """Number of values per token."""

    @property
    def digest(self) -> str:
        """64 hex digits that identify it."""

    def to_files(self) -> dict[str, bytes]:
        """The files of its folder by name."""


class Encoder(Protocol):
    """Turns requests into context tokens; one class per kind of condition.

    `ENCODERS` lists the classes by name. All are constructed alike, as
    `ENCODERS[name](text, shape=shape, learned_tokens=tokens)`, and imported without torch, which takes
    seconds to load: a bad request is reported before that.

    Attributes:
        reads: the fields of a request that it reads: `words`, `pairs` or both. Evaluation and calibration
            fill these fields.
    """

    reads: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        text: Any,
        *,
        shape: DenoiserShape | None = None,
        learned_tokens: Sequence[int] = (),
    ) -> None:
        """Create the encoder of a weight generator.

        Args:
            text: the text model that the encoder reads words with.
            shape: sizes of the denoiser; not needed for checks and distances.
            learned_tokens: tokens with a learned vector in the denoiser, in the order of its rows.
        """

    @property
    def digest(self) -> str:
        """64 hex digits that identify the encoder: equal digests give equal contexts."""

    def check(self, request: Request) -> None:
        """Refuse a request that cannot be encoded completely. Does not load torch.

        Raises:
            InvalidWords: its words cannot be read.
            InvalidRequest: it has a condition that this encoder does not read.
        """

    def arrays(self, requests: Sequence[Request]) -> dict[str, NDArray[Any]]:
        """Encode one or several requests, without torch; the fields of a `Context` by name.

        Raises:
            InvalidWords, InvalidRequest: as for `check`.
        """

    def encode(self, requests: Sequence[Request]) -> Context:
        """Encode one or several requests.

        Raises:
            InvalidWords, InvalidRequest: as for `check`.
        """

    def embed(self, requests: Sequence[Request]) -> NDArray[np.float32]:
        """Embed each request as a unit vector, float32, shape `(n_requests, n_values)`.

        Raises:
            InvalidWords, InvalidRequest: as for `check`.
        """

    def novelty(self, requests: Iterable[Sequence[Request]]) -> Novelty:
        """Make the novelty measure of a set of taught requests.

        Args:
            requests: the requests of each taught concept, iterated over once: the example pairs of all
                concepts need not fit into memory.
        """

    def read_novelty(self, values: Mapping[str, Any]) -> Novelty:
        """Read the output of `Novelty.to_dict`.

        Raises:
            KeyError, TypeError, ValueError: the values are invalid for this encoder.
        """

    def lessons(self, taught: Taught, settings: Any, *, folder: Path | None = None) -> Lessons:
        """Make the source of training contexts for a denoiser.

        Args:
            taught: the concepts to train on.
            settings: settings of the training.
            folder: where encoded conditions may be kept for another run.
        """

    @staticmethod
    def reader(shape: DenoiserShape) -> nn.Module:
        """The layers of a denoiser that read the context, trained with it.

        Their `forward` takes a `Context` and returns tokens, shape `(batch, n, width)`, and a bias for the
        attention scores, shape `(batch, 1, 1, n)`.
        """


class Taught(Protocol):
    """The concepts of a training."""

    @property
    def all_prompts(self) -> tuple[tuple[str, ...], ...]:
        """Wordings of each concept."""

    @property
    def all_teachers(self) -> tuple[Teacher, ...]:
        """The teacher of each concept."""

    def example_photos(self) -> Sequence[NDArray[np.uint8]]:
        """Photos of split `train`, of which a teacher can make example pairs, uint8 RGB."""


class Lessons(Protocol):
    """Draws contexts of concepts while a denoiser is trained."""

    @property
    def sizes(self) -> dict[str, int]:
        """Fields of `DenoiserShape` that depend on what is taught."""

    @property
    def learned_tokens(self) -> tuple[int, ...]:
        """Tokens that have a learned vector, in the order of its rows."""

    def draw(self, concepts: NDArray[np.int64], rng: np.random.Generator) -> Context:
        """A context for each of some concepts, with the noise that training adds.

        Args:
            concepts: indices into the taught concepts.
            rng: draws all that is random.
        """

    def on_device(self, device: device) -> LessonsOnDevice | None:
        """Move all that is taught to a device, which draws contexts itself; None if only a CPU can draw."""


class LessonsOnDevice(Protocol):
    """Draws contexts of concepts on an accelerator."""

    def draw(self, concepts: Tensor) -> Context:
        """A context for each of some concepts, int64 of shape `(batch,)`.

        It takes no number from the device, so that it can be captured in a CUDA graph.
        """


def refuse_pairs(request: Request) -> None:
    """Refuse a request with example pairs.

    Raises:
        InvalidRequest: it has some.
    """
    n_pairs = len(request.pairs)
    if n_pairs:
        raise InvalidRequest(
            f"the request has {n_pairs} example {'pair' if n_pairs == 1 else 'pairs'}, and this weight "
            "generator reads words alone. Leave the pairs out, fit weights to them by pull --like without "
            "--generate, or train on them: initzoo finetune --pairs PAIRS -o OUT.safetensors"
        )
