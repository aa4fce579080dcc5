"""Starts: words, files, initializations and plain weights, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from zoo_fixtures import TINY_RECIPE, generating_zoo, kept_generating_zoo, kept_zoo, make_zoo, random_base

from initzoo.checkpoints.base import write_base
from initzoo.checkpoints.init import Init
from initzoo.errors import (
    ChecksumMismatch,
    FinetuneError,
    InvalidInit,
    LayoutMismatch,
    UnknownConcept,
    UnknownInitialization,
)
from initzoo.generator.request import Request
from initzoo.networks.pix2pix import UNet
from initzoo.pairs.scores import Score
from initzoo.training.auto import AutoNetwork
from initzoo.training.start import open_start
from initzoo.zoo.manifest import refresh_manifest
from initzoo.zoo.zoo import Zoo

__all__ = ["generating_zoo", "kept_generating_zoo", "kept_zoo"]

pytestmark = pytest.mark.filterwarnings("ignore:weights for .* are generated, far:UserWarning")


@pytest.fixture
def zoo(kept_zoo):
    return Zoo.from_pretrained(kept_zoo)


@pytest.fixture
def images():
    return torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_words_files_and_plain_weights_give_the_same_network(zoo, images, tmp_path):
    zoo.pull("pencil sketch").save(tmp_path / "init.safetensors")
    zoo.pull("pencil sketch", adapter_only=True).save(tmp_path / "adapter.safetensors")
    model = AutoNetwork.from_pretrained("pencil sketch", zoo=zoo)
    save_file(model.state_dict(), tmp_path / "plain.safetensors")
    files = [f"{tmp_path}/{name}.safetensors" for name in ("init", "adapter", "plain")]
    for target in ("pencil sketch", *files):
        torch.testing.assert_close(open_start(target, zoo).network(images), model(images))
    assert open_start(f"{tmp_path}/plain.safetensors", zoo).name == "plain"


def test_an_adapter_alone_computes_what_the_merged_network_computes(zoo, images):
    start = open_start("pencil sketch", zoo, adapter_only=True)
    merged = AutoNetwork.from_pretrained("pencil sketch", zoo=zoo)
    torch.testing.assert_close(start.network(images), merged(images), atol=1e-4, rtol=1e-4)
    weights = start.weights_of(start.network)
    torch.testing.assert_close(start.editor(weights)(images), merged(images), atol=1e-4, rtol=1e-4)
    trained = [name for name, part in start.network.named_parameters() if part.requires_grad]
    assert trained == ["adapter"]


@pytest.mark.parametrize("adapter_only", [False, True])
@pytest.mark.parametrize("words", ["pencil sketch", "faded teal charcoal at dusk"])
def test_a_start_becomes_an_init_that_loads(kept_generating_zoo, tmp_path, adapter_only, words):
    zoo = Zoo.from_pretrained(kept_generating_zoo)
    start = open_start(words, zoo, adapter_only=adapter_only)
    init = start.to_init(
        start.weights_of(start.network), name="My look", score=Score(25.0, 0.5), source="a test"
    )
    init.save(tmp_path / "made.safetensors")
    again = Init.load(tmp_path / "made.safetensors")
    assert (again.metadata.origin, again.metadata.source) == ("fine-tuned", "a test")
    assert again.metadata.scores == {"psnr": 25.0, "ssim": 0.5}
    assert again.kind == ("adapter" if adapter_only else "merged")
    assert again.metadata.generation == zoo.pull(words).metadata.generation
    AutoNetwork.from_pretrained(tmp_path / "made.safetensors", zoo=zoo)


def test_named_initializations_are_starts(zoo):
    start = open_start("zeros", zoo)
    assert start.name == "zeros"
    assert not start.network.head.weight.any()


@pytest.mark.parametrize("name", ["base", "mean", "nearest", "generated"])
def test_initializations_of_a_zoo_have_an_adapter_of_their_own(kept_generating_zoo, images, name):
    zoo = Zoo.from_pretrained(kept_generating_zoo)
    words = "faded teal" if name in ("nearest", "generated") else ""
    alone, whole = (open_start(name, zoo, words=words, adapter_only=only) for only in (True, False))
    torch.testing.assert_close(alone.network(images), whole.network(images), atol=1e-3, rtol=1e-3)
    assert [key for key, part in alone.network.named_parameters() if part.requires_grad] == ["adapter"]


def test_a_slip_in_a_path_makes_no_weights(kept_generating_zoo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pencil sketch").mkdir()
    zoo = Zoo.from_pretrained(kept_generating_zoo)
    for target in (f"{tmp_path}/mine", "mine.safetensor", "mine.safetnsors", ".", "black/white at dusk"):
        with pytest.raises(InvalidInit, match=r"does not exist|is a folder"):
            open_start(target, zoo)
    with pytest.raises(UnknownInitialization, match="Did you mean 'he_normal'"):
        open_start("he_norml", zoo)
    with pytest.raises(InvalidInit, match="'night' does not exist"):
        open_start(Path("night"), zoo)
    assert open_start("pencil sketch", zoo).metadata.origin == "exact"
    assert open_start(Request("black/white at dusk"), zoo).metadata.origin == "generated"


def test_weights_of_another_network_are_refused(zoo, tmp_path):
    path = tmp_path / "unet.safetensors"
    state = UNet(n_halvings=5, width=2).state_dict()
    save_file({name: value for name, value in state.items() if value.is_floating_point()}, path)
    with pytest.raises(LayoutMismatch, match=r"is not of the network of zoo 'kept': tensor '.*Give an init"):
        open_start(str(path), zoo)


def test_damaged_and_unsound_files_are_refused(zoo, tmp_path):
    path = tmp_path / "own.safetensors"
    path.write_bytes(b"nonsense")
    with pytest.raises(InvalidInit, match="not a whole safetensors file"):
        open_start(str(path), zoo)
    state = AutoNetwork.from_pretrained("pencil sketch", zoo=zoo).state_dict()
    state["head.bias"][0] = np.nan
    save_file(state, path)
    with pytest.raises(InvalidInit, match=r"tensor 'head\.bias': 1 of 12 values are NaN"):
        open_start(str(path), zoo)
    with pytest.raises(InvalidInit, match="does not exist"):
        open_start(str(tmp_path / "missing.safetensors"), zoo)
    with pytest.raises(UnknownConcept, match="no concept 'penicl'"):
        open_start("penicl", zoo)


def test_an_adapter_needs_an_adapter_for_this_base(zoo, tmp_path):
    zoo.pull("pencil sketch").save(tmp_path / "merged.safetensors")
    for target in (str(tmp_path / "merged.safetensors"), "he_normal"):
        with pytest.raises(FinetuneError, match="no separate adapter to train.*--adapter-only"):
            open_start(target, zoo, adapter_only=True)
    zoo.pull("pencil sketch", adapter_only=True).save(tmp_path / "adapter.safetensors")
    other = make_zoo(tmp_path / "other")
    weights = other / "model" / "base" / "tiny"
    base = random_base(TINY_RECIPE, 5)
    write_base(weights, recipe=TINY_RECIPE, weights=base, licence="CC0-1.0", force=True)
    refresh_manifest(other)
    with pytest.raises(ChecksumMismatch, match="made for the base"):
        open_start(str(tmp_path / "adapter.safetensors"), Zoo.from_pretrained(other), adapter_only=True)
