"""Initializations: the statistics that their sources promise, seeds, and those that a zoo gives."""

import math

import numpy as np
import pytest
import torch
from test_generator_evaluation import CONCEPTS, make_generator, teachable
from torch import nn
from zoo_fixtures import kept_zoo, make_zoo

from initzoo.errors import InvalidGenerator, InvalidWords, UnknownInitialization
from initzoo.generator.given import FROM_ZOO, SCHEMES
from initzoo.generator.request import Request
from initzoo.networks.scheme_names import CLASSICAL
from initzoo.networks.schemes import initialise
from initzoo.training.schemes import Initializer
from initzoo.zoo.manifest import refresh_manifest
from initzoo.zoo.zoo import Zoo

__all__ = ["kept_zoo"]


def layer_after(name: str, n_in: int = 48, n_out: int = 64, kernel: int = 3, seed: int = 0) -> nn.Conv2d:
    layer = nn.Conv2d(n_in, n_out, kernel)
    initialise(layer, name, seed=seed)
    return layer


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A zoo with a weight generator of its own."""
    folder = make_zoo(tmp_path_factory.mktemp("zoos") / "starts", concepts=CONCEPTS, change=teachable)
    zoo = Zoo.from_pretrained(folder)
    make_generator(zoo, 1).save_pretrained(folder / "model" / "weight_generator" / "tiny")
    refresh_manifest(folder)
    return Zoo.from_pretrained(folder)


FAN_IN, FAN_OUT = 48 * 9, 64 * 9


@pytest.mark.parametrize(
    ("name", "std"),
    [
        ("uniform", 0.05 / math.sqrt(3)),
        ("normal", 0.02),
        ("truncated_normal", 0.02 * 0.8796),  # what cutting at two standard deviations leaves
        ("xavier_uniform", math.sqrt(2 / (FAN_IN + FAN_OUT))),
        ("xavier_normal", math.sqrt(2 / (FAN_IN + FAN_OUT))),
        ("he_uniform", math.sqrt(2 / FAN_IN)),
        ("he_normal", math.sqrt(2 / FAN_IN)),
        ("pytorch", 1 / math.sqrt(3 * FAN_IN)),
        ("sparse", 0.1 * math.sqrt(0.1)),
    ],
)
def test_random_weights_have_the_spread_of_their_source(name, std):
    layer = layer_after(name)
    assert layer.weight.mean().item() == pytest.approx(0, abs=0.05 * std)
    assert layer.weight.std().item() == pytest.approx(std, rel=0.03)
    assert (layer.bias == 0).all() or name == "pytorch"


def test_plain_weights_are_what_their_names_say():
    assert not layer_after("zeros").weight.any()
    assert layer_after("constant").weight.unique().tolist() == pytest.approx([0.02])
    rows = layer_after("orthogonal").weight.detach().flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(64), atol=1e-5, rtol=0)
    assert layer_after("truncated_normal").weight.abs().max() <= 0.04


def test_sparse_units_have_one_weight_in_ten():
    kept = (layer_after("sparse").weight.flatten(1) != 0).sum(dim=1)
    assert (kept == FAN_IN - math.ceil(0.9 * FAN_IN)).all()


def test_dirac_and_eye_pass_channels_on():
    images = torch.rand(1, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    for name, kernel in (("dirac", 3), ("eye", 1)):
        layer = nn.Conv2d(8, 8, kernel, padding=kernel // 2, bias=False)
        initialise(layer, name, seed=0)
        torch.testing.assert_close(layer(images), images)
    wide = layer_after("eye", kernel=3)
    assert torch.equal(wide.weight, layer_after("pytorch", kernel=3).weight)


def test_a_seed_gives_the_same_weights_and_leaves_torchs_random_numbers_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    for name in ("sparse", "he_normal", "pytorch"):
        one, again, other = (layer_after(name, seed=seed).weight for seed in (1, 1, 2))
        assert torch.equal(one, again)
        assert not torch.equal(one, other)
        layer = nn.Conv2d(3, 3, 3)
        torch.manual_seed(7)
        initialise(layer, name, seed=1)
        assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name", CLASSICAL)
def test_every_classical_start_lets_the_photo_through(zoo, name):
    network = Initializer(zoo).network(name, Request(seed=3))
    skip = network.get_submodule("skip")
    expected = nn.init.dirac_(torch.empty_like(skip.weight))
    assert torch.equal(skip.weight, expected)
    assert not skip.bias.any()
    again = Initializer(zoo).network(name, Request(seed=3))
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


def test_starts_from_a_zoo_are_its_own(zoo):
    starts, images = Initializer(zoo), torch.rand(1, 3, 16, 16)
    base = starts.network("base").state_dict()
    assert all(np.array_equal(base[name].numpy(), zoo.base()[name]) for name in base)
    generator = make_generator(zoo, 1)
    for name, blocks in (
        ("mean", zoo.mean_adapter_blocks()),
        ("nearest", zoo.blocks("gold-fog")),
        ("generated", generator.generate("gold fog", seed=2)),
    ):
        made = starts.network(name, Request("gold fog", seed=2))
        torch.testing.assert_close(made(images), zoo.network(blocks)(images))


def test_nearest_knows_train_concepts_only(zoo):
    near = Initializer(zoo).network("nearest", Request("red night"))
    held_out = zoo.network(zoo.blocks("red-night"))
    assert not torch.equal(near.head.weight, held_out.head.weight)


def test_what_is_missing_is_named(zoo, kept_zoo):
    with pytest.raises(UnknownInitialization, match="no initialization 'he_norma'.*he_normal.*generated"):
        Initializer(zoo).network("he_norma")
    for name in ("nearest", "generated"):
        with pytest.raises(InvalidWords, match=f"'{name}' needs words"):
            Initializer(zoo).network(name)
        with pytest.raises(InvalidGenerator, match="has no weight generator .*initzoo generator train"):
            Initializer(Zoo.from_pretrained(kept_zoo)).network(name, Request("gold"))
    with pytest.raises(UnknownInitialization, match="not a classical initialization"):
        initialise(nn.Conv2d(3, 3, 1), "base", seed=0)
    assert set(CLASSICAL) | set(FROM_ZOO) == set(SCHEMES)
