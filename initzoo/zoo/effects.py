"""What each checkpoint of a zoo does to photos: a table in which pairs find those that do the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initzoo.files import DamagedFile, decode_tensors, encode_tensors
from initzoo.pairs import EFFECT_WEIGHTS

__all__ = ["EFFECTS_FILE", "MAX_EFFECTS_BYTES", "Effects"]

EFFECTS_FILE = "effects.safetensors"
MAX_EFFECTS_BYTES = 2**28

_STEPS, _ZERO = 32.0, 128
"""Steps of the stored values in a standard deviation, four of which are kept on each side, and the value that
stands for the mean."""

_LEAST_SPREAD = 1e-3


@dataclass(frozen=True, eq=False)
class Effects:
    """The effects of checkpoints, as `effect_of` describes them.

    Args:
        ids: ids of the checkpoints.
        middle: mean of each number over the train checkpoints, float32, shape `(n_numbers,)`.
        spread: its standard deviation, float32, same shape.
        values: standardised numbers in steps of 1/32 around 128, uint8, shape `(n_checkpoints, n_numbers)`.

    Example:
        >>> effects = Effects.of(["a", "b"], np.float32([[0] * 58, [1] * 58]))
        >>> list(effects.order(np.full(58, 0.9, np.float32)))
        ['b', 'a']
        >>> Effects.from_bytes(effects.to_bytes(), effects.ids).ids
        ('a', 'b')
    """

    ids: tuple[str, ...]
    middle: NDArray[np.float32]
    spread: NDArray[np.float32]
    values: NDArray[np.uint8]

    @classmethod
    def of(
        cls, ids: Sequence[str], effects: NDArray[np.float32], taught: NDArray[np.bool_] | None = None
    ) -> Effects:
        """Describe checkpoints by their effects.

        Args:
            ids: their ids.
            effects: as `effect_of` returns them, shape `(n_checkpoints, n_numbers)`.
            taught: which of them standardise the numbers, so that the others stay unseen; all by default.
        """
        seen = effects if taught is None or not taught.any() else effects[taught]
        middle, spread = seen.mean(axis=0), seen.std(axis=0) + _LEAST_SPREAD
        steps = np.clip(np.round((effects - middle) / spread * _STEPS) + _ZERO, 0, 255)
        return cls(tuple(ids), middle.astype(np.float32), spread.astype(np.float32), steps.astype(np.uint8))

    def order(self, effect: NDArray[np.float32]) -> list[str]:
        """The ids, beginning with the checkpoint that does most nearly the same.

        Args:
            effect: of an edit, shape `(n_numbers,)`.
        """
        wanted = (effect - self.middle) / self.spread
        standardised = (self.values.astype(np.float32) - _ZERO) / _STEPS
        distances = np.abs(standardised - wanted) @ EFFECT_WEIGHTS
        return [self.ids[place] for place in np.argsort(distances, kind="stable")]

    def to_bytes(self) -> bytes:
        """The content of `effects.safetensors`. Of the ids, it has a digest."""
        arrays: dict[str, NDArray[Any]] = {
            "middle": self.middle,
            "spread": self.spread,
            "values": self.values,
        }
        return encode_tensors(arrays, {"ids_sha256": _digest(self.ids)})

    @classmethod
    def from_bytes(cls, data: bytes, ids: Sequence[str]) -> Effects:
        """Read the content of `effects.safetensors`.

        Args:
            data: the content.
            ids: ids of the checkpoints that it should be of, in the order of the index.

        Raises:
            DamagedFile: it is damaged, or of other checkpoints.
        """
        described, arrays = decode_tensors(data)
        shapes = {"middle": EFFECT_WEIGHTS.shape, "spread": EFFECT_WEIGHTS.shape}
        shapes["values"] = (len(ids), len(EFFECT_WEIGHTS))
        found = {name: array.shape for name, array in arrays.items()}
        if found != shapes or arrays["values"].dtype != np.uint8:
            raise DamagedFile("has tensors of other names, shapes or types")
        if described.get("ids_sha256") != _digest(ids):
            raise DamagedFile("is of other checkpoints")
        if not (np.isfinite(arrays["middle"]).all() and (arrays["spread"] > 0).all()):
            raise DamagedFile("has values that are not finite")
        return cls(tuple(ids), arrays["middle"], arrays["spread"], arrays["values"])


def _digest(ids: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()
