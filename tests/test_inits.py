"""Inits: merged weights or an adapter, with all that is known of them, in one file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from zoo_fixtures import TINY_RECIPE, cut_off, flipped, outcome, random_adapter, random_base

from initzoo.checkpoints.base import read_base, write_base
from initzoo.checkpoints.init import Init, InitMetadata, merge_adapter
from initzoo.checkpoints.recipe import Recipe
from initzoo.errors import ChecksumMismatch, InitzooError, InvalidInit, LayoutMismatch, OutputError
from initzoo.files.digests import DamagedFile
from initzoo.files.settings import read_settings
from initzoo.files.tensors import decode_tensors, encode_tensors

METADATA = InitMetadata(
    concept="warm",
    wording="Make it WARM → please",
    origin="exact",
    zoo="starter",
    revision="0" * 40,
    recipe=TINY_RECIPE,
    base_sha256="a" * 64,
    scores={"psnr": 27.5, "ssim": None},
    licence="CC0-1.0",
    source="a filter",
)


def tiny_init(kind: str = "merged") -> Init:
    adapter = random_adapter(TINY_RECIPE, seed=0)
    if kind == "adapter":
        return Init(adapter, kind, METADATA)
    return Init(merge_adapter(random_base(TINY_RECIPE), adapter, TINY_RECIPE.layout), kind, METADATA)


def same(a: Init, b: Init) -> bool:
    return (
        (a.kind, a.metadata) == (b.kind, b.metadata)
        and a.weights.keys() == b.weights.keys()
        and all(np.array_equal(tensor, b.weights[name]) for name, tensor in a.weights.items())
    )


class FakeNetwork:
    """Takes weights as `StarterNet` does, without torch."""

    def __init__(self) -> None:
        self.state: dict[str, np.ndarray] = {}

    def load_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        self.state = arrays


@pytest.mark.parametrize("kind", ["merged", "adapter"])
def test_load_restores_what_save_wrote(tmp_path: Path, kind: str) -> None:
    init = tiny_init(kind)
    init.save(tmp_path / "a.safetensors")
    assert same(Init.load(tmp_path / "a.safetensors"), init)


def test_the_same_init_gives_the_same_bytes() -> None:
    init = tiny_init()
    backwards = Init(dict(reversed(init.weights.items())), init.kind, init.metadata)
    assert init.to_bytes() == backwards.to_bytes()
    assert init.sha256 == backwards.sha256
    assert init.sha256 != replace(init, metadata=replace(METADATA, wording="warm")).sha256


def test_the_file_explains_itself_to_other_programs(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    tiny_init().save(tmp_path / "a.safetensors")
    with safetensors.safe_open(tmp_path / "a.safetensors", "numpy") as file:
        notes = file.metadata()
        np.testing.assert_array_equal(file.get_tensor("head.bias"), tiny_init().weights["head.bias"])
    assert (notes["concept"], notes["origin"], notes["kind"]) == ("warm", "exact", "merged")
    recipe = json.loads(notes["recipe"]) | {"layout": json.loads(notes["layout"])}
    assert read_settings(recipe, Recipe) == TINY_RECIPE


def test_settings_with_half_a_pair_of_surrogates_are_damaged() -> None:
    """Python's reader of JSON lets them pass, and nothing can write or print them."""
    with pytest.raises(DamagedFile, match="its settings cannot be read: a text is not valid Unicode"):
        read_settings({"kind": json.loads('"\\ud800"')}, dict[str, Literal["adapter"]])


def test_save_keeps_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError):
        tiny_init().save(path)
    assert path.read_bytes() == b"mine"
    tiny_init().save(path, force=True)
    assert same(Init.load(path), tiny_init())


def test_merging_adds_what_the_adapter_computes() -> None:
    """On random inputs, the merged layer gives weight * x + B (A x) + bias + adapter bias."""
    base, adapter = random_base(TINY_RECIPE), random_adapter(TINY_RECIPE, seed=1)
    merged = merge_adapter(base, adapter, TINY_RECIPE.layout)
    rng = np.random.default_rng(0)
    for layer in TINY_RECIPE.ranks:
        weight, bias, a = (base[f"{layer}.{part}"] for part in ("weight", "bias", "A"))
        b, change = adapter[f"{layer}.B"], adapter[f"{layer}.bias"]
        x = rng.normal(size=weight[0].size)  # what lies under the kernel at one place
        expected = weight.reshape(len(weight), -1) @ x + b @ (a.reshape(len(a), -1) @ x) + bias + change
        found = merged[f"{layer}.weight"].reshape(len(weight), -1) @ x + merged[f"{layer}.bias"]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert not any(name.endswith(".A") for name in merged)
    assert all(tensor.dtype == np.float32 for tensor in merged.values())


def test_a_zero_adapter_leaves_the_base_as_it_is() -> None:
    base = random_base(TINY_RECIPE)
    zero = {name: np.zeros(shape, dtype=np.float32) for name, shape in TINY_RECIPE.layout.tensors}
    for name, tensor in merge_adapter(base, zero, TINY_RECIPE.layout).items():
        np.testing.assert_array_equal(tensor, base[name])


def test_merging_does_not_change_the_base() -> None:
    base, untouched = random_base(TINY_RECIPE), random_base(TINY_RECIPE)
    merge_adapter(base, random_adapter(TINY_RECIPE, seed=1), TINY_RECIPE.layout)
    assert all(np.array_equal(tensor, untouched[name]) for name, tensor in base.items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"head.A": None}, "base, layer 'head': the adapter changes it, found no such weights"),
        ({"head.weight": None}, "base, layer 'head': the adapter changes it, found no such weights"),
        ({"head.A": np.zeros((1, 3, 3, 3))}, "base, tensor 'head.weight': expected shape"),
        ({"head.A": np.zeros((3, 3, 1, 1))}, "base, tensor 'head.weight': expected shape"),
        ({"head.bias": np.zeros(3)}, r"base, tensor 'head.bias': expected shape \(12,\), found \(3,\)"),
    ],
)
def test_merge_adapter_names_what_does_not_fit(change: dict[str, Any], words: str) -> None:
    base = {name: value for name, value in (random_base(TINY_RECIPE) | change).items() if value is not None}
    with pytest.raises(LayoutMismatch, match=words):
        merge_adapter(base, random_adapter(TINY_RECIPE, seed=1), TINY_RECIPE.layout)


def test_a_sum_too_large_for_float32_is_refused() -> None:
    base = random_base(TINY_RECIPE)
    base["head.A"][:] = 3e38
    with pytest.raises(
        InvalidInit, match="merged weights, tensor 'head.weight': found NaN or infinite values"
    ):
        merge_adapter(base, random_adapter(TINY_RECIPE, seed=1), TINY_RECIPE.layout)


def test_apply_to_gives_the_network_every_weight() -> None:
    network = FakeNetwork()
    tiny_init().apply_to(network)
    assert network.state.keys() == tiny_init().weights.keys()


def test_apply_to_refuses_an_adapter_alone() -> None:
    with pytest.raises(
        InvalidInit, match=r"'warm' holds an adapter alone. Merge it first: zoo.merge\(init\)"
    ):
        tiny_init("adapter").apply_to(FakeNetwork())


def test_an_adapter_is_merged_with_its_own_base_only(tmp_path: Path) -> None:
    write_base(tmp_path, recipe=TINY_RECIPE, weights=random_base(TINY_RECIPE), licence="MIT")
    base = read_base(tmp_path)
    with pytest.raises(ChecksumMismatch, match=f"made for the base with sha256 {'a' * 64}, found"):
        tiny_init("adapter").merged_with(base)
    metadata = replace(METADATA, base_sha256=base.config.base_sha256)
    merged = replace(tiny_init("adapter"), metadata=metadata).merged_with(base)
    assert same(merged, replace(tiny_init(), metadata=metadata))
    assert merged.merged_with(base) is merged


@pytest.mark.parametrize(
    ("kind", "change", "error", "words"),
    [
        (
            "merged",
            {"head.bias": None},
            LayoutMismatch,
            r"'head.bias': expected shape \(12,\), found no such",
        ),
        ("merged", {"head.A": np.zeros(1, np.float32)}, LayoutMismatch, "'head.A': expected no such tensor"),
        ("merged", {"head.bias": np.zeros(3, np.float32)}, LayoutMismatch, r"found float32 \(3,\)"),
        ("merged", {"head.bias": np.zeros(12, np.float16)}, LayoutMismatch, r"found float16 \(12,\)"),
        ("merged", {"head.bias": np.full(12, np.nan, np.float32)}, InvalidInit, "12 of 12 values are NaN"),
        ("adapter", {"head.B": None}, LayoutMismatch, "'head.B': expected shape"),
        ("adapter", {"head.B": np.full((12, 3), np.inf, np.float32)}, InvalidInit, "36 of 36 values are NaN"),
        (
            "adapter",
            {"head.weight": np.zeros(1, np.float32)},
            LayoutMismatch,
            "'head.weight': expected no such",
        ),
        ("both", {}, InvalidInit, "kind is 'both', expected merged or adapter"),
    ],
)
def test_unsound_weights_make_no_init(
    tmp_path: Path, kind: str, change: dict[str, Any], error: type[InitzooError], words: str
) -> None:
    sound = tiny_init("adapter" if kind == "adapter" else "merged")
    weights = {name: value for name, value in (sound.weights | change).items() if value is not None}
    with pytest.raises(error, match=words):
        Init(weights, kind, METADATA)
    if kind != "both":  # the same, met in a file with a good seal
        metadata, _ = decode_tensors(sound.to_bytes())
        (tmp_path / "odd.safetensors").write_bytes(encode_tensors(weights, metadata))
        with pytest.raises(error, match=f"odd.safetensors', .*{words}"):
            Init.load(tmp_path / "odd.safetensors")


def test_an_unknown_origin_is_refused() -> None:
    known = "exact, matched, generated, fitted, fine-tuned, blended"
    with pytest.raises(InvalidInit, match=f"origin is 'guessed', expected one of {known}"):
        replace(tiny_init(), metadata=replace(METADATA, origin="guessed"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "shard"}, "is not an init"),
        ({"kind": None}, "is not an init"),
        ({"format_version": "3"}, "has format version 3, .* pip install -U initzoo"),
        ({"format_version": "1"}, "has format version 1, .* get a version that was made with"),
        ({"licence": None}, "missing required field `licence`"),
        ({"layout": None}, "its header lacks 'layout'"),
        ({"origin": "guessed"}, "origin is 'guessed'"),
        ({"recipe": "{"}, "its recipe, layout, scores, generation or fitting are not JSON"),
        ({"recipe": "[]"}, r"Expected `object`, got `array` - at `\$.recipe`"),
        ({"recipe": '{"name": "tiny"}'}, "missing required field `network`"),
        ({"layout": "{}"}, "missing required field `tensors`"),
        ({"scores": "[1]"}, r"got `array` - at `\$.scores`"),
        ({"scores": '{"psnr": "high"}'}, "got `str` - at"),
        ({"scores": '{"psnr": NaN}'}, "its scores are not finite numbers"),
        ({"scores": '{"psnr": 1e400}'}, "its scores are not finite numbers"),
        ({"scores": '{"psnr": 1' + "0" * 400 + "}"}, "its scores are not finite numbers"),
    ],
)
def test_odd_metadata_is_refused(tmp_path: Path, change: dict[str, str | None], words: str) -> None:
    metadata, weights = decode_tensors(tiny_init().to_bytes())
    changed = {name: text for name, text in (metadata | change).items() if text is not None}
    (tmp_path / "odd.safetensors").write_bytes(encode_tensors(weights, changed))
    with pytest.raises(InvalidInit, match=rf"odd.safetensors'.*{words}"):
        Init.load(tmp_path / "odd.safetensors")


def test_notes_that_this_version_does_not_know_are_ignored(tmp_path: Path) -> None:
    metadata, weights = decode_tensors(tiny_init().to_bytes())
    recipe = json.dumps(json.loads(metadata["recipe"]) | {"newer": 1})
    path = tmp_path / "newer.safetensors"
    path.write_bytes(encode_tensors(weights, metadata | {"newer": "note", "recipe": recipe}))
    assert same(Init.load(path), tiny_init())


@pytest.mark.parametrize("kind", ["merged", "adapter"])
def test_a_damaged_init_is_never_loaded(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.safetensors"
    whole = tiny_init(kind).to_bytes()
    for damaged in [*flipped(whole, 150, seed=4), *cut_off(whole, 40), whole + b"\0"]:
        path.write_bytes(damaged)
        assert outcome(lambda: Init.load(path)) is InvalidInit


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for data in (b"", b"PK\x03\x04", b"\x80\x04pickle", b"<html>"):
        path.write_bytes(data)
        with pytest.raises(InvalidInit, match=r"init '.*model.safetensors': has no seal of initzoo"):
            Init.load(path)
    with pytest.raises(InvalidInit, match="cannot be read"):
        Init.load(tmp_path)
