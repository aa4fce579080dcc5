"""The base of a recipe: written once, checked whenever it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zoo_fixtures import TINY_RECIPE, cut_off, flipped, outcome, random_base

from initzoo.checkpoints.base import read_base, read_base_config, weight_shapes, write_base
from initzoo.errors import ChecksumMismatch, InvalidInit, InvalidZoo, LayoutMismatch, OutputError
from initzoo.files.digests import BLANK_SEAL, seal


def write_tiny(folder: Path) -> dict[str, np.ndarray]:
    weights = random_base(TINY_RECIPE)
    write_base(folder, recipe=TINY_RECIPE, weights=weights, licence="Apache-2.0")
    return weights


def write_config(folder: Path, **changes: Any) -> None:
    """Change keys of a base's config and seal it anew; None takes a key away."""
    values = json.loads((folder / "config.json").read_text()) | {"seal": BLANK_SEAL} | changes
    values = {name: value for name, value in values.items() if value is not None}
    (folder / "config.json").write_bytes(seal(json.dumps(values).encode()))


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
    with pytest.raises(OutputError, match="cannot make the folder"):
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


def test_weight_shapes_are_those_of_the_network() -> None:
    torch_shapes = weight_shapes(TINY_RECIPE, with_a=True)
    assert torch_shapes["detail.weight"] == (3, 12, 3, 3)
    assert torch_shapes["detail.A"] == (2, 12, 3, 3)
    assert set(weight_shapes(TINY_RECIPE, with_a=False)) == {n for n in torch_shapes if not n.endswith(".A")}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"format_version": 2},
            "has format version 2, this initzoo reads 1; upgrade: pip install -U initzoo",
        ),
        ({"format_version": None}, "has format version None"),
        ({"layout_id": "0" * 16}, "its layout_id is not"),
        (
            {"layout": {"tensors": [], "block_size": 16}},
            "its layout is not .*, the one of recipe 'tiny' here",
        ),
        ({"base_sha256": None}, "lacks base_sha256 or licence"),
        ({"licence": 3}, "lacks base_sha256 or licence"),
        ({"recipe": None}, "its recipe is not one of this version"),
        ({"recipe": "starter"}, "its recipe is not one of this version"),
        ({"recipe": {"name": "tiny"}}, "its recipe is not one of this version"),
        ({"recipe": TINY_RECIPE.to_dict() | {"new_setting": 1}}, "its recipe is not one of this version"),
        ({"recipe": TINY_RECIPE.to_dict() | {"name": "../x"}}, "its recipe is not one of this version"),
        ({"recipe": TINY_RECIPE.to_dict() | {"block_size": 1e999}}, "its recipe is not one of this version"),
        (
            {
                "recipe": TINY_RECIPE.to_dict()
                | {"network": TINY_RECIPE.to_dict()["network"] | {"n_stages": 10**9}}
            },
            "its recipe is not one of this version",
        ),
    ],
)
def test_an_odd_config_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    write_tiny(tmp_path)
    write_config(tmp_path, **changes)
    with pytest.raises(InvalidZoo, match=words):
        read_base_config(tmp_path)


@pytest.mark.parametrize("text", [b"[]", b"{", b"[" * 100_000, b"\xff"])
def test_a_config_that_is_no_json_object_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "config.json").write_bytes(seal(text + b' "' + BLANK_SEAL.encode() + b'"'))
    with pytest.raises(InvalidZoo, match="base config '.*config.json': is not JSON"):
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
    whole = (tmp_path / name).read_bytes()
    for damaged in [*flipped(whole, 100, seed=3), *cut_off(whole, 20), whole + b" "]:
        (tmp_path / name).write_bytes(damaged)
        assert outcome(lambda: read_base(tmp_path)) in (InvalidZoo, ChecksumMismatch)
    (tmp_path / name).unlink()
    with pytest.raises(InvalidZoo, match=rf"{name}': cannot be read"):
        read_base(tmp_path)
