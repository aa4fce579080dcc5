"""Natural-gradient steps: exact where they can be, and never up."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from zoo_fixtures import TINY_SIZES

from initzoo.networks.adapters import Adapted
from initzoo.networks.natural_gradient import NaturalGradient
from initzoo.networks.network import ImageNetwork, layers_of
from initzoo.networks.starter import StarterNet


class OneLayer(ImageNetwork):
    """A linear map of colours: the squared error is a quadratic in its adapter."""

    kind = "one-layer"

    def __init__(self) -> None:
        super().__init__()
        self.sizes = {}
        self.map = nn.Conv2d(3, 3, 1)

    @property
    def roles(self):
        return {"map": "end"}

    @property
    def reach(self) -> int:
        return 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.map(images)


def photos(n: int = 4, side: int = 32, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, side, side, generator=draw) * 2 - 1


def starter(seed: int = 0) -> Adapted:
    ranks = dict.fromkeys(layers_of(StarterNet(**TINY_SIZES)), 2)
    base = Adapted(StarterNet(**TINY_SIZES), ranks, generator=torch.Generator().manual_seed(seed))
    base.requires_grad_(False)
    base.whiten(photos(seed=seed))
    return base


def test_a_quadratic_is_solved_in_a_few_steps() -> None:
    base = Adapted(OneLayer(), {"map": 3}, generator=torch.Generator().manual_seed(0))
    images, steps = photos(), NaturalGradient(base)
    base.whiten(images)
    targets = torch.einsum("oc,nchw->nohw", torch.tensor([[0, 1, 0.5], [1, 0, 0], [0, -1, 1]]), images) + 0.2
    adapter, errors = torch.zeros(base.n_adapter_values), []
    for _ in range(8):  # each with a sixth of the damping of the one before
        adapter, error = steps.take(adapter, images, targets)
        errors.append(error)
    assert errors[-1] < 1e-4 * steps.error(torch.zeros_like(adapter), images, targets)


def test_no_step_makes_the_error_larger() -> None:
    base, images = starter(), photos()
    targets = 0.5 * images.flip(1)
    steps, adapter = NaturalGradient(base), torch.zeros(base.n_adapter_values)
    first = error = steps.error(adapter, images, targets)
    for _ in range(10):
        adapter, reached = steps.take(adapter, images, targets)
        assert reached <= error
        assert steps.error(adapter, images, targets) == pytest.approx(reached, rel=1e-5)
        error = reached
    assert error < 0.95 * first


def test_steps_beat_as_many_of_adam_at_its_best_rate() -> None:
    base, images = starter(), photos()
    targets = images.flip(1) * 0.5
    steps, natural = NaturalGradient(base), torch.zeros(base.n_adapter_values)
    for _ in range(8):
        natural, reached = steps.take(natural, images, targets)
    others = []
    for rate in (3e-3, 1e-2, 3e-2, 0.1):
        adapter = torch.zeros(base.n_adapter_values, requires_grad=True)
        optimizer = torch.optim.Adam([adapter], lr=rate)
        for _ in range(8):
            optimizer.zero_grad()
            (base(images, adapter) - targets).square().mean().backward()
            optimizer.step()
        others.append(steps.error(adapter.detach(), images, targets))
    assert reached < min(others)


def test_an_adapter_that_cannot_be_bettered_stays_as_it_is() -> None:
    base, images = starter(), photos()
    adapter = 0.1 * torch.randn(base.n_adapter_values, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        targets = base(images, adapter)
    again, error = NaturalGradient(base).take(adapter, images, targets)
    torch.testing.assert_close(again, adapter)
    assert error == 0


def test_the_same_seed_gives_the_same_adapter_and_the_base_is_not_changed() -> None:
    base, images = starter(), photos()
    before = {name: value.clone() for name, value in base.state_dict().items()}
    zero = torch.zeros(base.n_adapter_values)
    first, second = (NaturalGradient(base, seed=5).take(zero, images, -images)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, NaturalGradient(base, seed=6).take(zero, images, -images)[0])
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
