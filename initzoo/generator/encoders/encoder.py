"""What denoisers see of requests, and what an encoder for one kind of condition has to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from initzoo.generator.novelty import Novelty
from initzoo.generator.request import Request
from initzoo.generator.tokens import TokenVectors

if TYPE_CHECKING:
    from torch import Tensor, nn

    from initzoo.generator.layers import DenoiserShape
    from initzoo.pairs.teachers import Teacher

__all__ = ["Context", "Encoder", "Lessons", "Taught"]


@dataclass(frozen=True)
class Context:
    """The context tokens of a batch of requests.

    Args:
        vectors: shape `(batch, n_tokens, n_values)`; anything where there is no token.
        mask: bool, shape `(batch, n_tokens)`: where there is a token. A row without one has no condition.
        learned: int64, shape `(batch, n_tokens)`: index of the token's learned vector, from 1, or 0 for
            none; None for none anywhere.
    """

    vectors: Tensor
    mask: Tensor
    learned: Tensor | None = None

    def repeat(self, n_times: int) -> Context:
        """Each row `n_times`, one after the other."""
        learned = None if self.learned is None else self.learned.repeat_interleave(n_times, dim=0)
        vectors, mask = (part.repeat_interleave(n_times, dim=0) for part in (self.vectors, self.mask))
        return Context(vectors, mask, learned)


class Encoder(Protocol):
    """Turns requests into context tokens; one class for each kind of condition.

    `ENCODERS` lists the classes by the names that config files know them by. All of them are made in the
    same way, `ENCODERS[name](vectors, shape=shape, learned_tokens=tokens)`, and imported before torch is:
    what is wrong with a request shows without torch, which takes seconds to load.
    """

    def __init__(
        self,
        vectors: TokenVectors,
        *,
        shape: DenoiserShape | None = None,
        learned_tokens: Sequence[int] = (),
    ) -> None:
        """Take the token vectors of a weight generator, and what its denoiser has learned.

        Args:
            vectors: token vectors.
            shape: sizes of the denoiser; None where it does not matter, for checks and distances.
            learned_tokens: tokens that have a learned vector in the denoiser, in the order of its rows.
        """

    @property
    def digest(self) -> str:
        """Sixty-four hex digits that change when the same request may give another context."""

    def check(self, request: Request) -> None:
        """Refuse a request that cannot be encoded, or not all of it. Does not load torch.

        Raises:
            InvalidWords: its words cannot be read.
            InvalidRequest: it holds a condition that this encoder does not read.
        """

    def encode(self, requests: Sequence[Request]) -> Context:
        """The context of several requests, at least one.

        Raises:
            InvalidWords, InvalidRequest: as for `check`.
        """

    def embed(self, requests: Sequence[Request]) -> NDArray[np.float32]:
        """One vector of length one for each request, float32, shape `(n_requests, n_values)`.

        Raises:
            InvalidWords, InvalidRequest: as for `check`.
        """

    def novelty(self, requests: Sequence[Sequence[Request]]) -> Novelty:
        """How far a request is from taught ones.

        Args:
            requests: of each concept that was taught.
        """

    def read_novelty(self, values: Mapping[str, Any]) -> Novelty:
        """Read what `Novelty.to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: the values are not those of this encoder's novelty.
        """

    def lessons(self, taught: Taught, settings: Any) -> Lessons:
        """What a denoiser is trained on.

        Args:
            taught: the concepts to learn from.
            settings: of the training.
        """

    @staticmethod
    def reader(shape: DenoiserShape) -> nn.Module:
        """The layers of a denoiser that read the context, trained with it.

        Their `forward` takes a `Context` and returns tokens, shape `(batch, n, width)`, and what is added to
        the scores of attention to them, shape `(batch, 1, 1, n)`.
        """


class Taught(Protocol):
    """The concepts of a training."""

    @property
    def all_prompts(self) -> tuple[tuple[str, ...], ...]:
        """Wordings of each concept."""

    @property
    def all_teachers(self) -> tuple[Teacher, ...]:
        """Steps of each concept's teacher."""


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
