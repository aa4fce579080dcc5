"""The base of a recipe: written once, checked whenever it is read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zoo_fixtures import TINY_RECIPE, cut_off, flipped, outcome, random_base

from initzoo.checkpoints.base import read_base, read_base_config, write_base
from initzoo.errors import ChecksumMismatch, InvalidInit, InvalidZoo, LayoutMismatch, OutputError


def write_tiny(folder: Path) -> dict[str, np.ndarray]:
    weights = random_base(TINY_RECIPE)
    write_base(folder, recipe=TINY_RECIPE, weights=weights, licence="Apache-2.0")
    return weights


def write_config(folder: Path, **changes: Any) -> None:
    """Change keys of a base's config; None takes a key away."""
    values = json.loads((folder / "config.json").read_text()) | changes
    values = {name: value for name, value in values.items() if value is not None}
    (folder / "config.json").write_bytes(json.dumps(values).encode())


def test_a_base_comes_back_as_it_was_written(tmp_path: Path) -> None:
    weights = write_tiny(tmp_path / "new" / "base")
    base = read_base(tmp_path / "new" / "base")
    assert base.config.recipe == TINY_RECIPE
    assert base.config.layout == TINY_RECIPE.layout
    assert base.config.licence == "Apache-2.0"
    assert set(base.weights) == set(weights)
    for name, tensor in weights.items():
        np.testing.assert_array_equal(base.weights[name], tensor)


def test_the_same_base_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tiny(tmp_path / name)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_write_base_keeps_what_is_there(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(OutputError, match="model.safetensors exists already"):
        write_tiny(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(OutputError, match="config.json exists already"):
        write_tiny(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    write_base(tmp_path, recipe=TINY_RECIPE, weights=random_base(TINY_RECIPE, 5), licence="MIT", force=True)
    assert read_base(tmp_path).config.licence == "MIT"


def test_write_base_says_why_it_cannot_make_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="there is no folder .*file. Make it first"):
        write_tiny(tmp_path / "file" / "base")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"head.A": None}, LayoutMismatch, "tensor 'head.A': expected shape .*, found no such tensor"),
        (
            {"extra.weight": np.zeros(2, np.float32)},
            LayoutMismatch,
            "tensor 'extra.weight': expected no such",
        ),
        (
            {"head.bias": np.zeros(2, np.float32)},
            LayoutMismatch,
            r"expected float32 \(12,\), found float32 \(2,\)",
        ),
        ({"head.bias": np.zeros(12)}, LayoutMismatch, r"expected float32 \(12,\), found float64 \(12,\)"),
        ({"head.bias": np.full(12, np.nan, np.float32)}, InvalidInit, "'head.bias': 12 of 12 values are NaN"),
    ],
)
def test_write_base_refuses_other_weights(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    weights = {
        name: value for name, value in (random_base(TINY_RECIPE) | change).items() if value is not None
    }
    with pytest.raises(error, match=words):
        write_base(tmp_path / "base", recipe=TINY_RECIPE, weights=weights, licence="")
    assert list(tmp_path.iterdir()) == []


def test_shapes_of_a_recipe_are_those_of_its_network() -> None:
    shapes = TINY_RECIPE.base_shapes
    assert shapes["detail.weight"] == (3, 12, 3, 3)
    assert shapes["detail.A"] == (2, 12, 3, 3)
    assert set(TINY_RECIPE.weight_shapes) == {name for name in shapes if not name.endswith(".A")}


RANKS, WEIGHTS = TINY_RECIPE.ranks, [[name, list(shape)] for name, shape in TINY_RECIPE.weights]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"format_version": 3},
            "has format version 3, this initzoo reads 2; upgrade: pip install -U initzoo",
        ),
        ({"format_version": 1}, "has format version 1, this initzoo reads 2; get a version that was made"),
        ({"format_version": None}, "has format version None"),
        (
            {"layout": {"tensors": [], "block_size": 16}},
            "its ranks and its layout name different layers",
        ),
        ({"layout": {"tensors": [["a.B", [0]]], "block_size": 16}}, "a shape of 1 to 8 positive sizes"),
        ({"layout": {"tensors": [["a.B", [1] * 9]], "block_size": 16}}, "a shape of 1 to 8 positive sizes"),
        ({"base_sha256": None}, "missing required field `base_sha256`"),
        ({"licence": 3}, r"Expected `str`, got `int` - at `\$.licence`"),
        ({"recipe": None}, "missing required field `recipe`"),
        ({"recipe": {"name": "tiny"}}, r"Expected `str`, got `object` - at `\$.recipe`"),
        ({"recipe": "../x"}, "cannot have the name '../x'"),
        ({"ranks": RANKS | {"head": 2}}, "its layout does not follow from its ranks and weights"),
        ({"ranks": RANKS | {"head": 0}}, "cannot have an adapter of rank 0"),
        ({"weights": WEIGHTS[1:]}, "cannot have an adapter of rank"),
        ({"weights": [*WEIGHTS, ["huge", [2**41]]]}, "an invalid size"),
        ({"weights": [*WEIGHTS, ["deep", [1] * 5000]]}, "more than 8 axes"),
        ({"weights": [*WEIGHTS, ["huge", [2.5]]]}, "Expected `int`, got `float`"),
    ],
)
def test_an_odd_config_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    write_tiny(tmp_path)
    write_config(tmp_path, **changes)
    with pytest.raises(InvalidZoo, match=words):
        read_base_config(tmp_path)


def test_unknown_keys_of_a_config_are_ignored(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    network = {"kind": "starter", "sizes": TINY_RECIPE.network.sizes, "newer": 1}
    write_config(tmp_path, newer={"deep": [1]}, network=network, made_with={"joint": {"unheard": "of"}})
    assert read_base(tmp_path).config.recipe == TINY_RECIPE


def test_a_base_of_an_unknown_network_still_reads_and_says_so_when_it_is_built(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    write_config(tmp_path, network={"kind": "attention", "sizes": {"n_heads": 4}})
    recipe = read_base(tmp_path).config.recipe
    with pytest.raises(
        LayoutMismatch, match="network 'attention' is not known, known are starter, .*; upgrade"
    ):
        recipe.network.build()


@pytest.mark.parametrize(
    ("text", "words"),
    [(b"{", "is not JSON"), (b"[" * 100_000, "more than 64 levels of lists"), (b"\xff", "is not JSON")],
)
def test_a_config_that_is_no_json_object_is_refused(tmp_path: Path, text: bytes, words: str) -> None:
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(InvalidZoo, match=f"base config '.*config.json': .*{words}"):
        read_base_config(tmp_path)


def test_weights_of_another_base_are_refused(tmp_path: Path) -> None:
    write_tiny(tmp_path / "a")
    write_base(tmp_path / "b", recipe=TINY_RECIPE, weights=random_base(TINY_RECIPE, seed=9), licence="MIT")
    (tmp_path / "b" / "model.safetensors").replace(tmp_path / "a" / "model.safetensors")
    expected = read_base_config(tmp_path / "a").base_sha256
    found = read_base_config(tmp_path / "b").base_sha256
    with pytest.raises(ChecksumMismatch, match=f"expected sha256 {expected}, found {found}"):
        read_base(tmp_path / "a")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_damaged_base_never_gives_weights(tmp_path: Path, name: str) -> None:
    write_tiny(tmp_path)
    digest = hashlib.sha256((tmp_path / "config.json").read_bytes()).hexdigest()
    whole = (tmp_path / name).read_bytes()
    for damaged in [*flipped(whole, 100, seed=3), *cut_off(whole, 20), whole + b" "]:
        (tmp_path / name).write_bytes(damaged)
        assert outcome(lambda: read_base(tmp_path, digest=digest)) in (InvalidZoo, ChecksumMismatch)
    (tmp_path / name).unlink()
    with pytest.raises(InvalidZoo, match=rf"{name}': cannot be read"):
        read_base(tmp_path)
