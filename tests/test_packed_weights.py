"""Weights as eight-bit numbers: exact round trips, and files that were never written are refused."""

from __future__ import annotations

import numpy as np
import pytest

from initzoo.files import DamagedFile
from initzoo.generator.packed import pack_weights, round_weight, unpack_weights


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = 10.0 ** rng.uniform(-5, 2, (96, 1))
    given = {
        "first": rng.normal(size=(96, 64)) * sizes,
        "stack": rng.normal(size=(3, 40, 64)),
        "bias": rng.normal(size=64),
        "small": rng.normal(size=(8, 8)),
        "none": np.zeros((64, 64)),
    }
    return {name: round_weight(value.astype(np.float32)).astype(np.float16) for name, value in given.items()}


@pytest.mark.parametrize("seed", range(20))
def test_rounded_weights_survive_packing_to_the_bit(seed: int) -> None:
    given = weights(seed)
    packed = pack_weights(given)
    assert {name for name, value in packed.items() if value.dtype == np.uint8} == {"first", "stack", "none"}
    back = unpack_weights(packed)
    assert back.keys() == given.keys()
    for name, value in given.items():
        np.testing.assert_array_equal(back[name], value)
        assert back[name].dtype == np.float16


def test_rounding_twice_is_rounding_once_and_costs_less_than_a_hundredth() -> None:
    value = np.random.default_rng(0).normal(size=(256, 192)).astype(np.float32)
    rounded = round_weight(value)
    np.testing.assert_array_equal(round_weight(rounded), rounded)
    assert np.abs(rounded - value).max() < 0.02
    assert np.sqrt(np.mean((rounded - value) ** 2) / np.mean(value**2)) < 0.01


def test_weights_of_other_files_stay_float16() -> None:
    value = np.random.default_rng(0).normal(size=(96, 64)).astype(np.float16)
    packed = pack_weights({"first": value})
    assert packed.keys() == {"first"}
    assert packed["first"] is value


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed["first"].__setitem__((0, 0), 0),
        lambda packed: packed["first.scale"].__setitem__((0, 0), np.nan),
        lambda packed: packed["first.scale"].__setitem__((0, 0), 0),
        lambda packed: packed["first.scale"].__setitem__((0, 0), -1),
        lambda packed: packed.update({"first.scale": packed["first.scale"][:5]}),
        lambda packed: packed.update({"first.scale": packed["first.scale"].astype(np.float32)}),
        lambda packed: packed.update({"first": packed["first"].astype(np.float16)}),
        lambda packed: packed.update({"first": packed["first"].ravel()}),
    ],
)
def test_a_damaged_pack_is_refused(damage) -> None:
    packed = {name: value.copy() for name, value in pack_weights(weights()).items()}
    damage(packed)
    with pytest.raises(DamagedFile, match="tensor 'first': "):
        unpack_weights(packed)
