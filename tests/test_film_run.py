"""The baseline that reads words and has no generated weights: it starts as its network, and learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from film_run import FilmNetwork, Trainer, features_of
from zoo_fixtures import TINY_SIZES

from initzoo.generator import Context
from initzoo.networks.network import layers_of
from initzoo.networks.starter import StarterNet


@pytest.fixture
def network() -> StarterNet:
    torch.manual_seed(0)
    network = StarterNet(**TINY_SIZES, n_full=2)
    for value in network.parameters():
        torch.nn.init.normal_(value, std=0.2)
    return network


def crops(n: int) -> torch.Tensor:
    given = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n, 1, 3, 16, 16), dtype=np.uint8))
    return torch.cat([given, 255 - given], dim=1)


def move(model: FilmNetwork) -> None:
    """Give the last layer of the MLP some weights, so that words matter."""
    torch.nn.init.normal_(model.film.layers[-1].weight, std=0.3)


def test_it_starts_as_its_network(network):
    images, words = torch.rand(2, 3, 16, 24) * 2 - 1, torch.randn(2, 5)
    expected = network(images)
    model = FilmNetwork(network, n_features=5)
    assert torch.equal(model(images, words), expected)


def test_each_photo_is_edited_as_its_own_words_say(network):
    model = FilmNetwork(network, n_features=5)
    move(model)
    images, words = torch.rand(1, 3, 16, 24).repeat(2, 1, 1, 1), torch.randn(2, 5)
    both = model(images, words)
    assert not torch.allclose(both[0], both[1], atol=1e-3)
    assert torch.allclose(both[1:], model(images[1:], words[1:]), atol=1e-6)


def test_words_can_be_folded_into_a_plain_network(network):
    model = FilmNetwork(network, n_features=5)
    move(model)
    images, words = torch.rand(1, 3, 16, 24), torch.randn(1, 5)
    plain = model.folded(words[0], StarterNet(**TINY_SIZES, n_full=2))
    assert torch.allclose(plain(images), model(images, words), atol=1e-5)


def test_steps_lower_the_loss_and_a_snapshot_goes_on_alike(network, tmp_path):
    words = torch.randn(4, 5)
    trainer = Trainer(FilmNetwork(network, n_features=5))
    losses = [trainer.step(crops(4), words, progress=0.0) for _ in range(30)]
    assert losses[-1] < losses[0]
    trainer.save(tmp_path / "snapshot.pt")
    resumed = Trainer(FilmNetwork(StarterNet(**TINY_SIZES, n_full=2), n_features=5))
    resumed.load(tmp_path / "snapshot.pt")
    expected = trainer.step(crops(4), words, progress=0.0)
    assert resumed.step(crops(4), words, progress=0.0) == pytest.approx(expected, rel=1e-5)
    assert resumed.n_steps == 31
    assert resumed.mean.keys() == trainer.mean.keys()


def test_parameters_are_counted_apart():
    model = FilmNetwork(StarterNet(n_upsampled=16, n_full=8), n_features=919)
    n_channels = sum(len(layer.weight) for layer in layers_of(model.network).values())
    mlp = 919 * 256 + 256 + 256 * 256 + 256 + 256 * 2 * n_channels + 2 * n_channels
    assert model.counts() == {"image network": 88_492, "MLP": mlp}


def test_what_a_wording_leaves_out_is_zero():
    context = Context(
        torch.ones(1, 3, 2),
        torch.tensor([[True, True, False]]),
        phrase=torch.full((1, 4), float("nan")),
        colours=torch.tensor([[[0.5, 1.0, -0.2], [float("nan")] * 3]]),
    )
    expected = torch.tensor([[0.0] * 4 + [1.0, 1.0] + [0.5, 1.0, -0.2, 1.0] + [0.0] * 8])
    assert torch.equal(features_of(context), expected)
